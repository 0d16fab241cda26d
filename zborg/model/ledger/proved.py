"""Entries about escrow: a custodian has shown that a sealed key opens the repository."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from zborg.model.ledger.entries import Entry, entry_line
from zborg.model.text.units import moment, moment_of

PROVED = "escrow"


@dataclass(frozen=True, slots=True)
class Proved:
    """An answer that was accepted. `archives` and `newest` are the custodian's word."""

    host: str
    run: str
    at: datetime
    repository: str  # its id
    sealed: str  # digest of the sealed key that was opened
    manifest: str  # digest of the manifest that was opened
    transaction: int  # the repository's last one then
    checkpoint: str  # of the ledger, when the challenge was made
    nonce: str
    archives: int
    newest: datetime  # of the archives
    by: str  # who typed it in

    def line(self) -> str:
        """The entry, without a line's end."""
        return entry_line(PROVED, self.at, self.table())

    def table(self) -> dict[str, Any]:
        """What it says besides kind and time."""
        return {
            "host": self.host,
            "run": self.run,
            "repository": self.repository,
            "sealed": self.sealed,
            "manifest": [self.manifest, self.transaction],
            "challenge": [self.nonce, self.checkpoint],
            "archives": [self.archives, moment(self.newest)],
            "by": self.by,
        }


def proved(entry: Entry) -> Proved:
    """Of an entry of the kind `escrow`. Raises ValueError for any other."""
    try:
        table = entry.table
        newest = moment_of(table["archives"][1])
        if entry.kind != PROVED or entry.at is None or newest is None:
            raise ValueError("not an entry of a proof")
        return Proved(
            host=entry.host,
            run=str(table["run"]),
            at=entry.at,
            repository=str(table["repository"]),
            sealed=str(table["sealed"]),
            manifest=str(table["manifest"][0]),
            transaction=int(table["manifest"][1]),
            checkpoint=str(table["challenge"][1]),
            nonce=str(table["challenge"][0]),
            archives=int(table["archives"][0]),
            newest=newest,
            by=str(table["by"]),
        )
    except (KeyError, TypeError, IndexError, AttributeError, OverflowError) as error:
        raise ValueError(f"not an entry of a proof: {error}") from error
