"""A host's dataset that is not mounted, on real ZFS: a shell types what zborg prints, and then it is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.conftest import Lab
from tests.harness.machines.keys import make_key
from tests.harness.worlds.world import World, outcomes
from zborg.model.text.remedy import parse

pytestmark = [pytest.mark.lab, pytest.mark.timeout(600)]

ROOT = "tank/mounting"
WEB, SEALED = f"{ROOT}/web1", f"{ROOT}/sealed"
PLACE = f"/{WEB}"

# How it came to that, and what is said of it.
STATES = {
    "unmounted": (f"zfs unmount {WEB}", "it was unmounted"),
    "noauto": (f"zfs unmount {WEB}; zfs set canmount=noauto {WEB}", "its canmount is noauto"),
    "off": (f"zfs set canmount=off {WEB}", "its canmount is off"),
    "legacy": (f"zfs set mountpoint=legacy {WEB}", "its mountpoint is none or legacy"),
    "none": (f"zfs set mountpoint=none {WEB}", "its mountpoint is none or legacy"),
    "legacy and noauto": (
        f"zfs set mountpoint=legacy {WEB}; zfs set canmount=noauto {WEB}",
        "its canmount is noauto and its mountpoint is none or legacy",
    ),
    "mounted by fstab": (
        f"zfs set mountpoint=legacy {WEB}; mkdir -p /mnt/fstab; mount -t zfs {WEB} /mnt/fstab",
        "its mountpoint is none or legacy",
    ),
    "elsewhere": (f"zfs set mountpoint=/mnt/else {WEB}", "its mountpoint is /mnt/else"),
    "elsewhere and unmounted": (
        f"zfs set mountpoint=/mnt/else {WEB}; zfs unmount {WEB}",
        "its mountpoint is /mnt/else",
    ),
    "a parent without a place": (f"zfs set mountpoint=none {ROOT}", f"{ROOT} has no mountpoint"),
    "a legacy parent, and noauto": (
        f"zfs set mountpoint=legacy {ROOT}; zfs set canmount=noauto {WEB}",
        f"{ROOT} has no mountpoint and its canmount is noauto",
    ),
    "covered": (
        f"zfs unmount {WEB}; zfs set overlay=off {WEB}; mkdir -p {PLACE}; touch {PLACE}/stray",
        "is not empty, and its overlay is off",
    ),
}
KEYED = {
    "its own key": (SEALED, f"zfs unmount {SEALED}; zfs unload-key {SEALED}"),
    "its own key, and noauto": (
        SEALED,
        f"zfs unmount {SEALED}; zfs unload-key {SEALED}; zfs set canmount=noauto {SEALED}",
    ),
    "its own key, and legacy": (
        SEALED,
        f"zfs unmount {SEALED}; zfs unload-key {SEALED}; zfs set mountpoint=legacy {SEALED}",
    ),
}
_MAKE = f"""
zfs create {ROOT}
echo passphrase >/root/passphrase
zfs create -o encryption=on -o keyformat=passphrase -o pbkdf2iters=100000 \\
    -o keylocation=file:///root/passphrase {SEALED}
"""


@pytest.fixture(scope="module")
def world(lab: Lab) -> Iterator[World]:
    lab.vault.sh(_MAKE)
    made = lab.world("mounting", ROOT, "vault/mounting")
    host_key = " ".join(make_key(made.directory / "nobody").public.split()[:2])
    nobody = {"ssh": "ssh://root@127.0.0.1:9", "host_key": host_key, "identity": str(made.key.private)}
    made.write_config(hosts={"web1": nobody, "sealed": nobody})
    made.report("init", expect=None)
    yield made


def refused(world: World, host: str) -> dict[str, Any]:
    return outcomes(world.report("backup", host, expect=None))[host]


def check(world: World, host: str, spoil: str, why: str) -> None:
    """The host itself is never reached: a backup looks at the dataset first."""
    dataset = f"{ROOT}/{host}"
    world.vault.sh(spoil)
    found = refused(world, host)
    assert f"{dataset} is not mounted at /{dataset}" in found["message"] and why in found["message"], found
    sentence, commands = parse(found["remedy"])
    assert sentence == f"on the storage ({world.vault.address}), as root:"
    for line in commands:
        world.vault.sh(line)
    facts = world.vault.sh(f"zfs get -H -o value mounted,mountpoint,canmount {dataset}").split()
    assert facts == ["yes", f"/{dataset}", "on"], (found, facts)


@pytest.mark.parametrize("name", STATES)
def test_the_remedy_of_each_state_mounts_it(world: World, name: str) -> None:
    spoil, why = STATES[name]
    check(world, "web1", spoil, why)


def test_with_it_mounted_a_backup_goes_on_to_the_host(world: World) -> None:
    assert "is not mounted" not in refused(world, "web1")["message"]


@pytest.mark.parametrize("name", KEYED)
def test_a_key_that_is_not_loaded_is_loaded_first(world: World, name: str) -> None:
    dataset, spoil = KEYED[name]
    check(world, dataset.rpartition("/")[2], spoil, f"the key of {dataset} is not loaded")
