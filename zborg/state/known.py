"""Which names zborg.toml has had since when, so that one that is gone from it is missed.

One small file per name below one directory: `NAME.json` for what is missed when zborg.toml names it no more,
`NAME.forgotten` once a person declared that it is gone for good. A listing shows which of both there is.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from zborg import atomic
from zborg.model.text.units import moment, moment_of

_KNOWN, _FORGOTTEN = ".json", ".forgotten"


@dataclass(frozen=True, slots=True)
class Record:
    """Since when a name is in zborg.toml, and of a host its last good backup; None is not known."""

    name: str
    first: datetime | None = None
    last_good: datetime | None = None


class Known:
    """The records below one directory, which is made with the first."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    @property
    def begun(self) -> bool:
        """Whether anything was ever written here."""
        return self._directory.is_dir()

    def names(self) -> frozenset[str]:
        """All but the forgotten ones. Raises OSError when the directory cannot be read."""
        return self._listed(_KNOWN)

    def forgotten(self) -> frozenset[str]:
        """Names that were forgotten on purpose."""
        return self._listed(_FORGOTTEN)

    def get(self, name: str) -> Record | None:
        """Known or forgotten. One that cannot be read is known, and nothing more of it."""
        for suffix in (_KNOWN, _FORGOTTEN) if "/" not in name else ():
            try:
                table = json.loads(self._path(name, suffix).read_text(encoding="utf-8"))
                return Record(name, moment_of(table["first"]), moment_of(table["last_good"]))
            except FileNotFoundError:
                continue
            except (OSError, ValueError, KeyError, TypeError):
                return Record(name)
        return None

    def missing(self, configured: Collection[str]) -> list[Record]:
        """Those that were in zborg.toml, are not now, and were not forgotten."""
        return [self.get(name) or Record(name) for name in sorted(self.names() - set(configured))]

    def put(self, record: Record) -> None:
        """Replace its record whole; a forgotten one is known again. Raises OSError."""
        self._write(record, _KNOWN)
        self._path(record.name, _FORGOTTEN).unlink(missing_ok=True)

    def forget(self, name: str) -> None:
        """It is gone for good, and missed no more. Raises OSError."""
        self._write(self.get(name) or Record(name), _FORGOTTEN)
        self._path(name, _KNOWN).unlink(missing_ok=True)

    def seen(self, name: str, now: datetime) -> None:
        """zborg.toml has it; written once. Raises OSError."""
        if name not in self.names():
            found = self.get(name) or Record(name)
            self.put(replace(found, first=found.first or now))

    def _listed(self, suffix: str) -> frozenset[str]:
        try:
            with os.scandir(self._directory) as entries:
                names = [entry.name for entry in entries]
        except FileNotFoundError:
            return frozenset()
        return frozenset(name.removesuffix(suffix) for name in names if name.endswith(suffix))

    def _write(self, record: Record, suffix: str) -> None:
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        table = {"first": _words(record.first), "last_good": _words(record.last_good)}
        atomic.write(self._path(record.name, suffix), json.dumps(table))

    def _path(self, name: str, suffix: str) -> Path:
        return self._directory / f"{name}{suffix}"


def _words(at: datetime | None) -> str | None:
    return moment(at) if at else None
