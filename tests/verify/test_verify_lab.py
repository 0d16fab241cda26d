"""Damage on real OpenZFS is found here and off-site, and repaired by the commands that are printed.

One host, whose repository has three nights. The tests tell one story and stand in its order.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Lab
from tests.harness.machines.keys import make_key
from tests.harness.watch import next_second
from tests.harness.worlds.world import World, outcomes
from tests.lab import Guest
from zborg.model.text.remedy import parse

pytestmark = [pytest.mark.lab, pytest.mark.timeout(900)]

SOURCE, ROOT = "tank/proof", "vault/proof"
HOME = f"/{SOURCE}/web1"
_OWN = f"""
name = "offsite"
state_dir = "/root/proof-state"
[storage]
dataset = "{ROOT}"
received = true
"""


@pytest.fixture(scope="module")
def proof(lab: Lab) -> Iterator[World]:
    lab.inside(lab.offsite)
    world = lab.world("proof", dataset=SOURCE, copy=ROOT)
    serve = make_key(world.directory / "serve_ed25519")
    forced = f"/usr/local/libexec/zborg-serve /{SOURCE} /tank/zborg-scratch"
    line = f'restrict,command="{forced}" {serve.public}'
    lab.vault.sh(f"echo {shlex.quote(line)} >>/home/zborg-serve/.ssh/authorized_keys")
    lab.host(world, "web1")
    (world.directory / "srv").mkdir()
    world.write_config()
    storage = world.settings["storage"] | {"serve_identity": str(serve.private)}
    backup = {"timeout": "10m", "retries": 0, "verify_every": "0s", "compact_every": "0s"}
    world.write_config(storage=storage, backup=backup)
    world.report("init")
    for _ in range(2):
        night(world)
    lab.offsite.write("/root/proof.toml", _OWN)
    yield world
    lab.offsite.sh(f"zfs destroy -r {ROOT} || :")


def night(world: World) -> None:
    (world.hosts["web1"].data / f"file{os.urandom(4).hex()}").write_bytes(os.urandom(400_000))
    next_second()
    for step in ("backup", "snapshot", "audit", "replicate"):
        world.report(step)


def largest(guest: Guest, home: str) -> str:
    return guest.sh(f"ls -S {home}/data/*/* | head -1").strip()


def flip(guest: Guest, path: str) -> None:
    """One bit of a file, as anybody can who writes to it."""
    change = "import sys; f = open(sys.argv[1], 'r+b'); f.seek(5000); b = f.read(1)[0]; f.seek(5000)"
    guest.ssh(["python3", "-c", f"{change}; f.write(bytes([b ^ 1]))", path])


def flip_below(guest: Guest, pool: str, path: str) -> None:
    """One bit of a file's data on the disk, wherever it is there: a repaired file's snapshots have it too."""
    look = "import sys; f = open(sys.argv[1], 'rb'); f.seek(70000); print(f.read(64).hex())"
    wanted = bytes.fromhex(guest.ssh(["python3", "-c", look, path]).stdout)
    guest.sh(f"zpool export {pool}")
    disk = guest.run.data_disk
    data, at = disk.read_bytes(), 0
    places = [at := data.find(wanted, at + 1) for _ in range(data.count(wanted))]
    assert places, path
    with disk.open("r+b") as file:
        for place in places:
            file.seek(place)
            file.write(bytes([wanted[0] ^ 1]))
    guest.sh(f"zpool import -d /dev {pool}")


def verified(world: World, expect: int = 0) -> dict[str, Any]:
    return outcomes(world.report("verify", "web1", expect=expect))["web1"]


def off_site(world: World, *words: str, expect: int = 0) -> dict[str, Any]:
    """The off-site's own zborg, as its root's cron runs it."""
    assert world.offsite is not None
    argv = ["zborg", *words, "--config", "/root/proof.toml", "--json"]
    done = world.offsite.ssh(argv, check=False, timeout=300)
    assert done.returncode == expect, done.stdout + done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def typed(world: World, remedy: str) -> None:
    """Each printed command by its machine: those of zborg and ssh here, all others on the storage."""
    _, commands = parse(remedy)
    assert commands, remedy
    srv = f"{world.directory}/srv"
    trusting = "ssh -o StrictHostKeyChecking=accept-new -o UserKnownHostsFile=/dev/null -F none "
    for line in commands:
        here = line.replace("/srv/web1-from-", f"{srv}/web1-from-")
        if line.startswith("zborg "):
            done = world.zborg(*shlex.split(here)[1:])
            assert done.returncode == 0, done.stdout + done.stderr
        elif line.startswith("ssh "):
            shell = here.replace("ssh ", trusting, 1)
            subprocess.run(["sh", "-euc", shell], check=True, timeout=120)
        else:
            world.vault.sh(line)


def healed(world: World) -> None:
    next_second()
    world.report("snapshot", "--label", "repaired")
    world.report("audit")
    assert verified(world)["status"] == "ok"


def test_a_flipped_byte_is_found_and_repaired_from_the_newest_whole_snapshot(proof: World) -> None:
    assert verified(proof)["status"] == "ok"
    before = proof.vault.sh(f"zfs list -H -o name -t snapshot -s createtxg {SOURCE}/web1").split()[-1]
    path = largest(proof.vault, HOME)
    flip(proof.vault, path)
    next_second()
    proof.report("snapshot", "--label", "flipped")
    proof.report("audit", expect=None)
    found = verified(proof, expect=13)
    name = path.removeprefix(f"{HOME}/data/")
    assert f"object {name}" in found["message"] and found["data"]["whole_in"] == before, found
    typed(proof, found["remedy"])
    healed(proof)


def test_a_byte_flipped_below_the_file_system_is_repaired_from_the_copy_elsewhere(proof: World) -> None:
    """All snapshots share the block, so none here has the object whole."""
    proof.report("replicate")
    path = largest(proof.vault, HOME)
    flip_below(proof.vault, "tank", path)
    found = verified(proof, expect=13)
    name = path.removeprefix(f"{HOME}/data/")
    assert f"object {name}" in found["message"] and "whole in no earlier snapshot" in found["message"], found
    typed(proof, found["remedy"])
    healed(proof)
    night(proof)
    assert Path(f"{proof.directory}/srv/web1-from-offsite/data").is_dir()


def test_a_flipped_byte_in_the_copy_is_found_by_the_off_site_itself(proof: World) -> None:
    """In a snapshot that somebody took there: of itself it reads the newest that audit knows."""
    assert proof.offsite is not None
    off_site(proof, "init")
    assert outcomes(off_site(proof, "verify"))["web1"]["status"] == "ok"
    copy, mount = f"{ROOT}/web1", "/mnt/proof"
    newest = proof.offsite.sh(f"zfs list -H -o name -t snapshot -s createtxg {copy}").split()[-1]
    proof.offsite.sh(
        f"zfs set readonly=off {copy}; zfs set mountpoint={mount} canmount=noauto {copy}; zfs mount {copy}"
    )
    path = largest(proof.offsite, mount)
    flip(proof.offsite, path)
    proof.offsite.sh(f"zfs unmount {copy}; zfs snapshot {copy}@zborg_2026-12-31T000000Z")
    found = outcomes(off_site(proof, "verify", "web1", "--at", "zborg_2026-12-31T000000Z", expect=13))["web1"]
    assert f"object {path.removeprefix(f'{mount}/data/')}" in found["message"], found
    assert found["data"]["whole_in"] == newest, found
    assert found["remedy"].splitlines()[-1] == "zborg verify web1"
    assert verified(proof)["status"] == "ok"


def test_a_byte_flipped_below_the_copy_is_found_as_well(proof: World) -> None:
    assert proof.offsite is not None
    copy = f"{ROOT}/web1"
    proof.offsite.sh(f"zfs destroy {copy}@zborg_2026-12-31T000000Z; zfs mount {copy}")
    path = largest(proof.offsite, "/mnt/proof")
    flip_below(proof.offsite, "vault", path)
    found = outcomes(off_site(proof, "verify", expect=13))["web1"]
    assert f"object {path.removeprefix('/mnt/proof/data/')}" in found["message"], found
