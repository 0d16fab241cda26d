"""The entry of the ledger that one verification comes to."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from zborg.model.ledger.entries import VERIFY, Entry, entry_line


class Structure(StrEnum):
    """What `borg check --repository-only` came to; the word is part of the ledger's form."""

    GOOD = "good"
    INDEX = "index-inconsistent"  # it found errors, and no object is damaged
    BAD = "bad"  # it found errors
    CRASHED = "crashed"  # it ended as it never should
    SLOW = "slow"  # it did not end in time
    UNDONE = "undone"  # it could not be started


@dataclass(frozen=True, slots=True)
class Verified:
    """One host's repository in one snapshot, read whole. `damaged`: (object, in what way)."""

    host: str
    run: str
    at: datetime
    snapshot: str  # the part after the @
    guid: str
    objects: int  # that were compared
    bytes: int  # of these
    unrecorded: int  # that the ledger does not know yet
    structure: Structure
    damaged: tuple[tuple[str, str], ...]
    damages: int  # how many there are; `damaged` has the first of them
    whole: bool  # nothing is wrong

    def line(self) -> str:
        """The entry, without a line's end."""
        table = {
            "host": self.host,
            "run": self.run,
            "snapshot": [self.snapshot, self.guid],
            "objects": [self.objects, self.bytes, self.unrecorded],
            "structure": self.structure.value,
            "damaged": [self.damages, [list(one) for one in self.damaged]],
            "whole": self.whole,
        }
        return entry_line(VERIFY, self.at, table)


def verified(entry: Entry) -> Verified:
    """Of an entry of the kind `verify`. Raises ValueError for any other."""
    try:
        return _verified(entry)
    except (KeyError, TypeError, IndexError, AttributeError, OverflowError) as error:
        raise ValueError(f"not an entry that verify wrote: {error}") from error


def _verified(entry: Entry) -> Verified:
    table = entry.table
    if entry.kind != VERIFY or entry.at is None:
        raise ValueError("not an entry that verify wrote")
    count, size, unrecorded = map(int, table["objects"])
    return Verified(
        host=entry.host,
        run=str(table["run"]),
        at=entry.at,
        snapshot=str(table["snapshot"][0]),
        guid=str(table["snapshot"][1]),
        objects=count,
        bytes=size,
        unrecorded=unrecorded,
        structure=Structure(table["structure"]),
        damaged=tuple((str(name), str(what)) for name, what in table["damaged"][1]),
        damages=int(table["damaged"][0]),
        whole=bool(table["whole"]),
    )
