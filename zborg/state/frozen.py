"""Which hosts' snapshots are not rotated, and why: until a person says that they may be.

One small file per host. It stays after the release, for the alarm that froze it must not do so again.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from zborg import atomic
from zborg.model.text.units import moment, moment_of

_UNREADABLE = "its record cannot be read"


@dataclass(frozen=True, slots=True)
class Freeze:
    """Since when and why; `released` is when a person let go, None while it lasts."""

    host: str
    reason: str
    since: datetime | None
    released: datetime | None = None


class Frozen:
    """The records below one directory, which is made with the first."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def get(self, host: str) -> Freeze | None:
        """The last freeze, also one that was released. What cannot be read counts as frozen."""
        path = self._path(host)
        try:
            table = json.loads(path.read_text(encoding="utf-8"))
            since, released = moment_of(table["since"]), moment_of(table["released"])
            return Freeze(host, str(table["reason"]), since, released)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError):
            return Freeze(host, f"{_UNREADABLE} ({path})", None)

    def now(self) -> dict[str, Freeze]:
        """Those that last, by host."""
        names = sorted(path.stem for path in self._directory.glob("*.json"))
        found = [freeze for name in names if (freeze := self.get(name))]
        return {freeze.host: freeze for freeze in found if freeze.released is None}

    def put(self, freeze: Freeze) -> None:
        """Replace the host's record whole."""
        self._directory.mkdir(mode=0o700, exist_ok=True)
        table = {"reason": freeze.reason, "since": _words(freeze.since), "released": _words(freeze.released)}
        atomic.write(self._path(freeze.host), json.dumps(table))

    def _path(self, host: str) -> Path:
        return self._directory / f"{host}.json"


def _words(at: datetime | None) -> str | None:
    return moment(at) if at else None
