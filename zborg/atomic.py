"""Files written whole: a reader sees the old content or the new, also after a crash."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

FOR_ALL, FOR_OWNER = 0o644, 0o600


def write(path: Path, content: str | bytes, mode: int = FOR_OWNER) -> None:
    """Replace `path`, on disk before it has its name.

    Raises OSError that names it, and leaves nothing half-written behind. A killed writer leaves a hidden
    `.NAME.PID.new`, which is nobody's.
    """
    new = path.with_name(f".{path.name}.{os.getpid()}.new")
    data = content.encode() if isinstance(content, str) else content
    try:
        new.unlink(missing_ok=True)  # of a killed run with this pid
        # Made by us and by nobody else: the directory may be one in which others write.
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, FOR_OWNER)
        with open(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        new.replace(path)
    except OSError as error:
        with suppress(OSError):  # it takes room that the next try may need
            new.unlink(missing_ok=True)
        raise OSError(error.errno, error.strerror, str(path)) from error


def sync_directory(path: Path) -> None:
    """Names made in the directory outlast a power cut from now on. Raises OSError."""
    directory = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
