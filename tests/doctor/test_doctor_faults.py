"""Planted faults, one test each: doctor names each with its mend, and nothing else in that area.

Real sshd, agent, borg and keys; ZFS is the in-memory one. The real one is in test_doctor_lab.py.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from tests.harness.machines.keys import make_key
from tests.harness.worlds.clinic import DELEGATED, Clinic, Plant
from tests.harness.worlds.faults import BAD, WARN, WEB, Fault, check, configured, settle
from zborg.model import Host, Reverse, Scrub, Status, utc_now


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


FAULTS = {
    # zborg.toml and what it includes
    "zborg.toml for everybody to read": Fault(
        "config",
        lambda p: p.mode(p.clinic.toml, 0o644),
        WARN,
        "everybody on this machine can read it",
        "chmod 0600 ",
    ),
    "zborg.toml for everybody to write": Fault(
        "config", lambda p: p.mode(p.clinic.toml, 0o620), BAD, "can be written by others", "chmod go-w "
    ),
    "a key that zborg.toml does not know": Fault(
        "config",
        lambda p: p.text(p.clinic.toml, p.clinic.toml.read_text() + "paralel = 1\n"),
        BAD,
        "hosts.web1.paralel: is not known",
        "zborg doctor --only config --config ",
    ),
    "a drop-in for others to write": Fault(
        "config",
        drop_in("", 0o620),
        BAD,
        "db1.toml can be written by others",
        "chmod go-w ",
    ),
    "a drop-in that is no TOML": Fault(
        "config", drop_in("[hosts"), BAD, "db1.toml: ", "zborg doctor --only config --config "
    ),
    # the state directory
    "no state directory": Fault(
        "state", configured(state_dir=Path("/nonexistent/zborg")), BAD, "does not exist", "zborg init"
    ),
    "no folder for locks": Fault(
        "state", lambda p: p.away(p.clinic.vault.state / "locks"), BAD, "has no locks", "zborg init"
    ),
    "a state directory that is open": Fault(
        "state", lambda p: p.mode(p.clinic.vault.state, 0o755), BAD, "its mode is 0755", "chmod 0700 "
    ),
    # our keys
    "a key that is gone": Fault(
        "keys", lambda p: p.away(p.clinic.vault.key.private), BAD, "no such key", "zborg init"
    ),
    "a key for others to read": Fault(
        "keys", lambda p: p.mode(p.clinic.vault.key.private, 0o644), BAD, "its mode is 0644", "chmod 0600 "
    ),
    "a key with a passphrase": Fault(
        "keys", passphrase, BAD, "cannot be used by night", "ssh-keygen -p -N '' -f "
    ),
    "the public half of another key": Fault(
        "keys",
        lambda p: p.text(Path(f"{p.clinic.vault.key.private}.pub"), "ssh-ed25519 AAAA x\n"),
        WARN,
        "is the public half of another key",
        "ssh-keygen -y -f ",
    ),
    # programs
    "a borg of 2020": Fault(
        "programs", old_borg, BAD, "borg 1.1.17 is too old", "apt-get install borgbackup"
    ),
    "no borg": Fault(
        "programs",
        stored(borg="/nonexistent/borg"),
        BAD,
        "no repository can be served",
        "apt-get install borgbackup",
    ),
    "no pv for a bandwidth limit": Fault("programs", limited, BAD, "bandwidth_limit", "apt-get install pv"),
    "an OpenZFS of 2020": Fault(
        "zfs",
        lambda p: p.attribute(p.clinic.near, "version", "zfs-2.0.3-9\nzfs-kmod-2.0.3-9\n"),
        WARN,
        "OpenZFS 2.0 is too old",
        "upgrade OpenZFS",
    ),
    "a kernel module of another release": Fault(
        "zfs",
        lambda p: p.attribute(p.clinic.near, "version", "zfs-2.3.9-1\nzfs-kmod-2.2.7-1\n"),
        WARN,
        "the kernel's module is 2.2.7",
        "reboot",
    ),
    "a storage with another clock": Fault("zfs", near_clock, WARN, "2 hours ahead", "timedatectl"),
    # pools
    "a pool that lost a disk": Fault(
        "pool", sick(health="DEGRADED"), BAD, "the pool is DEGRADED", "zpool status"
    ),
    "a pool with damage": Fault(
        "pool", sick(errors=3), Status.DAMAGED, "3 data errors", "zpool status -v tank"
    ),
    "a pool that was never scrubbed": Fault(
        "pool", sick(scrub=Scrub.NEVER, finished=None), BAD, "never scrubbed", "zborg scrub --start"
    ),
    "a pool that is nearly full": Fault(
        "pool", sick(free=150 << 30), WARN, "of the pool is used", "zfs list"
    ),
    # datasets
    "a storage that was never made": Fault(
        "storage", stored(dataset="tank/backup"), BAD, "dataset does not exist", "zborg init"
    ),
    "a host without a dataset": Fault(
        "storage",
        lambda p: p.without(p.clinic.vault.zfs._all, WEB),
        BAD,
        "no dataset for web1",
        "zborg init web1",
    ),
    "a dataset that is not mounted": Fault("storage", unmounted, BAD, "it was unmounted", f"zfs mount {WEB}"),
    "a dataset mounted elsewhere": Fault(
        "storage", elsewhere, BAD, "its mountpoint is", f"zfs inherit mountpoint {WEB}"
    ),
    "no room": Fault(
        "storage",
        lambda p: p.attribute(p.clinic.vault.zfs, "available", 1 << 28),
        BAD,
        "less than min_free",
        "zfs list -o space",
    ),
    "no slack": Fault(
        "storage",
        lambda p: p.without(p.clinic.vault.zfs._all, "tank/zborg-slack"),
        WARN,
        "nothing keeps",
        "zborg init",
    ),
    "slack that was given free": Fault(
        "storage",
        settle("tank/zborg-slack", "refreservation", "0"),
        WARN,
        "keeps less than slack",
        "zfs set refreservation=1073741824 tank/zborg-slack",
    ),
    "atime": Fault(
        "properties", settle("tank/borg", "atime", "on"), WARN, "atime=on", "zfs set atime=off tank/borg"
    ),
    "no compression": Fault(
        "properties",
        settle("tank/borg", "compression", "off"),
        WARN,
        "compression=off",
        "zfs set compression=lz4 ",
    ),
    "small records": Fault(
        "properties",
        settle(WEB, "recordsize", "16384"),
        WARN,
        "recordsize=16384",
        f"zfs set recordsize=1M {WEB}",
    ),
    "a host that is read-only": Fault(
        "properties",
        settle(WEB, "readonly", "on"),
        BAD,
        "no backup can be written",
        f"zfs set readonly=off {WEB}",
    ),
    "no checksums": Fault(
        "properties", settle(WEB, "checksum", "off"), BAD, "cannot notice damage", "checksum=on"
    ),
    "no sync": Fault(
        "properties", settle("tank/borg", "sync", "disabled"), BAD, "a power cut", "sync=standard"
    ),
    "deduplication": Fault("properties", settle("tank/borg", "dedup", "on"), WARN, "dedup=on", "dedup=off"),
    "programs may run there": Fault(
        "properties", settle("tank/borg", "exec", "on"), WARN, "exec=on", "exec=off"
    ),
    "no quota": Fault(
        "properties", settle(WEB, "quota", "0"), WARN, "no quota: web1", f"zfs set quota=500G {WEB}"
    ),
    # repositories
    "a repository that is not root's": Fault(
        "repositories",
        lambda p: p.mode(p.clinic.vault.zfs.directory(WEB), 0o755),
        BAD,
        "could throw its repository away",
        "zborg init web1",
    ),
    "a repository that holds its key": Fault("repositories", repokey, BAD, "(repokey)", f"zfs rename {WEB} "),
    "an old fleet's repokey": Fault("repositories", old_fleet, WARN, "not claimed", "docs/reverse.md"),
    "a borg serve that does not start": Fault(
        "serving",
        lambda p: p.attribute(p.clinic.vault, "borg", "/nonexistent/borg"),
        BAD,
        "it cannot be started",
        "README, Setting up",
    ),
    # hosts
    "a host that is down": Fault("hosts", stopped, BAD, "no connection to web1", "is it up"),
    "a host with another key": Fault(
        "hosts", other_host_key, BAD, "web1 is not who it was: pinned", "ssh-keygen -lf"
    ),
    "a host that does not know our key": Fault(
        "hosts", strange_key, BAD, "refuses our key", "authorized_keys"
    ),
    "a host whose clock is wrong": Fault(
        "hosts",
        agent_says('"clock $(date +%s)" "restore', '"clock $(($(date +%s) - 7200))" "restore'),
        WARN,
        "2 hours behind",
        "timedatectl",
    ),
    "a host with an alarm": Fault(
        "hosts",
        lambda p: p.text(p.clinic.host.state / "alarm", "now\n"),
        Status.CONFLICT,
        "there is an alarm",
        "/var/lib/zborg/alarm",
    ),
    "an agent of another version": Fault(
        "hosts",
        agent_says('"agent 1"', '"agent 0"'),
        BAD,
        "its agent is version 0, ours is 1",
        "zborg host add",
    ),
    "a mistake in agent.conf": Fault(
        "hosts", agent_conf("colour = red"), BAD, "agent.conf line 6: unknown key", "sed -n '6p;' "
    ),
    "nothing to back up": Fault(
        "hosts", agent_conf(without="path"), BAD, "no path in /etc/zborg/agent.conf on web1", "path = /etc"
    ),
    "a passphrase for others to read": Fault(
        "hosts",
        lambda p: p.mode(p.clinic.host.confdir / "passphrase", 0o644),
        BAD,
        "/etc/zborg/passphrase on web1 is gone, or others",
        "/usr/local/libexec/zborg-agent --setup web1",
    ),
    "a host with a borg of 2020": Fault(
        "hosts", old_borg_there, BAD, "borg 1.1.17 is too old", "borg = in /etc/zborg/agent.conf"
    ),
    "a host without borg": Fault(
        "hosts",
        agent_conf("borg = /nonexistent/borg", without="borg"),
        BAD,
        "borg is missing on web1",
        "apt-get",
    ),
    "a host that calls itself otherwise": Fault(
        "hosts",
        agent_conf("name = db9", without="name"),
        Status.CONFLICT,
        "the host calls itself db9",
        "agent.conf",
    ),
    "a shell that prints": Fault("hosts", noisy_shell, BAD, "its login shell prints", "~/.bashrc"),
    "an sshd that takes our variables": Fault(
        "hosts", sshd_with("AcceptEnv *"), BAD, "lets us set BASH_ENV", "AcceptEnv LANG LC_*"
    ),
    "a repository that was lost here": Fault(
        "hosts", no_repository, BAD, "here there is none", "zborg restore list"
    ),
    "a key that is not in escrow": Fault(
        "hosts", unsealed, WARN, "its key is not in escrow here", "zborg host add"
    ),
    "a host that can seal for nobody": Fault(
        "hosts", configured(custodians=("age1xxxxxxxxxx",)), WARN, "seal it for nobody", "apt-get install age"
    ),
    # targets
    "a parent that was never made": Fault(
        "targets",
        lambda p: p.without(p.clinic.vault.far._all, "vault/zborg"),
        BAD,
        "does not exist there",
        "zfs create -o mountpoint=none -o canmount=off -o readonly=on",
    ),
    "a parent that can be written": Fault(
        "targets",
        settle("vault/zborg", "readonly", "off", far=True),
        BAD,
        "readonly of vault/zborg is off",
        "on offsite, as root:\nzfs set readonly=on vault/zborg",
    ),
    "a parent that mounts": Fault(
        "targets",
        settle("vault/zborg", "mountpoint", "/srv", far=True),
        BAD,
        "mount over a live system",
        "zfs set mountpoint=none vault/zborg",
    ),
    "a target with another clock": Fault("targets", far_clock, WARN, "2 hours behind", "timedatectl"),
    "no sink": Fault(
        "targets",
        delegated("user zborg-sink create,mount,receive:append,userprop"),
        WARN,
        "has no sink there",
        "zfs allow -u zborg-sink receive:append,create,mount,userprop vault/zborg",
    ),
    # what starts it
    "nothing starts zborg": Fault("schedule", cron(""), WARN, "nothing starts zborg", ">/etc/cron.d/zborg"),
    "a cron line that finds no zborg": Fault(
        "schedule", cron("30 2 * * *  root  zborg run\n"), WARN, "without its path", "/usr/local/bin/zborg"
    ),
    "a cron line of a zborg that is gone": Fault(
        "schedule",
        cron("30 2 * * *  root  /nonexistent/zborg run\n"),
        WARN,
        "which is not there",
        "sed -i '1s|/nonexistent/zborg |/usr/local/bin/zborg |' ",
    ),
    "a file that cron passes over": Fault(
        "schedule",
        cron("30 2 * * *  root  /nonexistent/zborg run\n", "zborg.cron"),
        WARN,
        "a dot in its name",
        "mv ",
    ),
    "a timer that is not enabled": Fault(
        "schedule", timer, WARN, "not enabled", "systemctl enable --now zborg.timer"
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_is_named_with_its_mend(clinic: Clinic, plant: Plant, name: str) -> None:
    check(clinic, plant, FAULTS[name])
