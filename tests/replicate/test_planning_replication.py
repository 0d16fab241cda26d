"""Replication plans, executed on a small model of what ZFS accepts.

Short series are enumerated, long histories are drawn at random.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.harness.checkout import GOLDEN_FILES
from zborg.model import P_RUN, P_STATE, Bookmark, Dataset, ResumeToken, Snapshot, SnapshotName
from zborg.model.text.remedy import parse
from zborg.planning.replicate.facts import (
    Abandon,
    DatasetPlan,
    Divergence,
    Full,
    Increment,
    Kind,
    Link,
    Mark,
    Pair,
    Recorded,
    Resume,
    Side,
    Step,
    Tree,
    stale_bookmarks,
)
from zborg.planning.replicate.plan import modified, plan_all, plan_dataset

pytestmark = pytest.mark.unit

GOLDEN = GOLDEN_FILES / "planning"
HERE, THERE = "tank/borg/web1", "vault/zborg/web1"
RUN = "20260212T144933Z-4f3a"
OFFSITE = Link("offsite")
EPOCH = datetime(2026, 2, 1, tzinfo=UTC)


def dataset(name: str, guid: str = "1000", token: str | None = None) -> Dataset:
    return Dataset(name, guid, mounted=False, mountpoint=None, used=0, available=0, resume_token=token)


def locked(side: Side) -> Side:
    """The same side, encrypted by ZFS."""
    assert side.dataset
    return replace(side, dataset=replace(side.dataset, encrypted=True))


@cache  # a few dozen of them make all the series that are enumerated
def snap(day: int, *, on: str = HERE, ours: bool = True, guid: str = "", txg: int | None = None) -> Snapshot:
    """The snapshot of one day: the same guid and name on both sides, unless told otherwise."""
    at = EPOCH + timedelta(days=day)
    raw = str(SnapshotName.of(at)) if ours else f"manual-{day}"
    return Snapshot(on, raw, guid or str(100 + day), day if txg is None else txg, at, 0, 0)


def mark(snapshot: Snapshot) -> Bookmark:
    return Bookmark(snapshot.dataset, f"zborg-offsite-{snapshot.guid}", snapshot.guid, snapshot.createtxg)


def source(*days: int, marks: Sequence[int] = (), guid: str = "1000") -> Side:
    bookmarks = tuple(mark(snap(day)) for day in marks)
    return Side(HERE, dataset(HERE, guid), tuple(snap(day) for day in days), bookmarks)


def target(*days: int, token: str | None = None) -> Side:
    # A pool of its own: its transaction groups have nothing to do with the source's.
    snapshots = tuple(snap(day, on=THERE, txg=900_000 + day) for day in days)
    return Side(THERE, dataset(THERE, "2000", token), snapshots)


ABSENT = Side(THERE)


def token(to: int, base: int | None, *, guid: str = "") -> ResumeToken:
    known = snap(to)
    return ResumeToken(
        "1-abc", known.full, guid or known.guid, None if base is None else snap(base).guid, 4_096
    )


def steps(pair: Pair, link: Link = OFFSITE) -> tuple[Step, ...]:
    plan = plan_dataset(pair, link)
    assert isinstance(plan, DatasetPlan), plan.lines()
    return plan.steps


def conflict(pair: Pair, link: Link = OFFSITE) -> Divergence:
    plan = plan_dataset(pair, link)
    assert isinstance(plan, Divergence), plan.lines()
    return plan


def test_a_target_that_was_written_to_shows_both_sides_and_both_ways_out() -> None:
    found = modified(source(1, 2), target(1))
    last = f"{THERE}@{snap(1).raw}"
    assert found.kind is Kind.MODIFIED
    assert parse(found.remedy)[1] == (f"zfs get written {THERE}", f"zfs rollback {last}")
    assert HERE in found.lines()[0] and "newest" in found.lines()[2] and snap(1).raw in found.lines()[3]


def test_a_dataset_without_a_snapshot_is_not_up_to_date() -> None:
    nothing = plan_dataset(Pair(source(), ABSENT), OFFSITE)
    assert isinstance(nothing, DatasetPlan) and nothing.lines() == (f"{HERE} -> {THERE}: no snapshot yet",)
    same = plan_dataset(Pair(source(1), target(1)), OFFSITE)
    assert isinstance(same, DatasetPlan) and same.lines() == (f"{HERE} -> {THERE}: up to date",)


# --- the model: what `zfs send` and `zfs receive` without -F accept ------------------------------------


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
        assert snapshot.raw not in {s.raw for s in self.snapshots}
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
    names_taken = {s.raw for s in here.ours} & {s.raw for s in there.snapshots if s.guid not in known}
    match found.kind:
        case Kind.NO_COMMON_BASE:
            assert there.dataset and not known & {s.guid for s in there.snapshots}
        case Kind.SOURCE_SHRUNK:
            assert newest and there.ours
            assert not here.ours or (newest.guid not in known and here.ours[-1].raw < there.ours[-1].raw)
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


def test_every_series_of_four_with_bookmarks_and_deletions() -> None:
    seen = {
        check(Pair(history(fates, foreign), copy))
        for foreign in (-1, 1, 3)
        for fates in product([STAYS, MARKED, GONE, BOOKMARKED], repeat=4)
        for copy in copies(4, foreign)
    }
    assert seen == {"sent", "nothing", Kind.DIVERGED, Kind.FOREIGN, Kind.NO_COMMON_BASE, Kind.SOURCE_SHRUNK}


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


# --- long histories --------------------------------------------------------------------------------------


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


# --- each rule by itself ---------------------------------------------------------------------------------


def test_a_new_target_gets_the_oldest_in_full_and_then_one_step_per_snapshot() -> None:
    here = source(0, 1, 2)
    first, second, third = here.snapshots
    assert steps(Pair(here, ABSENT)) == (Full(first), Increment(first, second), Increment(second, third))


def test_foreign_snapshots_are_not_sent_but_serve_as_a_base() -> None:
    foreign = snap(1, ours=False)
    here = Side(HERE, dataset(HERE), (snap(0), foreign, snap(2)))
    there = Side(THERE, dataset(THERE, "2000"), (replace(foreign, dataset=THERE),))
    assert steps(Pair(here, ABSENT)) == (Full(snap(0)), Increment(snap(0), snap(2)))
    assert steps(Pair(here, there)) == (Increment(foreign, snap(2)),)


def test_a_bookmark_is_a_base_where_the_snapshot_is_gone() -> None:
    assert steps(Pair(source(2, marks=[1]), target(0, 1))) == (Increment(mark(snap(1)), snap(2)),)
    assert steps(Pair(source(1, 2, marks=[1]), target(0, 1))) == (Increment(snap(1), snap(2)),)


def test_the_streams_are_what_zfs_send_is_given() -> None:
    here = source(1, marks=[0])
    (step,) = steps(Pair(here, target(0)))
    assert isinstance(step, Increment)
    assert (step.stream.snapshot, step.stream.base) == (snap(1).full, f"{HERE}#zborg-offsite-100")
    (cut,) = steps(Pair(source(0), target(token="1-abc"), token=token(0, None)))
    assert isinstance(cut, Resume) and cut.stream.token == "1-abc"


def test_a_cut_stream_is_finished_first_and_then_continued() -> None:
    cut = token(1, 0)
    here = source(0, 1, 2)
    assert steps(Pair(here, target(0, token="1-abc"), token=cut)) == (
        Resume(cut, snap(1)),
        Increment(snap(1), snap(2)),
    )


@pytest.mark.parametrize(
    ("here", "cut", "because"),
    [
        (source(0, 2), token(1, 0), "gone from the source"),
        (source(0, 1, 2), token(1, 0, guid="777"), "another snapshot now (guid 101, was 777)"),
        (source(0, 1, 2), token(1, None), "not the one it builds on"),
        (source(0, 1, 2), None, "cannot be read"),
    ],
)
def test_a_stream_that_cannot_be_finished_is_given_up_once(
    here: Side, cut: ResumeToken | None, because: str
) -> None:
    """The token's snapshot was pruned in the meantime: sanoid issues 304 and 1067."""
    first, *rest = steps(Pair(here, target(0, token="1-abc"), token=cut))
    assert isinstance(first, Abandon) and because in first.reason
    assert first.lost_bytes == (4_096 if cut else None)
    assert rest == list(steps(Pair(here, target(0))))


