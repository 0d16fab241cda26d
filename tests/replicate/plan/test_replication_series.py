"""Replication plans, executed on a small model of what ZFS accepts.

Short series are enumerated, long histories are drawn at random.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.harness.builders.replica_model import (
    BOOKMARKED,
    GONE,
    MARKED,
    STAYS,
    Copy,
    check,
    copies,
    cuts,
    history,
    up_to_date,
)
from tests.harness.builders.replication import ABSENT, HERE, dataset, mark, snap, steps
from zborg.planning.replicate.actions import Full, Increment, Kind
from zborg.planning.replicate.facts import Pair, Side

pytestmark = pytest.mark.unit


def test_every_series_of_four_with_bookmarks_and_deletions() -> None:
    seen = {
        check(Pair(history(fates, foreign), copy))
        for foreign in (-1, 1, 3)
        for fates in product([STAYS, MARKED, GONE, BOOKMARKED], repeat=4)
        for copy in copies(4, foreign)
    }
    assert seen == {"sent", "nothing", Kind.DIVERGED, Kind.FOREIGN, Kind.NO_COMMON_BASE, Kind.SOURCE_SHRUNK}


def test_every_series_of_three_with_every_cut_stream() -> None:
    seen = {
        check(Pair(history(fates, foreign), held, token=cut))
        for foreign in (-1, 0, 2)
        for fates in product([STAYS, MARKED, GONE, BOOKMARKED], repeat=3)
        for copy in copies(3, foreign)
        # An empty dataset cannot have been the start of a cut stream: without -F it takes none.
        if copy.snapshots or copy is ABSENT
        for held, cut in cuts(copy, 3)
    }
    assert seen == {"sent", Kind.DIVERGED, Kind.FOREIGN, Kind.NO_COMMON_BASE, Kind.SOURCE_SHRUNK}


class History:
    """Nights of snapshots, rotation and replication, any of them cut; zborg's own discipline is kept:
    the base of the target is bookmarked before it may go, and the newest snapshot never goes."""

    def __init__(self) -> None:
        self.here = Side(HERE, dataset(HERE))
        self.copy = Copy(exists=False)
        self.day = 0

    def snapshot(self, ours: bool) -> None:
        self.day += 1
        self.here = replace(self.here, snapshots=(*self.here.snapshots, snap(self.day, ours=ours)))

    def destroy(self, place: int) -> None:
        doomed = self.here.snapshots[place % len(self.here.snapshots)] if self.here.snapshots else None
        if doomed is None or doomed in self.here.ours[-1:]:
            return
        marks = self.here.bookmarks
        if doomed.guid == self.copy.head:
            marks = (*marks, mark(doomed))
        left = tuple(s for s in self.here.snapshots if s is not doomed)
        self.here = replace(self.here, snapshots=left, bookmarks=marks)

    def replicate(self, complete: int) -> None:
        """Execute that many steps, then lose the connection in the middle of the next."""
        plan = steps(Pair(self.here, self.copy.side(), token=self.copy.token()))
        for step in plan[:complete]:
            self.copy.execute(step, self.here)
        for step in plan[complete : complete + 1]:
            if isinstance(step, Full | Increment):
                self.copy.cut = (step.snapshot, self.copy.head)
                self.copy.exists = True


actions = st.one_of(
    st.tuples(st.just("snapshot"), st.sampled_from([1, 1, 1, 0])),
    st.tuples(st.just("destroy"), st.integers(0, 30)),
    st.tuples(st.just("replicate"), st.integers(0, 4)),
)


@settings(max_examples=400)
@given(st.lists(actions, max_size=60))
def test_no_history_of_nights_and_cuts_ends_in_a_conflict(nights: list[tuple[str, int]]) -> None:
    history = History()
    for action, number in nights:
        match action:
            case "snapshot":
                history.snapshot(bool(number))
            case "destroy":
                history.destroy(number)
            case _:
                history.replicate(number)
    history.replicate(1_000)
    assert up_to_date(history.here, history.copy)
