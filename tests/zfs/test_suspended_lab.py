"""A pool whose devices take no more while a backup is written to it (docs/failures.md, 45), on real ZFS.

The pool lies in a sparse file, on a file system that is smaller than the file says: when it is full the pool
suspends, and each writer waits, SIGKILL or not. Room and `zpool clear` bring it back.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.conftest import Lab
from tests.harness.machines.host import BackedUpHost
from tests.harness.machines.keys import make_key
from tests.harness.watch import until
from tests.harness.worlds.world import World, authorize_root, only, serve_key_beside
from zborg.model.text.remedy import parse

pytestmark = [pytest.mark.lab, pytest.mark.timeout(1200)]

ROOT = "short/borg"
MIB = 1 << 20
WINDOW = 45  # seconds: far longer than an emulated processor needs for a few KiB
_MAKE = f"""
mkdir -p /mnt/short
mount -t tmpfs -o size=100m tmpfs /mnt/short
truncate -s 4G /mnt/short/vdev
zpool create -o failmode=wait -O compression=off short /mnt/short/vdev
zfs create {ROOT}
"""
_ROOM = "mount -o remount,size=600m /mnt/short"
# Those who waited come to an end, and then nobody uses the pool.
_END = """
for try in 1 2 3 4 5 6 7 8 9 10; do
    zpool destroy -f short && break
    sleep 2
done
umount /mnt/short
"""


@pytest.fixture
def world(lab: Lab) -> Iterator[World]:
    directory = lab.directory / "short"
    directory.mkdir()
    key = make_key(directory / "id_ed25519")
    serve_key = make_key(serve_key_beside(key.private))
    guest = lab.vault
    guest.sh(_MAKE)
    authorize_root(guest, f"restrict {key.public}")
    forced = "/usr/local/libexec/zborg-serve /short/borg /short/zborg-scratch"
    keys = "/home/zborg-serve/.ssh/authorized_keys"
    guest.sh(f"echo 'restrict,command=\"{forced}\" {serve_key.public}' >>{keys}")
    made = World(directory, key, guest, dataset=ROOT)
    with BackedUpHost(directory / "full1", key=key) as host:
        host.setup("full1", [host.data])
        (host.data / "first").write_bytes(b"x")
        made.add(host)
        yield made
    guest.sh(f"{_ROOM}; zpool clear short || :; {_END}", timeout=180)


def test_the_backup_ends_and_names_the_pool_and_the_remedy_brings_it_back(world: World) -> None:
    host = world.hosts["full1"]
    backup = {"timeout": "20m", "retries": 0, "stalled_after": f"{WINDOW}s"}
    world.write_config(backup=backup)
    world.report("init")
    assert only(world.report("backup"))["status"] == "ok"
    for number in range(40):
        (host.data / f"new{number}").write_bytes(os.urandom(4 * MIB))
    began = time.monotonic()
    stalled = only(world.report("backup", expect=None, timeout=600))
    assert stalled["status"] == "failed", stalled
    assert stalled["message"].startswith(f"no progress for {WINDOW} seconds: "), stalled
    assert "the pool short of the storage is suspended" in stalled["message"], stalled
    assert time.monotonic() - began < 400
    sentence, commands = parse(stalled["remedy"])
    assert sentence.startswith("on the storage, as root")
    again = only(world.report("backup", expect=None))
    assert again["status"] == "failed" and "suspended" in again["message"], again
    assert "SUSPENDED" in only(world.report("scrub", expect=13))["message"]

    world.vault.sh(_ROOM)
    for line in commands:
        world.vault.sh(line)
    # The killed borg's lock stays while a borg runs on the host, which other tests share.
    until(lambda: tried(world)["status"] != "busy", "no other borg runs on this machine")
    good = tried(world)
    assert good["status"] == "ok", good


def tried(world: World) -> dict[str, Any]:
    return only(world.report("backup", expect=None, timeout=600))
