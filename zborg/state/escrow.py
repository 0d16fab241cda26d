"""The hosts' keys, sealed on the hosts for the custodians: text that this server cannot read.

STATE/escrow/NAME.age is for people, NAME.sealed says for which repository it is and whether it is whole.
What is there is never replaced by something else: the older one stays as NAME.DATE.age.
"""

from __future__ import annotations

import hashlib
import os
import re
from datetime import datetime
from pathlib import Path

from zborg import atomic
from zborg.errors import ZborgError
from zborg.model.text.remedy import on

_ARMOUR = re.compile(
    r"-----BEGIN AGE ENCRYPTED FILE-----\n([A-Za-z0-9+/]{64}\n)*[A-Za-z0-9+/]{1,64}={0,2}\n"
    r"-----END AGE ENCRYPTED FILE-----\n"
)


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
        try:
            reason = (self._directory / f"{name}.sealed").read_text(encoding="ascii")
            _, _, repository = reason.rstrip("\n").partition(" ")
            return repository if reason == _note(self.path(name).read_bytes(), repository) else ""
        except (OSError, ValueError):
            return ""

    def keep(self, name: str, repository: str, sealed: str, now: datetime) -> Path:
        """Store it, on disk before this returns. Raises ZborgError for what age would not have written."""
        if not _ARMOUR.fullmatch(sealed):
            raise ZborgError(
                "the host sent no sealed key", on("the host", "/usr/local/libexec/zborg-agent --seal")
            )
        self._directory.mkdir(mode=0o700, exist_ok=True)
        path = self.path(name)
        if path.exists() and not self._has_copy(name):
            os.link(path, self._directory / f"{name}.{now:%Y-%m-%dT%H%M%SZ}.age")
        data = sealed.encode("ascii")
        # The note first: without its key it claims nothing; a key without its note would be asked for again.
        _write(self._directory / f"{name}.sealed", _note(data, repository).encode("ascii"))
        _write(path, data)
        return path

    def _has_copy(self, name: str) -> bool:
        """A run that was killed in between has made it."""
        older = self._directory.glob(f"{name}.????-??-??T??????Z.age")
        return any(one.samefile(self.path(name)) for one in older)


def _note(data: bytes, repository: str) -> str:
    return f"{hashlib.sha256(data).hexdigest()} {repository}\n"


def _write(path: Path, data: bytes) -> None:
    atomic.write(path, data)
    atomic.sync_directory(path.parent)
