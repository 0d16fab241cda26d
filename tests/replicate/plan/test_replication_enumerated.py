"""Every series of up to five snapshots a side, with bookmarks and holds: planned, simulated, compared.

What ZFS accepts is modelled in replica_model.py; series of three and four are in test_replication_series.py.
Of those of five an ordinary run takes a part, the same each time; all of them are `deep`.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import product

import pytest

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
)
from tests.harness.builders.replication import ABSENT, EPOCH, HERE, OFFSITE, THERE, dataset, mark, snap
from zborg.model import Policy, Snapshot
from zborg.planning.replicate.actions import Divergence, Kind
from zborg.planning.replicate.facts import Pair, Side, newest_common
from zborg.planning.replicate.plan import plan_dataset
from zborg.planning.rotate.retention import rotate

FIVE = 5
HELD = 4  # it stays, and has a hold
ALL = pytest.param(None, marks=pytest.mark.deep, id="all")
EVERY_END = {"sent", "nothing", Kind.DIVERGED, Kind.FOREIGN, Kind.NO_COMMON_BASE, Kind.SOURCE_SHRUNK}


def fates(kinds: Sequence[int], length: int, part: int | None) -> list[tuple[int, ...]]:
    """What became of each snapshot on the source: all that is possible, or a part of it."""
    every = list(product(kinds, repeat=length))
    return every if part is None else random.Random(part).sample(every, part)  # noqa: S311  # no secret


@pytest.mark.parametrize("part", [pytest.param(100, id="part"), ALL])
def test_every_series_of_five(part: int | None) -> None:
    """297,984 in all; foreign snapshots at no place, the second and the last."""
    seen: Counter[str] = Counter()
    for foreign in (-1, 1, FIVE - 1):
        there = list(copies(FIVE, foreign))
        for some in fates((STAYS, MARKED, GONE, BOOKMARKED), FIVE, part):
            here = history(some, foreign)
            seen.update(check(Pair(here, copy)) for copy in there)
    assert set(seen) == EVERY_END
    assert part or sum(seen.values()) == 297_984


@pytest.mark.parametrize("part", [pytest.param(25, id="part"), ALL])
def test_every_series_of_five_with_every_cut_stream(part: int | None) -> None:
    """1,647,616 in all."""
    seen: Counter[str] = Counter()
    for foreign in (-1, 1, FIVE - 1):
        # An empty dataset cannot have been the start of a cut stream: without -F it takes none.
        held = [
            (side, cut)
            for copy in copies(FIVE, foreign)
            if copy.snapshots or copy is ABSENT
            for side, cut in cuts(copy, FIVE)
        ]
        for some in fates((STAYS, MARKED, GONE, BOOKMARKED), FIVE, part):
            here = history(some, foreign)
            seen.update(check(Pair(here, side, token=cut)) for side, cut in held)
    assert set(seen) == EVERY_END - {"nothing"}


# --- rotation in between ----------------------------------------------------------------------------------


def held_history(some: Sequence[int]) -> Side:
    """As `history`, with holds."""
    pairs = [(snap(day), fate) for day, fate in enumerate(some)]
    here = tuple(
        replace(one, holds=1) if fate == HELD else one for one, fate in pairs if fate in (STAYS, MARKED, HELD)
    )
    return Side(HERE, dataset(HERE), here, tuple(mark(s) for s, f in pairs if f in (MARKED, BOOKMARKED)))


def subsets(length: int) -> Iterator[Side]:
    """No dataset, and every part of the history."""
    yield ABSENT
    for mask in product([False, True], repeat=length):
        received = tuple(snap(day, on=THERE, txg=900_000 + day) for day in range(length) if mask[day])
        yield Side(THERE, dataset(THERE, "2000"), received)


def rotated(here: Side, base: Snapshot | None) -> Side:
    """What is left of the source after a rotation as strict as can be."""
    vetoes = {base.guid: "last common snapshot with offsite"} if base else {}
    verdicts = rotate(here.snapshots, Policy(last=1), EPOCH.replace(year=2027), vetoes)
    left = tuple(verdict.snapshot for verdict in verdicts if verdict.keep)
    bound = {one.guid for one in here.snapshots if one.holds or one.guid in vetoes}
    assert bound <= {one.guid for one in left}
    return replace(here, snapshots=left)


def replicated(here: Side, there: Side) -> Copy | Kind:
    """How the copy ends, or why it cannot be brought up to date."""
    plan = plan_dataset(Pair(here, there), OFFSITE)
    if isinstance(plan, Divergence):
        return plan.kind
    copy = Copy.of(Pair(here, there))
    for step in plan.steps:
        copy.execute(step, here)
    return copy


def compare(here: Side, there: Side) -> str:
    """Replicate without and with a rotation before: the same end, but for what rotation took on the way."""
    after = rotated(here, newest_common(here, there))
    plain, strict = replicated(here, there), replicated(after, there)
    if isinstance(plain, Kind) or isinstance(strict, Kind):
        assert plain == strict
        return str(plain)
    assert plain.head == strict.head
    ends, fewer = ([one.guid for one in copy.snapshots] for copy in (plain, strict))
    assert fewer == [guid for guid in ends if guid in fewer], "in the same order"
    assert {one.guid for one in there.snapshots} <= set(fewer), "nothing is lost on the copy"
    return "fewer" if len(fewer) < len(ends) else "same"


@pytest.mark.parametrize(
    ("length", "part"),
    [
        (1, None),
        (2, None),
        (3, None),
        (4, None),
        (FIVE, 150),
        pytest.param(FIVE, None, marks=pytest.mark.deep),
    ],
)
def test_a_rotation_before_changes_no_end(length: int, part: int | None) -> None:
    """103,125 of five."""
    seen: Counter[str] = Counter()
    there = list(subsets(length))
    for some in fates((STAYS, MARKED, GONE, BOOKMARKED, HELD), length, part):
        here = held_history(some)
        seen.update(compare(here, copy) for copy in there)
    assert seen["same"] and (length < 3 or seen["fewer"])
