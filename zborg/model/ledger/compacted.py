"""Entries about what zborg itself did to a repository: compactions, approvals of them, undeletes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from zborg.model.ledger.entries import Entry, entry_line
from zborg.model.ledger.sealed import Listing, Living

APPROVED, COMPACTED, UNDELETED = "approve", "compact", "undelete"


@dataclass(frozen=True, slots=True)
class State:
    """A repository in one snapshot: where its sealed objects lie, and which of its objects are alive."""

    snapshot: str  # the part after the @
    guid: str
    last: int  # its last transaction
    sealed: Listing
    living: Living

    def row(self) -> list[Any]:
        """As it stands in an entry."""
        sealed, living = self.sealed, self.living
        return [
            *(self.snapshot, self.guid, self.last),
            [sealed.count, sealed.bytes, sealed.digest],
            [living.objects, living.bytes, living.digest],
        ]


@dataclass(frozen=True, slots=True)
class Compacted:
    """One compaction: the objects that were alive before it are those that are alive behind it.

    `undone`: they were not, and its repository was made again what it was before.
    """

    host: str
    run: str
    at: datetime
    before: State
    after: State
    undone: str = ""  # what differed

    def line(self) -> str:
        """The entry, without a line's end."""
        table = {
            "host": self.host,
            "run": self.run,
            "before": self.before.row(),
            "after": self.after.row(),
            "undone": self.undone,
        }
        return entry_line(COMPACTED, self.at, table)


@dataclass(frozen=True, slots=True)
class Approved:
    """A person agreed that what this transaction deleted may be freed, though it is no prune."""

    host: str
    run: str
    at: datetime
    transaction: int
    by: str  # who typed it

    def line(self) -> str:
        """The entry, without a line's end."""
        table = {"host": self.host, "run": self.run, "transaction": self.transaction, "by": self.by}
        return entry_line(APPROVED, self.at, table)


@dataclass(frozen=True, slots=True)
class Undeleted:
    """The repository was made again what it was in an earlier snapshot."""

    host: str
    run: str
    at: datetime
    snapshot: str  # that one, the part after the @
    guid: str
    last: int  # its last transaction
    aside: str  # dataset@name of what the repository was before

    def line(self) -> str:
        """The entry, without a line's end."""
        table = {
            "host": self.host,
            "run": self.run,
            "snapshot": [self.snapshot, self.guid, self.last],
            "aside": self.aside,
        }
        return entry_line(UNDELETED, self.at, table)


def undeleted_to(entry: Entry) -> str:
    """The guid of the snapshot that an undelete went back to; "" of what is no entry of one."""
    snapshot = entry.table.get("snapshot")
    return str(snapshot[1]) if isinstance(snapshot, list) and len(snapshot) > 1 else ""


def compacted_from(entry: Entry) -> str:
    """The guid of the snapshot before a compaction; "" of what is no entry of one."""
    before = entry.table.get("before")
    if entry.kind != COMPACTED or not isinstance(before, list) or len(before) < 2:
        return ""
    return str(before[1])


def approved_transaction(entry: Entry) -> int | None:
    """Of an entry of the kind `approve`; None for one that is none."""
    number = entry.table.get("transaction")
    return number if entry.kind == APPROVED and isinstance(number, int) else None
