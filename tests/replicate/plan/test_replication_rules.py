"""Replication plans: each rule by itself."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.harness.builders.replication import (
    ABSENT,
    HERE,
    OFFSITE,
    RUN,
    THERE,
    conflict,
    dataset,
    locked,
    mark,
    snap,
    source,
    steps,
    target,
    token,
    with_other,
)
from zborg.model import P_RUN, P_STATE, ResumeToken
from zborg.model.text.remedy import parse
from zborg.planning.replicate.actions import Abandon, DatasetPlan, Full, Increment, Kind, Mark, Resume
from zborg.planning.replicate.divergence import destroy_foreign
from zborg.planning.replicate.facts import Pair, Recorded, Side
from zborg.planning.replicate.plan import modified, plan_dataset

pytestmark = pytest.mark.unit


def test_a_target_that_was_written_to_shows_both_sides_and_both_ways_out() -> None:
    found = modified(source(1, 2), target(1))
    last = f"{THERE}@{snap(1).snapname}"
    assert found.kind is Kind.MODIFIED
    assert parse(found.remedy)[1] == (f"zfs get written {THERE}", f"zfs rollback {last}")
    assert HERE in found.lines()[0] and "newest" in found.lines()[2] and snap(1).snapname in found.lines()[3]


def test_a_dataset_without_a_snapshot_is_not_up_to_date() -> None:
    nothing = plan_dataset(Pair(source(), ABSENT), OFFSITE)
    assert isinstance(nothing, DatasetPlan) and nothing.lines() == (f"{HERE} -> {THERE}: no snapshot yet",)
    same = plan_dataset(Pair(source(1), target(1)), OFFSITE)
    assert isinstance(same, DatasetPlan) and same.lines() == (f"{HERE} -> {THERE}: up to date",)


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
    assert "has no zborg:run, zborg:state" in str(first)
    other = replace(there, snapshots=(there.snapshots[0], replace(newest, properties={P_STATE: "busy"})))
    assert steps(Pair(marked, other))[0] == Mark(other.snapshots[-1], {P_RUN: RUN})
    known = replace(there, snapshots=(there.snapshots[0], replace(newest, properties=ok)))
    assert [type(step) for step in steps(Pair(marked, known))] == [Increment]
    assert [type(step) for step in steps(Pair(source(2, marks=[1]), there))] == [Increment]


def test_nothing_on_either_side_is_nothing_to_do() -> None:
    assert steps(Pair(source(), ABSENT)) == ()
    assert steps(Pair(source(), target())) == ()


def test_foreign_snapshots_go_after_their_makers_holds() -> None:
    foreign = [
        replace(snap(day), dataset=target(0).name, snapname=f"by-hand-{day}", guid=f"x{day}", holds=day)
        for day in (1, 2)
    ]
    there = replace(target(0), snapshots=(*target(0).snapshots, *foreign))
    _, commands = parse(destroy_foreign(Pair(source(0), there), foreign))
    assert list(commands) == [
        f"zfs holds -H {there.name}@by-hand-{day} | cut -f 2 | while IFS= read -r tag; do "
        f'zfs release "$tag" {there.name}@by-hand-{day}; done'
        for day in (1, 2)
    ] + [f"zfs destroy {there.name}@by-hand-1,by-hand-2"]