def test_a_first_full_that_cannot_be_finished_leaves_room_for_another() -> None:
    plan = steps(Pair(source(1, 2), target(token="1-abc"), token=token(0, None)))
    assert [type(step) for step in plan] == [Abandon, Full, Increment]


def test_a_cut_stream_whose_base_is_gone_is_not_resumed() -> None:
    """`zfs send -t` looks for the base by its guid too; then nothing at all is left to build on."""
    found = conflict(Pair(source(1, 2), target(0, token="1-abc"), token=token(1, 0)))
    assert found.kind is Kind.NO_COMMON_BASE


def test_a_cut_stream_of_a_foreign_snapshot_is_given_up() -> None:
    foreign = snap(1, ours=False)
    here = Side(HERE, dataset(HERE), (snap(0), foreign, snap(2)))
    cut = ResumeToken("1-abc", foreign.full, foreign.guid, snap(0).guid, 7)
    first, second = steps(Pair(here, target(0, token="1-abc"), token=cut))
    assert isinstance(first, Abandon) and "not a snapshot of zborg's" in first.reason
    assert second == Increment(snap(0), snap(2))


OTHER = snap(9, on=THERE, ours=False, guid="666", txg=999_999)


def with_other(*days: int) -> Side:
    """A target that somebody took a snapshot of."""
    return replace(target(*days), snapshots=(*target(*days).snapshots, OTHER))


