"""Days of a small fleet on real OpenZFS, whose hosts prune: the pool shrinks, and what is left extracts."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.conftest import Lab
from tests.harness.machines.host import BackedUpHost, find_borg
from tests.harness.watch import next_second
from tests.harness.worlds.world import World, outcomes

pytestmark = [pytest.mark.lab, pytest.mark.deep]  # many minutes in emulated guests

MIB = 1 << 20
DAYS, LEFT = 4, 2  # nights, and archives that each host's prune leaves


@pytest.fixture(scope="module")
def fleet(lab: Lab) -> World:
    """Three hosts whose data is another one each day."""
    lab.vault.sh("zfs list tank/borg >/dev/null 2>&1 && zfs destroy -r tank/borg || :")
    world = lab.world("fleet")
    for name in ("web1", "db1", "mail1"):
        host = lab.host(world, name)
        host.setup(name, [host.data], extra_conf=(f"keep_last = {LEFT}",))
    backup = {"timeout": "10m", "retries": 0, "prune_every": "1s", "verify_every": "0s"}
    world.write_config(backup=backup, targets={}, snapshots={"keep": {"last": 1}})
    world.report("init")
    return world


def day(world: World) -> None:
    for host in world.hosts.values():
        (host.data / "file").write_bytes(os.urandom(2 * MIB))
    next_second()
    report = world.report("backup")
    assert all("pruned" in one["data"] for one in outcomes(report).values()), report
    world.report("snapshot")
    assert {one["status"] for one in world.report("audit")["outcomes"]} == {"ok"}


def used(world: World) -> int:
    return int(world.vault.ssh(["zfs", "get", "-Hpo", "value", "used", world.dataset]).stdout)


def archives(world: World, host: BackedUpHost) -> list[str]:
    """All that the repository has by the host's own key, each of them extracted; borg finds it whole."""
    copy = world.directory / f"copy-{host.name}-{used(world)}"
    world.report("restore", "repo", host.name, "--to", str(copy))
    env = {
        **os.environ,
        "BORG_BASE_DIR": str(world.directory / f"reader-{host.name}"),
        "BORG_KEYS_DIR": str(host.state / "borg/.config/borg/keys"),
        "BORG_PASSPHRASE": (host.confdir / "passphrase").read_text(),
        "BORG_RELOCATED_REPO_ACCESS_IS_OK": "yes",
    }

    def borg(*words: str) -> str:
        done = subprocess.run([find_borg(), *words], env=env, capture_output=True, text=True, timeout=600)
        assert done.returncode == 0, done.stderr
        return done.stdout

    names = borg("list", "--short", str(copy)).split()
    for name in names:
        borg("extract", "--dry-run", f"{copy}::{name}")
    borg("check", "--verify-data", str(copy))
    return names


def past_the_quarantine(world: World) -> None:
    """As if the days had gone by: by what is written down of when each ends."""
    for path in (world.state / "ledger").glob("compact-*.json"):
        table = json.loads(path.read_text())
        table["held"] = [[name, tag, "2026-01-01T00:00:00Z"] for name, tag, _ in table["held"]]
        path.write_text(json.dumps(table))


def test_what_hosts_prune_comes_back_to_the_pool_after_the_quarantine(fleet: World) -> None:
    for _ in range(DAYS):
        day(fleet)
    before = used(fleet)
    names = {host.name: archives(fleet, host) for host in fleet.hosts.values()}
    assert {len(some) for some in names.values()} == {LEFT}
    assert before > DAYS * 3 * 2 * MIB, "a prune alone frees nothing"

    compacted = outcomes(fleet.report("compact"))
    for name in fleet.hosts:
        assert compacted[name]["status"] == "ok", compacted
        assert compacted[name]["data"]["freed"] > (DAYS - LEFT - 1) * 2 * MIB
    fleet.report("rotate")
    assert used(fleet) > before - MIB, "what was deleted is held"
    assert {host.name: archives(fleet, host) for host in fleet.hosts.values()} == names

    past_the_quarantine(fleet)
    again = fleet.report("compact")
    assert sum("the quarantine of" in one["message"] for one in again["outcomes"]) == 3, again
    fleet.report("rotate")
    fleet.vault.sh("zpool sync tank")
    assert used(fleet) < before - (DAYS - LEFT - 1) * 3 * 2 * MIB
    day(fleet)
    assert {len(archives(fleet, host)) for host in fleet.hosts.values()} == {LEFT}


def test_an_undelete_on_a_real_pool_goes_on_to_the_copies(fleet: World) -> None:
    """By files of the dataset itself and of its snapshot below .zfs, and as the host's own number."""
    home = f"/{fleet.dataset}/web1"
    largest = fleet.vault.sh(f"ls -S {home}/data/*/* | head -1").strip()
    fleet.vault.sh(f"truncate -s 1000 {largest}")
    next_second()
    fleet.report("snapshot")
    damaged = outcomes(fleet.report("audit", expect=None))["web1"]
    assert damaged["status"] == "damaged", damaged
    undone = outcomes(fleet.report("undelete", "web1"))["web1"]
    assert undone["status"] == "ok" and undone["data"]["copied"] == 1, undone
    assert len(archives(fleet, fleet.hosts["web1"])) == LEFT
    owner = fleet.vault.sh(f"stat -c %u {largest} {home}/nonce").split()
    assert len(set(owner)) == 1 and owner[0] != "0"


def test_nothing_of_it_is_left_over(fleet: World) -> None:
    assert not list(Path(fleet.state / "locks").glob("*.owner"))
