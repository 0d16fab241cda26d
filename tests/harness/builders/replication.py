"""Facts of a replication as tests write them: datasets, snapshots, bookmarks, tokens, records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache

from zborg.model import Bookmark, Dataset, ResumeToken, Snapshot, SnapshotName
from zborg.planning.replicate.actions import DatasetPlan, Divergence, Step
from zborg.planning.replicate.facts import Link, Pair, Side, Tree
from zborg.planning.replicate.plan import plan_dataset

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


OTHER = snap(9, on=THERE, ours=False, guid="666", txg=999_999)


def with_other(*days: int) -> Side:
    """A target that somebody took a snapshot of."""
    return replace(target(*days), snapshots=(*target(*days).snapshots, OTHER))


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


# --- bookmarks that may go ----------------------------------------------------------------------------


def marked(days: Sequence[int], left: Sequence[int] = ()) -> Side:
    """A source with a bookmark of ours for each day, and the snapshots that are left."""
    marks = tuple(replace(mark(snap(day)), bookname=snap(day).snapname) for day in days)
    return Side(HERE, dataset(HERE), tuple(snap(day) for day in left), marks)
