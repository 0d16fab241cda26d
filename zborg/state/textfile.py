"""A file that other programs or people read while it is written anew."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

FOR_ALL, FOR_OWNER = 0o644, 0o600  # node_exporter is another user


def save_whole(path: Path, text: str) -> None:
    """The same for what zborg must remember: on disk before it has its name, for its owner alone.

    Raises OSError that names the file, and leaves nothing half-written behind.
    """
    new = path.with_suffix(".new")
    try:
        with open(new, "w", encoding="utf-8", opener=_for_owner) as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
    except OSError as error:
        with suppress(OSError):  # it takes room that the next try may need
            new.unlink(missing_ok=True)
        raise OSError(error.errno, error.strerror, str(path)) from error


def _for_owner(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CLOEXEC, FOR_OWNER)


def replace_whole(path: Path, text: str, mode: int = FOR_ALL) -> None:
    """Readers see the old text or the new one. Raises OSError, and leaves nothing half-written behind."""
    new = path.with_name(f"{path.name}.{os.getpid()}")  # the collector reads *.prom alone
    new.unlink(missing_ok=True)  # of a killed run with this pid
    try:
        # Made by us and by nobody else: the directory may be one in which others write.
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, FOR_OWNER)
        with open(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            os.fchmod(file.fileno(), mode)
        new.replace(path)
    finally:
        new.unlink(missing_ok=True)
