"""The log's file: handlers of Python's `logging`, made fit for several processes that write at once.

Imported with the first line that goes to a file: to import `logging.handlers` takes some 10 ms.
"""

from __future__ import annotations

import gzip
import logging
import os
import re
import zlib
from collections.abc import Callable, Iterator
from errno import EIO
from io import FileIO, TextIOWrapper
from logging.handlers import RotatingFileHandler, WatchedFileHandler
from pathlib import Path

from filelock import FileLock

_LARGEST = 10 << 20  # bytes of the file; a night of 30 hosts writes about 20 KiB
_OLDER = 9  # files that stay beside it
_PATIENCE = 5.0  # seconds to wait for another process that rotates


class LogFile(WatchedFileHandler):
    """Appends to a file for its owner alone, and makes it again after logrotate or `rotate` renamed it."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, encoding="utf-8", errors="replace", delay=True)

    def _open(self) -> TextIOWrapper:
        """Unbuffered: a line is one write, so lines of two runs never mix and none waits for the exit."""
        file = FileIO(self.baseFilename, "a", opener=_private)
        return TextIOWrapper(file, encoding=self.encoding, errors=self.errors, write_through=True)

    def handleError(self, record: logging.LogRecord) -> None:
        """The caller reports what cannot be written: raises the OSError that is being handled."""
        raise  # `emit` calls this within its `except`


def rotate(path: Path) -> None:
    """Rename a file that has grown past its limit, and the older ones. Raises OSError; nothing is lost then.

    Under a lock, and looked at again within it: two runs that begin at once would otherwise rotate twice.
    """
    if not _too_large(path):
        return
    with FileLock(f"{path}.lock", mode=0o600, timeout=_PATIENCE):
        if _too_large(path):
            RotatingFileHandler(path, backupCount=_OLDER, delay=True).doRollover()


def lines_of(path: Path, wanted: Callable[[str], bool]) -> Iterator[str]:
    """The lines of these runs, oldest first, out of the older files, also compressed, and the file.

    Raises OSError.
    """
    for file in (*_older(path), *([path] if path.exists() else [])):
        for line in _lines(file):
            if wanted(line.split(" ", 2)[1] if line.count(" ") > 1 else ""):
                yield line.rstrip("\n")


def _older(path: Path) -> list[Path]:
    """The highest number first, however they were rotated. Of one that is being compressed the whole one."""
    pattern = re.compile(re.escape(path.name) + r"\.(\d+)(?:\.gz)?")
    found = ((pattern.fullmatch(one.name), one) for one in path.parent.iterdir())
    numbered = sorted(((int(match[1]), one) for match, one in found if match), reverse=True)
    return [one for _, one in numbered if one.suffix != ".gz" or not one.with_suffix("").exists()]


def _lines(file: Path) -> Iterator[str]:
    opened = gzip.open if file.suffix == ".gz" else open
    try:
        with opened(file, "rt", encoding="utf-8", errors="replace") as lines:
            yield from lines
    except (EOFError, zlib.error) as error:
        raise OSError(EIO, f"{file.name} is no whole gzip file: {error}") from error


def _too_large(path: Path) -> bool:
    return path.exists() and path.stat().st_size > _LARGEST


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CLOEXEC, 0o600)
