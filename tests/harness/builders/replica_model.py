"""What `zfs send` and `zfs receive` without -F accept, as a small model on which plans are executed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import product

import pytest

from tests.harness.builders.replication import ABSENT, HERE, OFFSITE, THERE, dataset, mark, snap, steps
from zborg.model import ResumeToken, Snapshot
from zborg.planning.replicate.actions import Abandon, Divergence, Full, Increment, Kind, Resume, Step
from zborg.planning.replicate.facts import Pair, Side
from zborg.planning.replicate.plan import plan_dataset


@dataclass
class Copy:
    """A dataset on the target. `cut` is the (to, from) of a partial receive."""

    exists: bool
    snapshots: list[Snapshot] = field(default_factory=list)
    cut: tuple[Snapshot, str | None] | None = None

    @classmethod
    def of(cls, pair: Pair) -> Copy:
        cut = None
        if pair.target.dataset and pair.target.dataset.resume_token:
            to = pair.token.to_guid if pair.token else "unknown"
            cut = (snap(0, guid=to), pair.token.from_guid if pair.token else None)
        ordered = sorted(pair.target.snapshots, key=lambda s: s.createtxg)
        return cls(pair.target.dataset is not None, ordered, cut)

    @property
    def head(self) -> str | None:
        return self.snapshots[-1].guid if self.snapshots else None

    def execute(self, step: Step, here: Side) -> None:
        match step:
            case Abandon():
                assert self.cut, "nothing to abandon"
                # ZFS removes the dataset with the rest of a first full stream.
                self.exists = not (self.cut[1] is None and not self.snapshots)
                self.cut = None
            case Resume(token, snapshot):
                assert self.cut and (self.cut[0].guid, self.cut[1]) == (snapshot.guid, self.head)
                assert token.to_name == snapshot.full and token.to_guid == snapshot.guid
                assert token.from_guid is None or token.from_guid in {a.guid for a in here.anchors}
                self.cut = None
                self._receive(snapshot, here)
            case Full(snapshot):
                assert not self.exists and self.cut is None
                self.exists = True
                self._receive(snapshot, here)
            case Increment(base, snapshot):
                assert self.exists and self.cut is None
                assert base in here.anchors and base.createtxg < snapshot.createtxg
                assert base.guid == self.head
                self._receive(snapshot, here)

    def _receive(self, snapshot: Snapshot, here: Side) -> None:
        assert snapshot in here.snapshots and snapshot.name
        assert snapshot.snapname not in {s.snapname for s in self.snapshots}
        txg = self.snapshots[-1].createtxg + 1 if self.snapshots else 900_000
        self.snapshots.append(replace(snapshot, dataset=THERE, createtxg=txg))

    def side(self) -> Side:
        held = dataset(THERE, "2000", "1-abc" if self.cut else None) if self.exists else None
        return Side(THERE, held, tuple(self.snapshots))

    def token(self) -> ResumeToken | None:
        if self.cut is None:
            return None
        return ResumeToken("1-abc", self.cut[0].full, self.cut[0].guid, self.cut[1], 4_096)


def up_to_date(here: Side, copy: Copy) -> bool:
    """Nothing of zborg's is newer on the source than what the copy ends with."""
    if not here.ours:
        return True
    held = here.find(copy.head) if copy.head else None
    return held is not None and held.createtxg >= here.ours[-1].createtxg


def check(pair: Pair) -> str:
    """Run the plan on the model; the copy is current and has lost nothing, or the conflict is a real one."""
    plan = plan_dataset(pair, OFFSITE)
    copy = Copy.of(pair)
    before = list(copy.snapshots)
    if isinstance(plan, Divergence):
        check_conflict(plan, pair)
        return plan.kind
    for step in plan.steps:
        copy.execute(step, pair.source)
    assert copy.snapshots[: len(before)] == before
    assert up_to_date(pair.source, copy)
    assert sum(isinstance(step, Abandon) for step in plan.steps) <= 1
    assert steps(Pair(pair.source, copy.side())) == ()
    return "sent" if plan.steps else "nothing"


def check_conflict(found: Divergence, pair: Pair) -> None:
    """There was no way: an oracle that looks at the facts alone."""
    here, there = pair.source, pair.target
    newest = there.newest
    known = {anchor.guid for anchor in here.anchors}
    names_taken = {s.snapname for s in here.ours} & {
        s.snapname for s in there.snapshots if s.guid not in known
    }
    match found.kind:
        case Kind.NO_COMMON_BASE:
            assert there.dataset and not known & {s.guid for s in there.snapshots}
        case Kind.SOURCE_SHRUNK:
            assert newest and there.ours
            assert not here.ours or (
                newest.guid not in known and here.ours[-1].snapname < there.ours[-1].snapname
            )
        case Kind.DIVERGED | Kind.FOREIGN:
            assert newest and (newest.guid not in known or names_taken)
        case _:
            pytest.fail(f"no record was given, so {found.kind} cannot be known")
    text = "\n".join(found.lines())
    assert HERE in text and THERE in text and "remedy: " in text


# What may have become of a snapshot on the source.
STAYS, MARKED, GONE, BOOKMARKED = range(4)


def history(fates: Sequence[int], foreign: int) -> Side:
    everything = [snap(day, ours=day != foreign) for day in range(len(fates))]
    pairs = list(zip(everything, fates, strict=True))
    return Side(
        HERE,
        dataset(HERE),
        tuple(s for s, fate in pairs if fate in (STAYS, MARKED)),
        tuple(mark(s) for s, fate in pairs if fate in (MARKED, BOOKMARKED)),
    )


def copies(length: int, foreign: int) -> Iterator[Side]:
    """No dataset, an empty one, every subset of the history, and some with what only the target has."""
    yield ABSENT
    for mask in product([False, True], repeat=length):
        received = [snap(day, on=THERE, ours=day != foreign) for day in range(length) if mask[day]]
        alien = snap(length, on=THERE, ours=False, guid="666")
        twin = snap(length - 1, on=THERE, guid="667", txg=-1)  # the name of one to come, and older than all
        for extra in ([], [alien], [twin] if not mask[-1] and foreign != length - 1 else []):
            held = tuple(replace(s, createtxg=900_000 + s.createtxg) for s in (*received, *extra))
            yield Side(THERE, dataset(THERE, "2000"), held)


def cuts(there: Side, length: int) -> Iterator[tuple[Side, ResumeToken | None]]:
    """Each partial receive ZFS could have left on that copy, and one whose token nobody can read."""
    newest = there.newest
    base = newest.guid if newest else None
    held = there if there.dataset else replace(there, dataset=dataset(THERE, "2000"))
    assert held.dataset
    held = replace(held, dataset=replace(held.dataset, resume_token="1-abc"))
    yield held, None
    # ZFS makes no stream backwards.
    received = {snap(day).guid: day for day in range(length)}
    for to in range(received.get(base or "", -1) + 1, length):
        for guid in (snap(to).guid, "777"):
            yield held, ResumeToken("1-abc", snap(to).full, guid, base, 4_096)
