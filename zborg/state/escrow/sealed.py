"""The hosts' keys, sealed on the hosts for the custodians: text that this server cannot read.

STATE/escrow/NAME.age is for people, NAME.sealed says of which repository it is, whether it is whole, and when
it came (one from before the time was written down: when its file was written).
What is there is never replaced by something else: the older one stays as NAME.DATE.age.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from zborg import atomic
from zborg.errors import ZborgError
from zborg.model.escrow.sealed import ARMOUR
from zborg.model.text.remedy import on
from zborg.model.text.units import moment, moment_of

_DATED = "????-??-??T??????Z"


@dataclass(frozen=True, slots=True)
class Sealed:
    """A key that lies here, whole."""

    repository: str
    at: datetime  # when it came
    digest: str  # of the file, SHA-256 in hexadecimal
    text: str


class Escrow:
    """The sealed keys below one directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def path(self, name: str) -> Path:
        """Where the sealed key of this host is, or would be."""
        return self._directory / f"{name}.age"

    def is_sealed(self, name: str, repository: str) -> bool:
        """Whether the key of this very repository is here, whole."""
        return bool(repository) and self.sealed_for(name) == repository

    def sealed_for(self, name: str) -> str:
        """The repository whose key is here, whole; "" for none."""
        found = self.of(name)
        return found.repository if found else ""

    def of(self, name: str) -> Sealed | None:
        """What is here of this host, whole; None when there is nothing."""
        try:
            reason = (self._directory / f"{name}.sealed").read_text(encoding="ascii")
            _, repository, at = (*reason.removesuffix("\n").split(" "), "")[:3]
            data = self.path(name).read_bytes()
            came = moment_of(at) if at else datetime.fromtimestamp(self.path(name).stat().st_mtime, UTC)
            if came is None or reason != _note(data, repository, at):
                return None
            return Sealed(repository, came, _digest(data), data.decode("ascii"))
        except (OSError, ValueError):
            return None

    def older(self, name: str) -> tuple[Path, ...]:
        """Keys of this host that were replaced, the oldest first."""
        return tuple(sorted(self._directory.glob(f"{name}.{_DATED}.age")))

    def keep(self, name: str, repository: str, sealed: str, now: datetime) -> Path:
        """Store it, on disk before this returns. Raises ZborgError for what age would not have written."""
        if not ARMOUR.fullmatch(sealed):
            raise ZborgError(
                "the host sent no sealed key", on("the host", "/usr/local/libexec/zborg-agent --seal")
            )
        self._directory.mkdir(mode=0o700, exist_ok=True)
        path = self.path(name)
        if path.exists() and not self._has_copy(name):
            os.link(path, self._directory / f"{name}.{now:%Y-%m-%dT%H%M%SZ}.age")
        data = sealed.encode("ascii")
        # The note first: without its key it claims nothing; a key without its note would be asked for again.
        _write(self._directory / f"{name}.sealed", _note(data, repository, moment(now)).encode("ascii"))
        _write(path, data)
        return path

    def _has_copy(self, name: str) -> bool:
        """A run that was killed in between has made it."""
        return any(one.samefile(self.path(name)) for one in self.older(name))


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _note(data: bytes, repository: str, at: str) -> str:
    return " ".join((_digest(data), repository, *([at] if at else []))) + "\n"


def _write(path: Path, data: bytes) -> None:
    atomic.write(path, data)
    atomic.sync_directory(path.parent)
