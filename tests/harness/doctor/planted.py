"""Faults that are planted in a world that is well: how to plant each."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from tests.harness.doctor.clinic import DELEGATED, Plant
from tests.harness.doctor.faults import configured
from tests.harness.machines.keys import make_key
from zborg.model import Host, Reverse, utc_now


def sick(**changes: object) -> Callable[[Plant], None]:
    def sow(plant: Plant) -> None:
        zfs = plant.clinic.vault.zfs
        plant.entry(zfs.pools, "tank", replace(zfs.pools["tank"], **changes))  # type: ignore[arg-type]  # named below

    return sow


def stored(**changes: object) -> Callable[[Plant], None]:
    return lambda plant: configured(storage=replace(plant.clinic.config.storage, **changes))(plant)  # type: ignore[arg-type]  # named below


def agent_says(old: str, new: str) -> Callable[[Plant], None]:
    return lambda plant: plant.replaced(plant.clinic.host.agent, old, new)


def agent_conf(*lines: str, without: str = "") -> Callable[[Plant], None]:
    def sow(plant: Plant) -> None:
        path = plant.clinic.host.confdir / "agent.conf"
        kept = [one for one in path.read_text().splitlines() if not without or not one.startswith(without)]
        plant.text(path, "\n".join([*kept, *lines, ""]))

    return sow


def rewritten(change: Callable[[Host], Host]) -> Callable[[Plant], None]:
    return lambda plant: configured(hosts=tuple(map(change, plant.clinic.config.hosts)))(plant)


def other_host_key(plant: Plant) -> None:
    key = plant.clinic.config.targets[0].endpoint.host_key.split()
    strange = f"{key[0]} {key[1][:-8]}AAAAAAAA"
    rewritten(lambda host: replace(host, endpoint=replace(host.endpoint, host_key=strange)))(plant)
    plant.entry(
        plant.clinic.vault.endpoints, "web1", replace(plant.clinic.vault.endpoints["web1"], host_key=strange)
    )


def strange_key(plant: Plant) -> None:
    pair = make_key(plant.clinic.directory / "strange")
    plant.later(pair.private.with_name("strange.pub").unlink)
    plant.later(pair.private.unlink)
    rewritten(lambda host: replace(host, endpoint=replace(host.endpoint, identity=str(pair.private))))(plant)


def passphrase(plant: Plant) -> None:
    key = plant.clinic.vault.key.private
    plant.text(key, key.read_text())
    argv = ["ssh-keygen", "-q", "-p", "-P", "", "-N", "secret words", "-f", str(key)]
    subprocess.run(argv, check=True, capture_output=True)


def unmounted(plant: Plant) -> None:
    plant.clinic.vault.zfs.unmount("tank/borg/web1")
    plant.later(plant.clinic.vault.zfs.mount, "tank/borg/web1")


def elsewhere(plant: Plant) -> None:
    zfs, other = plant.clinic.vault.zfs, plant.clinic.directory / "other"
    other.mkdir()
    plant.later(other.rmdir)
    plant.entry(zfs._all["tank/borg/web1"].properties, "mountpoint", str(other))


def sshd_with(line: str) -> Callable[[Plant], None]:
    def sow(plant: Plant) -> None:
        sshd = plant.clinic.host.sshd
        port = sshd.port
        sshd.stop()
        plant.later(sshd.start, port)
        plant.later(sshd.stop)
        plant.attribute(sshd, "_extra", (line,))
        sshd.start(port)

    return sow


def noisy_shell(plant: Plant) -> None:
    """What a .bashrc does that prints: before the forced command, on its stdout."""
    sshd = plant.clinic.host.sshd
    keys = sshd.directory / "authorized_keys"
    plant.replaced(keys, 'command="', 'command="echo Welcome to web1; ')


def stopped(plant: Plant) -> None:
    sshd = plant.clinic.host.sshd
    port = sshd.port
    sshd.stop()
    plant.later(sshd.start, port)


def old_borg(plant: Plant) -> None:
    borg = plant.clinic.directory / "old-borg"
    plant.text(borg, "#!/bin/sh\necho borg 1.1.17\n", 0o755)
    stored(borg=str(borg))(plant)


def old_borg_there(plant: Plant) -> None:
    borg = plant.clinic.directory / "old-borg"
    plant.text(borg, "#!/bin/sh\necho borg 1.1.17\n", 0o755)
    agent_conf(f"borg = {borg}", without="borg")(plant)


def limited(plant: Plant) -> None:
    """A bandwidth limit where pv is not to be found."""
    (target,) = plant.clinic.config.targets
    configured(targets=(replace(target, bandwidth_limit=1 << 20),))(plant)
    tools = plant.clinic.directory / "tools"
    tools.mkdir()
    plant.later(tools.rmdir)
    for name in ("ssh", "setpriv"):
        found = next(
            Path(place, name) for place in os.environ["PATH"].split(":") if Path(place, name).exists()
        )
        (tools / name).symlink_to(found)
        plant.later((tools / name).unlink)
    plant.entry(os.environ, "PATH", str(tools))


def repokey(plant: Plant) -> None:
    config = plant.clinic.vault.zfs.directory("tank/borg/web1") / "config"
    plant.text(config, config.read_text() + "key = hqlhbGdvcml0aG0\n")


def old_fleet(plant: Plant) -> None:
    repokey(plant)
    rewritten(lambda host: replace(host, reverse=Reverse(64064, "127.0.0.1:22")))(plant)


def unsealed(plant: Plant) -> None:
    configured(custodians=("age1xxxxxxxxxx",))(plant)
    plant.text(plant.clinic.host.confdir / "custodians", "age1xxxxxxxxxx\n", 0o600)


def no_repository(plant: Plant) -> None:
    plant.away(plant.clinic.vault.zfs.directory("tank/borg/web1") / "config")


def delegated(*lines: str) -> Callable[[Plant], None]:
    """To an account without a sink."""

    def sow(plant: Plant) -> None:
        plant.attribute(plant.clinic.far, "has_sink", False)
        text = DELEGATED.splitlines()[:2]
        plant.attribute(plant.clinic.far, "delegated", "\n".join([*text, *(f"\t{one}" for one in lines), ""]))

    return sow


def far_clock(plant: Plant) -> None:
    plant.attribute(plant.clinic.vault.far, "clock", lambda: utc_now() - timedelta(minutes=150))


def near_clock(plant: Plant) -> None:
    plant.attribute(plant.clinic.vault.zfs, "clock", lambda: utc_now() + timedelta(minutes=150))


def drop_in(text: str, mode: int = 0o600) -> Callable[[Plant], None]:
    return lambda plant: plant.text(plant.clinic.directory / "hosts.d" / "db1.toml", text, mode)


def cron(text: str, name: str = "zborg") -> Callable[[Plant], None]:
    def sow(plant: Plant) -> None:
        plant.away(plant.clinic.cron)
        if text:
            plant.text(plant.clinic.cron.with_name(name), text)

    return sow


def timer(plant: Plant) -> None:
    cron("")(plant)
    units = plant.clinic.etc / "systemd"
    units.mkdir()
    plant.later(units.rmdir)
    plant.text(units / "zborg.service", "[Service]\nExecStart=/usr/local/bin/zborg run\n")
    plant.text(units / "zborg.timer", "[Timer]\nOnCalendar=02:30\n")
