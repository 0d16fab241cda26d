"""The newest checkpoint, in a file of the server's own: what hosts are given, without asking the storage."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from zborg import atomic
from zborg.model.ledger.checkpoint_word import write
from zborg.model.ledger.note import parse
from zborg.model.text.units import moment, moment_of

_NAME = "newest.json"


@dataclass(frozen=True, slots=True)
class Newest:
    """`word` as hosts are given it, "" for one that is no word; and when it was written."""

    word: str
    at: datetime


def put(directory: Path, note: str, at: datetime) -> None:
    """Raises OSError."""
    atomic.write(directory / _NAME, json.dumps({"note": note, "at": moment(at)}))


def load(directory: Path) -> Newest | None:
    """None where there is none yet, or what there is cannot be read: it is no reason to fail."""
    try:
        table = json.loads((directory / _NAME).read_text(encoding="utf-8"))
        note, at = parse(table["note"]), moment_of(table["at"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    try:
        return Newest(write(note), at) if at else None
    except ValueError:
        return Newest("", at) if at else None
