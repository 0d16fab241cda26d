"""The rows of docs/failures.md that are about replication, on real pools: one dataset for each, and few runs.

All is prepared, every dataset is spoiled in its own way, and one replication meets all of it. The tests tell
one story and stand in its order.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.conftest import Lab
from tests.harness.lab.night import send
from tests.harness.watch import newest_pair, passed, until
from tests.harness.worlds.world import World, guids, outcomes
from tests.lab import Guest
from zborg.planning.replicate.facts import Recorded

# The first test of a fixture waits for a whole replication, and a machine may be busy.
pytestmark = [pytest.mark.lab, pytest.mark.timeout(1200)]

ROOT, COPY = "tank/rows", "small/rows"
LIVE = "/mnt/live"  # where a careless parent would have its copies mounted
BY_HAND = "note kind anew slow turn"  # not worth a replication: their first snapshot is just sent
MIB = 1 << 20
Report = dict[str, Any]


def stamp(day: int) -> str:
    return f"zborg_2026-01-{day:02d}T030000Z"


def cut(world: World, name: str, options: str = "") -> None:
    """Half of the increment to the second snapshot arrives."""
    source = f"{ROOT}/{name}"
    line = f"zfs send {options} -L -e -c -i @{stamp(1)} {source}@{stamp(2)} | head -c {MIB}"
    send(world, line, f"zfs receive -s -u {COPY}/{name}")


def offsite(world: World) -> Guest:
    assert world.offsite is not None
    return world.offsite


def there(world: World, name: str) -> dict[str, str]:
    return guids(offsite(world), f"{COPY}/{name}")


def here(world: World, name: str) -> dict[str, str]:
    return guids(world.vault, f"{ROOT}/{name}")


def record(world: World, name: str) -> Recorded:
    argv = ["zfs", "get", "-Hp", "-o", "value", "zborg:target.offsite", f"{ROOT}/{name}"]
    return Recorded.parse(world.vault.ssh(argv).stdout.strip())


def of(report: Report, name: str) -> dict[str, Any]:
    return outcomes(report)[f"offsite:{COPY}/{name}"]


# --- all is well --------------------------------------------------------------------------------------

_MAKE = f"""
for one in cut note kind anew slow xfull; do zfs create -o recordsize=128k {ROOT}/$one; done
for one in key turn; do
    zfs create -o encryption=on -o keyformat=passphrase -o pbkdf2iters=100000 \\
        -o keylocation=file:///proc/version {ROOT}/$one
done
zfs create {ROOT}/fall
for one in $(ls /{ROOT}); do head -c 1000 /dev/urandom >/{ROOT}/$one/data; done
for one in {BY_HAND} cut key fall; do zfs snapshot -o zborg:state=ok {ROOT}/$one@{stamp(1)}; done
for one in kind anew; do
    guid=$(zfs get -Hp -o value guid {ROOT}/$one)
    zfs set zborg:target.offsite="source_guid=$guid base=- flags=raw-lec" {ROOT}/$one
