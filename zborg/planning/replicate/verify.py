"""What a copy is without and what it has alone: the full lists of guids of both sides, compared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from zborg.model import Snapshot
from zborg.model.text.units import counted
from zborg.planning.replicate.facts import Side

_NAMED = 5


@dataclass(frozen=True, slots=True)
class Gap:
    """`unsent`: zborg's newer than the newest common one. `here`, `there`: what else one side has alone,
    as rotation leaves it, or as nothing of zborg's does."""

    common: int
    unsent: tuple[Snapshot, ...]
    here: tuple[Snapshot, ...]
    there: tuple[Snapshot, ...]

    @property
    def closed(self) -> bool:
        """All that zborg has here came there, at its time."""
        return not self.unsent

    def __str__(self) -> str:
        """One line for people; of many snapshots some names and a count."""
        words = [f"{self.common} in common"]
        words += [f"{len(self.unsent)} not sent yet: {_some(self.unsent)}"] if self.unsent else []
        words += [f"{counted(len(self.here), 'other')} here alone"] if self.here else []
        words += [f"{counted(len(self.there), 'other')} there alone"] if self.there else []
        return ", ".join(words)


def gap(source: Side, copy: Side) -> Gap:
    """Order is each side's own; identity is the guid."""
    known = {one.guid for one in copy.snapshots}
    common = [one for one in source.snapshots if one.guid in known]
    newest = max((one.createtxg for one in common), default=-1)
    alone = sorted((one for one in source.snapshots if one.guid not in known), key=lambda s: s.createtxg)
    unsent = tuple(one for one in alone if one.name and one.createtxg > newest)
    ours = {one.guid for one in unsent}
    shared = {one.guid for one in common}
    return Gap(
        len(common),
        unsent,
        tuple(one for one in alone if one.guid not in ours),
        tuple(one for one in copy.snapshots if one.guid not in shared),
    )


def _some(snapshots: Sequence[Snapshot]) -> str:
    rest = len(snapshots) - _NAMED
    return ", ".join(one.snapname for one in snapshots[:_NAMED]) + (f" and {rest} more" if rest > 0 else "")
