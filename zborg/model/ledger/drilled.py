"""The entry of the ledger that one drill comes to: what a host says it read of its own backup."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from zborg.model.ledger.entries import DRILL, Entry, entry_line


@dataclass(frozen=True, slots=True)
class Drilled:
    """One host's drill of one archive in one snapshot. `source` is its target, "" the storage."""

    host: str
    run: str
    at: datetime
    snapshot: str  # the part after the @
    guid: str
    source: str
    archive: str
    files: int  # that are as they were backed up
    bytes: int  # of these
    mismatched: int  # files that are not
    seconds: int
    whole: bool  # nothing is wrong

    def line(self) -> str:
        """The entry, without a line's end."""
        table = {
            "host": self.host,
            "run": self.run,
            "snapshot": [self.snapshot, self.guid, self.source],
            "archive": self.archive,
            "files": [self.files, self.bytes, self.mismatched],
            "seconds": self.seconds,
            "whole": self.whole,
        }
        return entry_line(DRILL, self.at, table)


def drilled(entry: Entry) -> Drilled:
    """Of an entry of the kind `drill`. Raises ValueError for any other."""
    try:
        return _drilled(entry)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise ValueError(f"not an entry that drill wrote: {error}") from error


def _drilled(entry: Entry) -> Drilled:
    table = entry.table
    if entry.kind != DRILL or entry.at is None:
        raise ValueError("not an entry that drill wrote")
    files, size, mismatched = map(int, table["files"])
    name, guid, source = map(str, table["snapshot"])
    return Drilled(
        host=entry.host,
        run=str(table["run"]),
        at=entry.at,
        snapshot=name,
        guid=guid,
        source=source,
        archive=str(table["archive"]),
        files=files,
        bytes=size,
        mismatched=mismatched,
        seconds=int(table["seconds"]),
        whole=bool(table["whole"]),
    )