done
"""
# A pool with room for ten million bytes; what is kept free for ZFS itself is half of it.
_SMALL = f"""
mkdir -p /vdev
truncate -s 160M /vdev/small
zpool create -f -O compression=off small /vdev/small
zfs create -o mountpoint={LIVE} -o canmount=off -o readonly=on -o volmode=none {COPY}
zfs create small/else
head -c $(( $(zfs get -Hp -o value available small) - 10000000 )) /dev/urandom >/small/else/data
zpool sync small
"""


@pytest.fixture(scope="module")
def rows(lab: Lab) -> Iterator[World]:
    # A careless parent: its children have somewhere to be mounted.
    lab.offsite.sh(_SMALL)
    world = lab.world("rows", ROOT, COPY)
    world.write_config(snapshots={"keep": {"last": 1}})
    # With a limit one stream comes after the other: the last one fills the pool, and for itself alone.
    target = world.settings["targets"]["offsite"] | {"bandwidth_limit": "1GiB/s"}
    world.write_config(snapshots={"keep": {"last": 1}}, targets={"offsite": target})
    world.report("init")
    lab.vault.sh(_MAKE)
    world.forget("cut", "note", "kind", "anew", "slow", "xfull", "key", "turn", "fall")
    send(
        world,
        f"for one in {BY_HAND}; do zfs send -L -e -c {ROOT}/$one@{stamp(1)}; done",
        f"for one in {BY_HAND}; do zfs receive -u {COPY}/$one; done",
    )
    yield world
    lab.offsite.sh("zpool destroy -f small; rm -f /vdev/small")


@pytest.fixture(scope="module")
def first(rows: World) -> Report:
    return rows.report("replicate", expect=None, timeout=600)


def test_what_is_received_is_mounted_nowhere(rows: World, first: Report) -> None:
    """Row 17."""
    assert there(rows, "cut") == here(rows, "cut")
    shown = offsite(rows).sh(f"zfs list -Hp -r -o mounted,mountpoint {COPY}").splitlines()
    assert f"no\t{LIVE}/cut" in shown and all(line.startswith("no\t") for line in shown), shown
    assert LIVE not in offsite(rows).sh("cat /proc/mounts")


def test_the_marks_of_a_copy_are_set_by_the_next_run(rows: World, first: Report) -> None:
    """As if the run that sent `slow` had been killed before it set them."""
    argv = ["zfs", "get", "-Hp", "-s", "local", "-o", "value", "zborg:state", f"{COPY}/slow@{stamp(1)}"]
    assert offsite(rows).ssh(argv).stdout == "ok\n", of(first, "slow")


# --- and then nothing is ------------------------------------------------------------------------------

_SPOIL = f"""
for one in cut key; do head -c 2000000 /dev/urandom >/{ROOT}/$one/data; done
head -c 14000000 /dev/urandom >/{ROOT}/xfull/data
for one in cut note kind turn key xfull; do zfs snapshot {ROOT}/$one@{stamp(2)}; done
zfs snapshot {ROOT}/fall@{stamp(4)}
zfs snapshot {ROOT}/fall@{stamp(3)}
zfs release zborg:to:offsite {ROOT}/fall@{stamp(1)}
zfs destroy {ROOT}/fall@{stamp(1)}
was=$(zfs get -H -o value zborg:target.offsite {ROOT}/anew)
zfs destroy -r {ROOT}/anew
zfs create -o zborg:target.offsite="$was" {ROOT}/anew
zfs snapshot {ROOT}/anew@{stamp(2)}
"""
_AFTER_THE_CUT = f"""
zfs destroy {ROOT}/cut@{stamp(2)}
zfs snapshot {ROOT}/cut@{stamp(3)}
zfs snapshot {ROOT}/key@{stamp(3)}
"""
_WRITE = f"""
zfs set readonly=off {COPY}/note
zfs mount {COPY}/note
echo "by somebody who looked around" >{LIVE}/note/mine
"""


@pytest.fixture(scope="module")
def spoiled(rows: World, first: Report) -> Iterator[Report]:
    rows.vault.sh(_SPOIL)
    for name, options in (("cut", ""), ("key", "-w")):
        cut(rows, name, options)
    rows.vault.sh(_AFTER_THE_CUT)
    offsite(rows).sh(_WRITE)
    offsite(rows).sh("date -s @$(( $(date +%s) - 7200 ))")
    try:
        yield rows.report("replicate", expect=None, timeout=600)
    finally:
        offsite(rows).sh("date -s @$(( $(date +%s) + 7200 ))")


def test_a_cut_stream_whose_snapshot_is_gone_is_given_up_once(rows: World, spoiled: Report) -> None:
    """Row 1; what a sink makes of it is in test_sink_lab.py."""
    done = of(spoiled, "cut")
    assert done["status"] == "ok" and done["data"]["lost_bytes"] > MIB / 2, done
    assert "had to be given up" in done["message"]
    assert there(rows, "cut") == here(rows, "cut") and len(there(rows, "cut")) == 2


def test_what_the_target_got_is_what_is_recorded(rows: World, spoiled: Report) -> None:
    """Row 2. The stream that was cut brings the second snapshot, whatever came to the source since."""
    assert any(f"resume {ROOT}/key@{stamp(2)}" in line for line in spoiled["plan"])
    assert of(spoiled, "key")["data"]["streams"] == 2
    copy = there(rows, "key")
    assert copy == here(rows, "key") and record(rows, "key").base == copy[f"@{stamp(3)}"]


def test_a_changed_kind_of_streams_is_a_conflict(rows: World, spoiled: Report) -> None:
    """Row 3: by the record, and where there is none by the copy itself."""
    assert [of(spoiled, name)["data"]["conflict"] for name in ("kind", "turn")] == ["flags-changed"] * 2
    assert all(len(there(rows, name)) == 1 for name in ("kind", "turn"))


def test_a_target_that_was_written_to_keeps_what_was_written(rows: World, spoiled: Report) -> None:
    """Rows 4 and 6."""
    found = of(spoiled, "note")
    assert found["data"]["conflict"] == "modified" and "zfs rollback" in found["remedy"], found
    assert offsite(rows).sh(f"cat {LIVE}/note/mine") == "by somebody who looked around\n"
    assert list(there(rows, "note")) == [f"@{stamp(1)}"]


def test_a_base_that_is_only_a_bookmark_serves(rows: World, spoiled: Report) -> None:
    """Row 5."""
    assert f"{ROOT}/fall#{stamp(1)}" in "".join(spoiled["plan"])
    assert of(spoiled, "fall")["status"] == "ok", of(spoiled, "fall")


def test_a_source_made_anew_replaces_nothing(rows: World, spoiled: Report) -> None:
    """Row 7."""
    assert of(spoiled, "anew")["data"]["conflict"] == "source-recreated"
    assert list(there(rows, "anew")) == [f"@{stamp(1)}"]


def test_order_is_by_transaction_group(rows: World, spoiled: Report) -> None:
    """Row 15: the hour that comes twice, or a clock that was set back between two snapshots."""
    assert list(there(rows, "fall")) == [f"@{stamp(day)}" for day in (1, 4, 3)], of(spoiled, "fall")


def test_an_encrypted_dataset_is_sent_raw(rows: World, spoiled: Report) -> None:
    """Row 19: in full, cut, resumed and on. Its key never comes, and without it nobody reads the copy."""
    assert record(rows, "key").flags == "raw-lec"
    shown = ["zfs", "get", "-Hp", "-o", "value", "encryption,keystatus", f"{COPY}/key"]
    assert offsite(rows).ssh(shown).stdout.split() == ["aes-256-gcm", "unavailable"]
    refused = offsite(rows).ssh(["zfs", "mount", f"{COPY}/key"], check=False)
    assert refused.returncode != 0 and "key" in refused.stderr


def test_conflicts_decide_whatever_else_there_was(first: Report, spoiled: Report) -> None:
    """Row 14; `turn` was one from the beginning."""
    assert (first["exit"], spoiled["exit"]) == (12, 12)


def test_a_target_with_a_wrong_clock_is_told(spoiled: Report) -> None:
    """Row 16."""
    found = outcomes(spoiled)["offsite"]
    assert (found["kind"], found["status"]) == ("clock", "warning") and "2 hours behind" in found["message"]


def test_a_full_target_is_called_full(rows: World, spoiled: Report) -> None:
    found = of(spoiled, "xfull")
    assert found["status"] == "failed" and "its pool is full" in found["message"], found
    assert "-o space" in found["remedy"]


# --- what can be mended is mended by the next run -------------------------------------------------------

_LIAR = '#!/bin/sh\n[ "$1" = receive ] || exec /usr/sbin/zfs "$@"\ncat >/dev/null\n'
_MEND = f"""
rm -f /usr/local/sbin/zfs /small/else/data
zpool sync small
zfs rollback {COPY}/note@{stamp(1)}
"""
_SLOW = f"""
head -c {4 * MIB} /dev/urandom >/{ROOT}/slow/data
for day in {stamp(2)} {stamp(3)} {stamp(4)}; do zfs snapshot {ROOT}/slow@$day; done
"""


def test_a_receive_that_lies_becomes_no_base(rows: World, spoiled: Report) -> None:
    """Row 2: one that ends with 0, and keeps nothing."""
    rows.vault.sh(f"zfs snapshot {ROOT}/fall@{stamp(5)}")
    offsite(rows).write("/usr/local/sbin/zfs", _LIAR, mode=0o755)
    try:
        found = of(rows.report("replicate", expect=None, timeout=600), "fall")
    finally:
        offsite(rows).sh("rm -f /usr/local/sbin/zfs")
    assert found["status"] == "failed" and "the target shows" in found["message"], found
    assert record(rows, "fall").base == there(rows, "fall")[f"@{stamp(3)}"]


def test_stale_holds_are_found_and_released_and_no_others(rows: World, spoiled: Report) -> None:
    """Row 10: of a target that is no longer configured."""
    one, base = f"{ROOT}/fall@{stamp(4)}", f"{ROOT}/fall@{stamp(3)}"
    rows.vault.sh(f"zfs hold zborg:to:gone {one}; zfs hold mine {one}")
    rows.report("holds", "release", "--stale")
    left = rows.vault.sh(f"zfs holds -H {one} {base} | cut -f 1,2").splitlines()
    rows.vault.sh(f"zfs release mine {one}")
    assert sorted(left) == [f"{base}\tzborg:to:offsite", f"{one}\tmine"]


def test_nothing_is_named_or_destroyed_by_a_clock_that_is_wrong(rows: World, spoiled: Report) -> None:
    """Row 16: the storage's, which zborg's own contradicts; zborg's, which the newest name contradicts."""
    before = guids(rows.vault, ROOT)
    rows.vault.sh("date -s @$(( $(date +%s) - 7200 ))")
    try:
        assert "2 hours behind" in str(rows.report("snapshot", expect=12)["outcomes"])
    finally:
        rows.vault.sh("date -s @$(( $(date +%s) + 7200 ))")
    assert guids(rows.vault, ROOT) == before
    future = f"{ROOT}/fall@zborg_2099-01-01T030000Z"
    rows.vault.sh(f"zfs snapshot {future}")
    try:
        assert "nothing was destroyed" in str(rows.report("rotate", expect=12)["outcomes"])
        assert guids(rows.vault, ROOT).items() >= before.items()
    finally:
        rows.vault.sh(f"zfs destroy {future}")