@pytest.mark.parametrize(
    ("pair", "kind", "words"),
    [
        (Pair(source(0, 1), with_other(0)), Kind.FOREIGN, "@manual-9"),
        (Pair(source(0, marks=[1]), with_other(0, 1)), Kind.FOREIGN, "@manual-9"),
        (
            Pair(source(0, 1), target(token="1-abc"), token=token(1, 0)),
            Kind.NO_COMMON_BASE,
            "without a snapshot",
        ),
        (Pair(source(3, 4), target(0, 1)), Kind.NO_COMMON_BASE, "no snapshot and no bookmark"),
        (Pair(source(3, 4), target()), Kind.NO_COMMON_BASE, "exists without a snapshot"),
        (Pair(source(), target(0, 1)), Kind.SOURCE_SHRUNK, "no snapshot of zborg's left"),
        (Pair(source(marks=[1]), target(0, 1)), Kind.SOURCE_SHRUNK, "no snapshot of zborg's left"),
        (Pair(source(0), target(0, 1)), Kind.SOURCE_SHRUNK, "older than the target's"),
        (Pair(source(0, guid="5"), target(0), Recorded("1000", "100")), Kind.SOURCE_RECREATED, "guid 1000"),
        (Pair(source(0, guid="5"), ABSENT, Recorded("1000", None)), Kind.SOURCE_RECREATED, "guid 1000"),
        (Pair(source(0, 1), target(0), Recorded("1000", "100", "raw")), Kind.FLAGS_CHANGED, "raw streams"),
        (Pair(locked(source(0, 1)), target(0), Recorded("1000", "100")), Kind.FLAGS_CHANGED, "would be raw"),
        (Pair(locked(source(0, 1)), target(0)), Kind.FLAGS_CHANGED, "the copy is in the clear"),
    ],
)
def test_conflicts_name_their_kind_both_sides_and_a_remedy(pair: Pair, kind: Kind, words: str) -> None:
    found = conflict(pair)
    text = "\n".join(found.lines())
    assert found.kind is kind and words in found.message
    assert f"  source: dataset guid {pair.source.dataset.guid if pair.source.dataset else ''}" in text
    assert "  target: d" in text and all(line in text for line in found.remedy.split("\n"))


def test_what_zfs_encrypts_is_sent_raw_and_nothing_else() -> None:
    here, first, second = locked(source(0, 1)), snap(0), snap(1)
    assert steps(Pair(here, ABSENT)) == (Full(first, raw=True), Increment(first, second, raw=True))
    raw = Recorded("1000", "100", "raw")
    assert steps(Pair(here, locked(target(0)), raw)) == (Increment(first, second, raw=True),)
    assert all(step.stream.raw for step in steps(Pair(here, ABSENT)) if not isinstance(step, Abandon | Mark))
    # Whatever is received below an encrypted dataset is encrypted there.
    assert steps(Pair(source(0, 1), locked(target(0)))) == (Increment(first, second),)


@pytest.mark.parametrize("raw", [False, True])
def test_a_token_cannot_turn_a_raw_stream_into_a_plain_one(raw: bool) -> None:
    """A token is the target's word: it could ask for what is encrypted here in the clear."""
    here = locked(source(0, 1)) if raw else source(0, 1)
    there = locked(target(0, token="1-abc")) if raw else target(0, token="1-abc")
    same, other = (replace(token(1, 0), raw=is_raw) for is_raw in (raw, not raw))
    assert steps(Pair(here, there, token=same)) == (Resume(same, snap(1)),)
    given_up, again = steps(Pair(here, there, token=other))
    assert isinstance(given_up, Abandon) and "encrypted, and the rest was to come" in given_up.reason
    assert again == Increment(snap(0), snap(1), raw)


def test_flags_may_change_where_nothing_was_sent_yet() -> None:
    assert steps(Pair(source(0), ABSENT, Recorded("1000", None, "raw"))) == (Full(snap(0)),)


