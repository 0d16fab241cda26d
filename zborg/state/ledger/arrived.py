"""What an off-site accepted last of the ledger that arrives there: what it holds all later ones against.

The key is the one that came first, and nobody vouches for it but who sent it: root of the off-site compares
it with the server's, once (docs/proof.md).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from zborg import atomic
from zborg.errors import ConfigError
from zborg.model.ledger.note import Note, PublicKey, parse
from zborg.model.text.remedy import command
from zborg.model.text.units import moment, moment_of

NAME = "arrived.json"
"""In the directory of what is known of the ledger."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """A checkpoint that its key signed, and that continued all before it."""

    key: PublicKey
    text: str  # the note
    guid: str  # of the snapshot that it came with
    snapshot: str  # the part of its name behind the @
    at: datetime

    @property
    def note(self) -> Note:
        """The checkpoint with its signatures."""
        return parse(self.text)


def load(path: Path) -> Accepted | None:
    """None where nothing was accepted yet. Raises ConfigError for a file that cannot be read."""
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
        found = _accepted(table)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}", command("ls", "-l", str(path))) from error
    return found


def _accepted(table: Mapping[str, str]) -> Accepted:
    at = moment_of(table["at"])
    if at is None:
        raise ValueError("it has no time")
    parse(table["note"])
    return Accepted(PublicKey.parse(table["key"]), table["note"], table["guid"], table["snapshot"], at)


def put(path: Path, accepted: Accepted) -> None:
    """Raises OSError."""
    table = {
        "key": str(accepted.key),
        "note": accepted.text,
        "guid": accepted.guid,
        "snapshot": accepted.snapshot,
        "at": moment(accepted.at),
    }
    atomic.write(path, json.dumps(table))
