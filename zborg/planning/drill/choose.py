"""Which snapshot is lent for a drill, and which archive in it the host is asked for."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from zborg.model import Snapshot, State


@dataclass(frozen=True, slots=True)
class Made:
    """A good backup: when it ended, its archive, and its bytes as they are on the host; 0: not known."""

    ended: datetime
    archive: str
    bytes: int


@dataclass(frozen=True, slots=True)
class Choice:
    """What is lent, and the newest archive in it."""

    snapshot: Snapshot
    made: Made


def choose(snapshots: Sequence[Snapshot], made: Sequence[Made], sampled: Collection[str]) -> Choice | None:
    """The newest good snapshot whose newest archive the host has a sample of; None where there is none.

    No older archive is asked for: it may have been pruned meanwhile, and its absence would pass for damage.
    """
    newest = sorted(made, key=lambda one: one.ended, reverse=True)
    for snapshot in sorted(snapshots, key=lambda one: one.createtxg, reverse=True):
        last = next((one for one in newest if one.ended <= snapshot.created), None)
        if snapshot.state is State.OK and last and last.archive in sampled:
            return Choice(snapshot, last)
    return None
