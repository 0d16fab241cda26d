"""Replication plans of all datasets: records, order, bookmarks that may go."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.harness.builders.replication import (
    OFFSITE,
    dataset,
    fleet,
    mark,
    marked,
    moved,
    snap,
    source,
    target,
    token,
    tree,
)
from tests.harness.checkout import GOLDEN_FILES
from zborg.model import Bookmark
from zborg.planning.replicate.actions import SHOWN, Kind, Resume
from zborg.planning.replicate.facts import Recorded, Side, Tree, stale_bookmarks
from zborg.planning.replicate.plan import plan_all

pytestmark = pytest.mark.unit

GOLDEN = GOLDEN_FILES / "planning"

guids = st.integers(1, 2**64 - 1).map(str)


@given(guids, st.none() | guids, st.from_regex(r"[a-z0-9][a-z0-9+-]{0,20}", fullmatch=True))
def test_a_record_is_read_as_it_was_written(guid: str, base: str | None, flags: str) -> None:
    record = Recorded(guid, base, flags)
    assert Recorded.parse(str(record)) == record


@given(st.text() | st.from_regex(r"source_guid=\S* base=\S* flags=\S*"))
def test_a_record_is_read_exactly_or_refused_with_its_text(text: str) -> None:
    try:
        record = Recorded.parse(text)
    except ValueError as error:
        assert repr(text[:200]) in str(error)
    else:
        assert str(record) == text


def test_one_conflict_leaves_the_other_datasets_their_plans() -> None:
    here, there = fleet()
    plan = plan_all(here, there, {}, {}, OFFSITE)
    assert [p.source for p in plan.datasets] == ["tank/borg/db", "tank/borg/new", "tank/borg/web1"]
    assert [p.target for p in plan.datasets] == ["vault/zborg/db", "vault/zborg/new", "vault/zborg/web1"]
    assert [(c.kind, c.source.name) for c in plan.conflicts] == [(Kind.FOREIGN, "tank/borg/mail")]
    assert plan.gone == ("vault/zborg/old",)


def test_of_many_copies_that_are_kept_a_plan_shows_some_and_counts_the_others() -> None:
    gone = {f"old{number}": target(0) for number in range(SHOWN + 2)}
    plan = plan_all(Tree("tank/borg", {}), Tree("vault/zborg", gone), {}, {}, OFFSITE)
    assert plan.lines()[-1] == "2 more: no longer on the source; kept"
    assert len(plan.lines()) == SHOWN + 1


def test_records_and_tokens_reach_their_datasets() -> None:
    here, there = fleet()
    cut = replace(token(2, 0), to_name=f"tank/borg/db@{snap(2).snapname}")
    plan = plan_all(here, there, {"web1": "source_guid=5 base=- flags=plain"}, {"db": cut}, OFFSITE)
    assert isinstance(plan.datasets[0].steps[0], Resume)
    assert [c.kind for c in plan.conflicts] == [Kind.FOREIGN, Kind.SOURCE_RECREATED]


def test_a_record_that_cannot_be_read_is_a_conflict_with_the_way_to_clear_it() -> None:
    here, there = fleet()
    found = plan_all(here, there, {"web1": "rubbish"}, {}, OFFSITE).conflicts[-1]
    assert found.kind is Kind.RECORD_UNREADABLE
    assert found.message == "zborg:target.offsite: not a replication record: 'rubbish'"
    assert "zfs inherit zborg:target.offsite tank/borg/web1" in found.remedy


def test_a_tree_is_made_of_flat_listings_without_its_root() -> None:
    names = ["tank/borg", "tank/borg/web1", "tank/borg/web1/sub", "tank/borger"]
    snapshots = [replace(snap(day), dataset=name) for name in names for day in range(2)]
    bookmarks = [mark(snapshots[2])]
    made = Tree.of("tank/borg", [dataset(name) for name in names], snapshots, bookmarks)
    assert set(made.sides) == {"web1", "web1/sub"}
    assert made.side("web1").snapshots == tuple(snapshots[2:4])
    assert made.side("web1").bookmarks == tuple(bookmarks)
    assert made.side("absent") == Side("tank/borg/absent")


def test_parents_are_planned_before_their_children() -> None:
    here = tree("tank/borg", {"a/b/c": source(0), "a": source(0), "a/b": source(0)})
    plan = plan_all(here, Tree("vault/zborg", {}), {}, {}, OFFSITE)
    assert [p.target for p in plan.datasets] == ["vault/zborg/a", "vault/zborg/a/b", "vault/zborg/a/b/c"]


def test_the_plan_reads_like_its_golden_file() -> None:
    here, there = fleet()
    sides = {**there.sides, "mx": moved(target(0, token="1-abc"), "vault/zborg/mx")}
    here = Tree(here.root, {**here.sides, "mx": moved(source(0, 2), "tank/borg/mx")})
    stale = replace(token(1, 0), to_name=f"tank/borg/mx@{snap(1).snapname}", received=734_003_200)
    cut = replace(token(1, 0), to_name=f"tank/borg/db@{snap(1).snapname}")
    plan = plan_all(here, Tree(there.root, sides), {}, {"mx": stale, "db": cut}, OFFSITE)
    assert list(plan.lines()) == (GOLDEN / "replication_plan.txt").read_text().splitlines()


def days_of(bookmarks: Sequence[Bookmark]) -> list[int]:
    return [bookmark.createtxg for bookmark in bookmarks]


@given(
    days=st.sets(st.integers(1, 40)), bases=st.sets(st.integers(1, 40), max_size=3), keep=st.integers(0, 40)
)
def test_only_bookmarks_that_no_target_can_need_are_stale(days: set[int], bases: set[int], keep: int) -> None:
    side = marked(sorted(days), left=sorted(bases - days))
    stale = set(days_of(stale_bookmarks(side, [snap(day).guid for day in bases], keep)))
    assert all(day < base for day in stale for base in bases)
    if bases:
        expected = [day for day in sorted(days)[: max(len(days) - keep, 0)] if day < min(bases)]
        assert stale == set(expected)
    else:
        assert not stale


def test_with_a_base_that_is_gone_every_bookmark_stays() -> None:
    side = marked(range(1, 10))
    assert days_of(stale_bookmarks(side, [snap(8).guid], keep=2)) == [1, 2, 3, 4, 5, 6, 7]
    assert stale_bookmarks(side, [snap(8).guid, snap(20).guid], keep=2) == ()


def test_bookmarks_of_others_stay() -> None:
    foreign = source(marks=range(1, 10))
    assert stale_bookmarks(foreign, [snap(9).guid], keep=0) == ()