@pytest.fixture(scope="module")
def mended(rows: World, spoiled: Report) -> tuple[Report, Report]:
    """A slow replication with room on the target again, and what a rotation came to meanwhile."""
    offsite(rows).sh(_MEND)
    rows.vault.sh(_SLOW)
    target = rows.settings["targets"]["offsite"] | {"bandwidth_limit": "256KiB/s"}
    sending = rows.start("replicate", "--config", rows.variant("slow", targets={"offsite": target}), "--json")
    pv, _ = until(lambda: newest_pair(rows.state, "dataset-tank:rows:slow"), "the stream starts", 300)
    until(lambda: passed(pv, "rchar") > MIB / 2, "it is on its way")
    rotated = rows.report("rotate", expect=None)
    out, _ = sending.communicate(timeout=600)
    report: Report = json.loads(out)
    return report, rotated


def test_rotate_keeps_off_what_is_being_sent(rows: World, mended: tuple[Report, Report]) -> None:
    """Row 9: it would destroy the third of four, while the second is being sent."""
    report, rotated = mended
    busy = outcomes(rotated)[f"{ROOT}/slow"]
    assert busy["status"] == "busy" and "replicate" in busy["message"], busy
    assert of(report, "slow")["data"].get("streams") == 3, of(report, "slow")
    assert there(rows, "slow") == here(rows, "slow") and len(here(rows, "slow")) == 4


def test_with_room_again_the_next_run_is_good(rows: World, mended: tuple[Report, Report]) -> None:
    """And what a lying receive kept from another has come as well."""
    report, _ = mended
    for name in ("xfull", "fall", "note"):
        assert of(report, name)["status"] == "ok", of(report, name)
    assert there(rows, "xfull") == here(rows, "xfull")
    assert f"@{stamp(5)}" in there(rows, "fall")
