"""Which challenges were made and not answered, and the last proof of each host.

`challenges/NONCE.json` is a host's part of a challenge, without a secret. `NAME.proof` is a copy of what the
ledger has of the host's last proof: `status` does not ask the storage.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

from zborg import atomic
from zborg.errors import ZborgError
from zborg.model.escrow.challenge import Bound
from zborg.model.ledger import entries
from zborg.model.ledger.proved import Proved, proved
from zborg.model.text.remedy import command
from zborg.model.text.units import moment, moment_of

_FOLDER = "challenges"


@dataclass(frozen=True, slots=True)
class Pending:
    """What the server remembers of a challenge for one host."""

    bound: Bound
    transaction: int  # the last one of the repository
    made: datetime
    until: datetime


class Proofs:
    """Below the directory of the sealed keys."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def last(self, host: str) -> Proved | None:
        """The last one of this host; None when there is none that can be read."""
        try:
            line = (self._directory / f"{host}.proof").read_text(encoding="ascii")
            found = proved(entries.parse(line))
        except (OSError, ValueError):
            return None
        return found if found.host == host else None

    def put(self, one: Proved) -> None:
        """The host's last one from now on. Raises OSError."""
        atomic.write(self._directory / f"{one.host}.proof", one.line())

    def challenge(self, pending: Pending) -> None:
        """Remember it; those that have ended are forgotten. Raises OSError."""
        folder = self._directory / _FOLDER
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for old in self._ended(folder, pending.made):
            old.unlink(missing_ok=True)
        table = asdict(pending.bound) | {
            "transaction": pending.transaction,
            "made": moment(pending.made),
            "until": moment(pending.until),
        }
        atomic.write(folder / f"{pending.bound.nonce}.json", json.dumps(table))

    def pending(self, nonce: str) -> Pending | None:
        """What is remembered of it; None when nothing is. Raises ZborgError when that cannot be read."""
        path = self._directory / _FOLDER / f"{nonce}.json"
        try:
            return _pending(path)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ZborgError(f"{path} cannot be read: {error}", command("ls", "-l", str(path))) from error

    def answered(self, nonce: str) -> None:
        """It was: the same answer counts once. Raises OSError."""
        (self._directory / _FOLDER / f"{nonce}.json").unlink(missing_ok=True)

    @staticmethod
    def _ended(folder: Path, now: datetime) -> Iterator[Path]:
        for path in folder.glob("*.json"):
            with suppress(OSError, ValueError, KeyError, TypeError):  # who asks for it learns that
                if _pending(path).until < now:
                    yield path


def _pending(path: Path) -> Pending:
    table = json.loads(path.read_text(encoding="ascii"))
    made, until = moment_of(table["made"]), moment_of(table["until"])
    if made is None or until is None:
        raise ValueError("it does not say of when it is")
    names = ("host", "repository", "nonce", "checkpoint", "sealed", "manifest")
    bound = Bound(*(str(table[name]) for name in names))
    return Pending(bound, int(table["transaction"]), made, until)
