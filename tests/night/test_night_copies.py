"""Replication, rotation and damage on real OpenZFS, without hosts, each command run as cron would run it."""

from __future__ import annotations

import json

import pytest

from tests.conftest import Lab
from tests.harness.lab.night import MIB, assert_not_mounted, both_sides
from tests.harness.watch import kill, newest_pair, streamed, until
from tests.harness.worlds.world import World, guids, only, outcomes

pytestmark = pytest.mark.lab

# --- replication and rotation, without hosts ----------------------------------------------------------


DATASETS = ("a", "b", "c", "d")


def stamp(day: int) -> str:
    return f"zborg_2026-01-{day:02d}T030000Z"


@pytest.fixture(scope="module")
def copies(lab: Lab) -> World:
    """Four datasets with one snapshot each; `a` is large enough to be cut."""
    world = lab.world("copies", "tank/copies", "vault/copies")
    world.write_config(snapshots={"keep": {"last": 1}})
    world.report("init")
    lab.vault.sh("zfs destroy tank/copies/zborg-ledger")  # one more of these, and never large
    lab.vault.sh(
        f"for one in {' '.join(DATASETS)}; do zfs create -o recordsize=128k tank/copies/$one; "
        "head -c 100000 /dev/urandom >/tank/copies/$one/data; done; "
        f"head -c {8 * MIB} /dev/urandom >/tank/copies/a/large; zfs snapshot -r tank/copies@{stamp(1)}"
    )
    world.forget(*DATASETS)
    return world


def test_a_cut_stream_costs_one_dataset_and_the_next_run_sends_only_the_rest(copies: World) -> None:
    cut = copies.start("replicate", "--json")
    sender, _ = until(lambda: newest_pair(copies.state, "dataset-tank:copies:a"), "a's stream starts")
    until(lambda: streamed(cut.pid) > 6 * MIB, "most of a's stream was sent")
    kill(sender)
    out, _ = cut.communicate(timeout=180)
    found = outcomes(json.loads(out))
    assert cut.returncode == 3, out
    assert {key: one["status"] for key, one in found.items()} == {
        "offsite:vault/copies/a": "failed",
        **{f"offsite:vault/copies/{one}": "ok" for one in "bcd"},
    }
    resumed = copies.report("replicate")
    assert any("resume tank/copies/a@" in line for line in resumed["plan"]), resumed["plan"]
    data = outcomes(resumed)["offsite:vault/copies/a"]["data"]
    assert 0 < data["bytes"] < 5 * MIB
    assert data["streams"] == 1
    here, there = both_sides(copies)
    assert there == here
    assert_not_mounted(copies)


def test_rotate_keeps_the_base_and_what_is_held_dataset_by_dataset(copies: World) -> None:
    takes = "; ".join(f"zfs snapshot -r tank/copies@{stamp(day)}" for day in (2, 3, 4))
    copies.vault.sh(f"{takes}; zfs hold mine tank/copies/b@{stamp(2)}")
    before = guids(copies.vault, "tank/copies")
    dry = copies.report("rotate", "--dry-run")
    assert guids(copies.vault, "tank/copies") == before
    plan = "\n".join(dry["plan"])
    assert "last common snapshot with offsite" in plan
    assert "1 hold" in plan
    report = copies.report("rotate")
    left = {name for name in guids(copies.vault, "tank/copies") if not name.startswith("@")}
    expected = {f"/{one}@{stamp(day)}" for one in DATASETS for day in (1, 4)} | {f"/b@{stamp(2)}"}
    assert left == expected
    assert outcomes(report)["tank/copies/b"]["data"]["destroyed"] == [stamp(3)]
    assert outcomes(report)["tank/copies/c"]["data"]["destroyed"] == [stamp(2), stamp(3)]


def test_an_increment_continues_from_the_base_that_rotate_left(copies: World) -> None:
    report = copies.report("replicate")
    assert outcomes(report)["offsite:vault/copies/b"]["data"]["streams"] == 2
    assert outcomes(report)["offsite:vault/copies/a"]["data"]["bytes"] < MIB
    here, there = both_sides(copies)
    assert there == here
    holds = copies.vault.ssh(["zfs", "holds", "-H", f"tank/copies/a@{stamp(4)}"]).stdout
    assert "zborg:to:offsite" in holds
    assert copies.vault.ssh(["zfs", "holds", "-H", f"tank/copies/a@{stamp(1)}"]).stdout == ""


_CONTRADICT = f"""
for snapshot in $(zfs list -H -o name -t snapshot -r tank/copies/b tank/copies/c); do
    zfs holds -H "$snapshot" | while read -r name tag since; do zfs release "$tag" "$name"; done
done
zfs destroy tank/copies/b@%
for mark in $(zfs list -H -o name -t bookmark -r tank/copies/b); do zfs destroy "$mark"; done
record=$(zfs get -H -o value zborg:target.offsite tank/copies/c)
zfs destroy -r tank/copies/c
zfs create -o zborg:target.offsite="$record" tank/copies/c
head -c 1000 /dev/urandom >/tank/copies/d/more
zfs snapshot -r tank/copies@{stamp(5)}
"""


def test_contradictions_end_in_12_and_touch_neither_side(copies: World) -> None:
    assert copies.offsite is not None
    copies.offsite.sh("zfs snapshot vault/copies/a@stranger")
    copies.vault.sh(_CONTRADICT)
    before = guids(copies.vault, "tank/copies"), guids(copies.offsite, "vault/copies")
    report = copies.report("replicate", expect=12)
    found = outcomes(report)
    kinds = {key[-1]: one["data"].get("conflict") for key, one in found.items()}
    assert kinds == {"a": "foreign-snapshots", "b": "no-common-base", "c": "source-recreated", "d": None}
    assert all(
        one["remedy"] and len(one["data"]["sides"]) == 2 for key, one in found.items() if key[-1] != "d"
    )
    assert found["offsite:vault/copies/d"]["status"] == "ok"
    after = guids(copies.vault, "tank/copies"), guids(copies.offsite, "vault/copies")
    sent = after[1].pop(f"/d@{stamp(5)}")
    assert sent == after[0][f"/d@{stamp(5)}"]
    assert after == before


# --- damage -------------------------------------------------------------------------------------------


_DAMAGE = """
truncate -s 128M /vdev/bad
zpool create -O compression=off -O recordsize=128k bad /vdev/bad
zfs create -p bad/borg/web1
head -c 131072 /dev/urandom >/bad/borg/web1/data
zpool sync bad
object=$(stat -c %i /bad/borg/web1/data)
at=$(zdb -ddddd bad/borg/web1 "$object" | sed -n 's/^ *0 *L0 [^:]*:\\([0-9a-f]*\\):.*/\\1/p' | head -n 1)
zpool export bad
dd if=/dev/zero of=/vdev/bad bs=4096 seek=$(( (0x$at + 0x400000) / 4096 )) count=8 conv=notrunc status=none
zpool import -d /vdev bad
"""


def test_damaged_data_is_told_by_13(lab: Lab) -> None:
    lab.vault.sh(_DAMAGE)
    world = lab.world("damage", "bad/borg")
    world.offsite = None
    world.write_config()
    (world.state / "locks").mkdir(parents=True)
    (world.state / "runs").mkdir()
    try:
        report = world.report("scrub", "--start", "--wait", expect=13)
    finally:
        lab.vault.sh("zpool destroy -f bad; rm -f /vdev/bad")
    assert only(report)["status"] == "damaged"
    assert only(report)["data"]["errors"] > 0
    assert "in web1 (1 file)" in only(report)["message"]
    assert only(report)["data"]["devices"]
