"""Remedies of replication on real pools: a shell types each where it says, and then the stream arrives."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.conftest import Lab
from tests.harness.lab.night import send
from tests.harness.worlds.world import World, guids, outcomes
from zborg.model.storage.refusal import Refusal
from zborg.model.text.remedy import parse

pytestmark = [pytest.mark.lab, pytest.mark.timeout(900)]

SOURCE = "tank/remedies"
FIRST, SECOND = (f"zborg_2026-01-0{day}T030000Z" for day in (1, 2))
_SOURCE = f"""
zfs create {SOURCE}
zfs create -o recordsize=1M -o compression=zstd {SOURCE}/web1
head -c 3000000 /dev/zero | tr '\\0' a >/{SOURCE}/web1/text
head -c 3000000 /dev/urandom >/{SOURCE}/web1/data
zfs snapshot {SOURCE}/web1@{FIRST}
head -c 1000000 /dev/urandom >/{SOURCE}/web1/more
zfs snapshot {SOURCE}/web1@{SECOND}
"""
_PARENT = "-o mountpoint=none -o canmount=off -o readonly=on -o volmode=none"


@dataclass(frozen=True)
class Case:
    """A target that refuses: how it came to that, and what a person decides where the remedy leaves it."""

    root: str
    prepare: str
    reason: str
    decision: str = ""
    user: str = "root"
    sent: str = ""  # options of `zfs send` for the first snapshot, where it is there before


def _pool(name: str, options: str = "") -> str:
    return f"mkdir -p /vdev; truncate -s 200M /vdev/{name}; zpool create -f {options} {name} /vdev/{name}"


CASES = {
    "features": Case(
        "bare/zborg", f"{_pool('bare', '-d')}; zfs create {_PARENT} bare/zborg", Refusal.FEATURES
    ),
    "a key that is not loaded": Case(
        "vault/sealed",
        f"zfs create {_PARENT} -o encryption=on -o keyformat=passphrase -o pbkdf2iters=100000 "
        "-o keylocation=file:///proc/version vault/sealed; zfs unload-key vault/sealed",
        Refusal.ENCRYPTED_PARENT,
    ),
    "an encrypted parent": Case(
        "vault/locked",
        f"zfs create {_PARENT} -o encryption=on -o keyformat=passphrase -o pbkdf2iters=100000 "
        "-o keylocation=file:///proc/version vault/locked",
        Refusal.ENCRYPTED_PARENT,
    ),
    "quota": Case(
        "vault/narrow",
        f"zfs create {_PARENT} -o quota=1M vault/narrow",
        Refusal.QUOTA,
        "zfs set quota=none vault/narrow",
    ),
    "space": Case(
        "tiny/zborg",
        f"{_pool('tiny')}; zfs create {_PARENT} tiny/zborg; zfs create tiny/else; "
        "dd if=/dev/urandom of=/tiny/else/x bs=1M 2>/dev/null || zpool sync tiny",
        Refusal.SPACE,
        "zfs destroy tiny/else; zpool sync tiny",
    ),
    "delegation": Case(
        "vault/plain",
        f"zfs create {_PARENT} vault/plain; useradd --create-home --shell /bin/sh plain; "
        "install -d -m 0700 -o plain /home/plain/.ssh; "
        "install -m 0600 -o plain /root/.ssh/authorized_keys2 /home/plain/.ssh/authorized_keys",
        Refusal.FORBIDDEN,
        user="plain",
    ),
    "a snapshot of sanoid's": Case(
        "vault/foreign",
        f"zfs create {_PARENT} vault/foreign",
        "foreign-snapshots: since the common base",
        sent="-L -e -c",
    ),
    "written to": Case(
        "vault/written", f"zfs create {_PARENT} vault/written", "modified: the target was", sent="-L -e -c"
    ),
    # The last: the pool is away for a moment.
    "read-only": Case(
        "vault/still",
        f"zfs create {_PARENT} vault/still; zpool export vault; zpool import -o readonly=on vault",
        Refusal.READ_ONLY,
    ),
}
_SPOIL = {
    "a snapshot of sanoid's": "zfs snapshot {0}@autosnap_2026-01-01_04:00:00_daily; "
    "zfs snapshot '{0}@two words'; zfs hold zrepl_last_received_J_pull '{0}@two words'",
    "written to": "zfs set readonly=off {0}; zfs set mountpoint=/mnt/written {0}; "
    "echo x >/mnt/written/x; zfs unmount {0}; zpool sync vault",
}


@pytest.fixture(scope="module")
def world(lab: Lab) -> Iterator[World]:
    lab.vault.sh(_SOURCE)
    made = lab.world("remedies", SOURCE, "vault/unused")
    made.write_config(hosts={})
    made.report("init")
    yield made


def aim(world: World, case: Case) -> None:
    """A target of this case's own, of which the source remembers nothing."""
    world.copy = case.root
    world.write_config(hosts={})
    target = dict(world.settings["targets"]["offsite"])
    target["ssh"] = target["ssh"].replace("root@", f"{case.user}@")
    world.write_config(hosts={}, targets={"offsite": target})
    world.vault.sh(f"zfs inherit zborg:target.offsite {SOURCE}/web1")


def typed(world: World, remedy: str) -> None:
    """Each command on the machine that the sentence names."""
    sentence, commands = parse(remedy)
    assert commands, remedy
    for line in commands:
        if line.startswith("zborg "):
            world.zborg(*shlex.split(line)[1:])
        else:
            assert world.offsite and sentence.startswith("on offsite, as root"), remedy
            world.offsite.sh(line)


@pytest.mark.parametrize("name", CASES)
def test_what_is_printed_brings_the_stream_there(world: World, name: str) -> None:
    case, offsite = CASES[name], world.offsite
    assert offsite is not None
    offsite.sh(case.prepare)
    aim(world, case)
    if case.sent:
        stream = f"zfs send {case.sent} {SOURCE}/web1@{FIRST}"
        send(world, stream, f"zfs receive -u {case.root}/web1")
    if name in _SPOIL:
        offsite.sh(_SPOIL[name].format(f"{case.root}/web1"))
    found = outcome(world)
    assert case.reason in found["message"], found
    typed(world, found["remedy"])
    if case.decision:
        offsite.sh(case.decision)
    after = outcome(world)
    assert after["status"] == "ok", f"{after['message']}; log: {after['data'].get('log')}; before: {found}"
    assert set(guids(offsite, f"{case.root}/web1").values()) == set(guids(world.vault, SOURCE).values())


def outcome(world: World) -> dict[str, Any]:
    return outcomes(world.report("replicate", expect=None))[f"offsite:{world.copy}/web1"]
