"""replicate --verify: the full lists of guids of both sides."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.harness.steps import replicate, verify
from tests.harness.worlds.local import LocalVault
from tests.harness.worlds.steps import Hours, dataset_only, destroy, nights, of, snapnames, world
from zborg.errors import Exit
from zborg.model import Snapshot, SnapshotName, Status
from zborg.planning.replicate.facts import Side
from zborg.planning.replicate.verify import gap

WEB, COPY = "tank/borg/web1", "offsite:vault/zborg/web1"
START = datetime(2026, 2, 12, tzinfo=UTC)


def snap(day: int, on: str = WEB, *, ours: bool = True) -> Snapshot:
    at = START + timedelta(days=day)
    return Snapshot(on, str(SnapshotName.of(at)) if ours else f"manual-{day}", str(100 + day), day, at, 0, 0)


@pytest.mark.unit
@given(st.sets(st.integers(1, 12)), st.sets(st.integers(1, 12)), st.sets(st.integers(1, 12)))
def test_every_snapshot_of_both_sides_is_counted_once(
    here: set[int], there: set[int], foreign: set[int]
) -> None:
    source = Side(WEB, None, tuple(snap(day, ours=day not in foreign) for day in here))
    copied = tuple(
        replace(snap(day, "vault/x", ours=day not in foreign), createtxg=900 - day) for day in there
    )
    found = gap(source, Side("vault/x", None, copied))
    assert found.common == len(here & there)
    assert found.common + len(found.unsent) + len(found.here) == len(here)
    assert {one.guid for one in found.there} == {str(100 + day) for day in there - here}
    newest = max(here & there, default=0)
    assert {one.createtxg for one in found.unsent} == {day for day in here - there - foreign if day > newest}
    assert found.closed == (not found.unsent)


def test_the_gap_is_told_and_closed_by_the_next_replication(vault: LocalVault, clock: Hours) -> None:
    dataset_only(vault, "web1")
    nights(vault, clock, 2)
    context = world(vault, clock)
    missing = verify(context)
    assert (missing.exit, of(missing, COPY).message) == (Exit.FAILED, "there is no copy")
    replicate(context)
    assert (verify(context).exit, of(verify(context), COPY).message) == (Exit.OK, "2 in common")
    nights(vault, clock, 1)
    behind = verify(world(vault, clock))
    newest = snapnames(vault, WEB)[-1]
    assert (behind.exit, of(behind, COPY).data["unsent"]) == (Exit.FAILED, [newest])
    assert newest in of(behind, COPY).message and of(behind, COPY).remedy == "zborg replicate offsite"
    replicate(world(vault, clock))
    assert verify(world(vault, clock)).exit is Exit.OK


def test_what_one_side_has_alone_is_told(vault: LocalVault, clock: Hours) -> None:
    dataset_only(vault, "web1")
    nights(vault, clock, 3)
    replicate(world(vault, clock))
    first, second, _ = snapnames(vault, WEB)
    destroy(vault.zfs, WEB, first)
    destroy(vault.far, "vault/zborg/web1", second)
    report = verify(world(vault, clock))
    assert report.exit is Exit.OK, "rotation does this on both sides"
    data = of(report, COPY).data
    assert (data["common"], data["here"], data["there"]) == (1, [second], [first])


def test_a_copy_that_diverged_is_a_conflict(vault: LocalVault, clock: Hours) -> None:
    dataset_only(vault, "web1")
    nights(vault, clock, 1)
    replicate(world(vault, clock))
    vault.far.snapshot("vault/zborg", "manual", {})
    report = verify(world(vault, clock))
    assert (report.exit, of(report, COPY).status) == (Exit.CONFLICT, Status.CONFLICT)
    assert "foreign-snapshots" in of(report, COPY).message
    assert of(report, COPY).data["there"] == ["manual"]
