"""The gap between a dataset and its copy, and how it reads."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from zborg.model import Snapshot, SnapshotName
from zborg.planning.replicate.facts import Side
from zborg.planning.replicate.verify import gap

pytestmark = pytest.mark.unit

START = datetime(2026, 2, 12, tzinfo=UTC)


def side(*days: int, manual: tuple[int, ...] = ()) -> Side:
    names = {day: str(SnapshotName.of(START + timedelta(days=day))) for day in days}
    names |= {day: f"manual-{day}" for day in manual}
    snapshots = (Snapshot("a/b", raw, str(day), day, START, 0, 0) for day, raw in sorted(names.items()))
    return Side("a/b", None, tuple(snapshots))


def test_a_copy_that_has_all_is_closed_and_says_one_number() -> None:
    found = gap(side(1, 2), side(1, 2))
    assert found.closed and str(found) == "2 in common"


def test_only_what_zborg_took_after_the_newest_common_one_is_not_sent_yet() -> None:
    found = gap(side(1, 2, 3, manual=(4,)), side(2, 9))
    assert [one.guid for one in found.unsent] == ["3"] and not found.closed
    assert [one.guid for one in found.here] == ["1", "4"], "rotated there, and nothing of zborg's"
    words = (
        f"1 in common, 1 not sent yet: {found.unsent[0].snapname}, 2 others here alone, 1 other there alone"
    )
    assert str(found) == words


def test_of_many_five_are_named() -> None:
    assert str(gap(side(*range(1, 8)), side())).endswith(" and 2 more")
    assert "more" not in str(gap(side(*range(1, 6)), side()))
