"""Standard output that cannot be written: a full disk under a redirection, a pipe that nobody reads."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from zborg.errors import ZborgError
from zborg.model.text.remedy import command, remedy

_STDOUT = "/proc/self/fd/1"


@contextmanager
def printing() -> Iterator[None]:
    """What is printed inside arrives, or ZborgError names the file. Nobody reading a pipe is no failure."""
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        _drop()
    except OSError as error:
        place = _place()
        _drop()
        raise ZborgError(
            f"standard output of this machine's zborg, {place}, cannot be written: {error.strerror}",
            remedy(command("zborg", "status"), first="what was done is done; this shows what it came to:"),
        ) from error


def drained(code: int) -> int:
    """The exit code of a process that prints no more. For unwritten data Python alone would end with 120."""
    try:
        sys.stdout.flush()
    except OSError as error:
        _drop()
        return code if code or isinstance(error, BrokenPipeError) else int(ZborgError.exit)
    return code


def _place() -> str:
    with suppress(OSError):
        return str(Path(_STDOUT).readlink())
    return _STDOUT


def _drop() -> None:
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, sys.stdout.fileno())
    os.close(null)