def test_the_same_source_as_recorded_is_sent() -> None:
    assert steps(Pair(source(0, 1), target(0), Recorded("1000", "100"))) == (Increment(snap(0), snap(1)),)


def test_order_is_by_transaction_group_whatever_the_clock_said() -> None:
    """The second was taken after the clock went back."""
    first, second = snap(5, txg=1), snap(3, txg=2)
    here = Side(HERE, dataset(HERE), (second, first))
    assert steps(Pair(here, ABSENT)) == (Full(first), Increment(first, second))
    there = Side(THERE, dataset(THERE, "2000"), (replace(first, dataset=THERE, createtxg=77),))
    assert steps(Pair(here, there)) == (Increment(first, second),)


def test_marks_that_a_killed_run_did_not_set_are_set_first() -> None:
    """On the target's newest snapshot alone, and only what it lacks."""
    ok, here = {P_STATE: "ok", P_RUN: RUN, "zborg:mine": "x"}, source(0, 1, 2)
    marked = replace(here, snapshots=tuple(replace(s, properties=ok) for s in here.snapshots))
    there = target(0, 1)
    newest = there.snapshots[-1]
    first, second = steps(Pair(marked, there))
    assert first == Mark(newest, {P_RUN: RUN, P_STATE: "ok"}) and isinstance(second, Increment)
    assert "lacks zborg:run, zborg:state" in str(first)
    other = replace(there, snapshots=(there.snapshots[0], replace(newest, properties={P_STATE: "busy"})))
    assert steps(Pair(marked, other))[0] == Mark(other.snapshots[-1], {P_RUN: RUN})
    known = replace(there, snapshots=(there.snapshots[0], replace(newest, properties=ok)))
    assert [type(step) for step in steps(Pair(marked, known))] == [Increment]
    assert [type(step) for step in steps(Pair(source(2, marks=[1]), there))] == [Increment]


def test_nothing_on_either_side_is_nothing_to_do() -> None:
    assert steps(Pair(source(), ABSENT)) == ()
    assert steps(Pair(source(), target())) == ()


# --- what is recorded ------------------------------------------------------------------------------------

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


# --- all datasets ----------------------------------------------------------------------------------------


def moved(side: Side, name: str) -> Side:
    snapshots = tuple(replace(s, dataset=name) for s in side.snapshots)
    bookmarks = tuple(replace(b, dataset=name) for b in side.bookmarks)
    held = replace(side.dataset, name=name) if side.dataset else None
    return Side(name, held, snapshots, bookmarks)


def tree(root: str, sides: Mapping[str, Side]) -> Tree:
    return Tree(root, {name: moved(side, f"{root}/{name}") for name, side in sides.items()})


def fleet() -> tuple[Tree, Tree]:
    here = {"web1": source(0, 1, 2), "mail": source(0, 1), "db": source(1, 2, marks=[0]), "new": source(0, 1)}
    there = {"web1": target(0, 1, 2), "mail": with_other(0), "db": target(0), "old": target(0, 1)}
    return tree("tank/borg", here), tree("vault/zborg", there)


def test_one_conflict_leaves_the_other_datasets_their_plans() -> None:
    here, there = fleet()
    plan = plan_all(here, there, {}, {}, OFFSITE)
    assert [p.source for p in plan.datasets] == ["tank/borg/db", "tank/borg/new", "tank/borg/web1"]
    assert [p.target for p in plan.datasets] == ["vault/zborg/db", "vault/zborg/new", "vault/zborg/web1"]
    assert [(c.kind, c.source.name) for c in plan.conflicts] == [(Kind.FOREIGN, "tank/borg/mail")]
    assert plan.kept == ("vault/zborg/old",)


def test_records_and_tokens_reach_their_datasets() -> None:
    here, there = fleet()
    cut = replace(token(2, 0), to_name=f"tank/borg/db@{snap(2).raw}")
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
    stale = replace(token(1, 0), to_name=f"tank/borg/mx@{snap(1).raw}", received=734_003_200)
    cut = replace(token(1, 0), to_name=f"tank/borg/db@{snap(1).raw}")
    plan = plan_all(here, Tree(there.root, sides), {}, {"mx": stale, "db": cut}, OFFSITE)
    assert list(plan.lines()) == (GOLDEN / "replication_plan.txt").read_text().splitlines()


# --- bookmarks that may go ----------------------------------------------------------------------------


def marked(days: Sequence[int], left: Sequence[int] = ()) -> Side:
    """A source with a bookmark of ours for each day, and the snapshots that are left."""
    marks = tuple(replace(mark(snap(day)), raw=snap(day).raw) for day in days)
    return Side(HERE, dataset(HERE), tuple(snap(day) for day in left), marks)


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
