"""SHA-256 of sealed objects, several at once: a part of reading.py, which is given this text.

With one thread it would take longer than `borg check`; Python lets others run while one reads or digests.
They begin before anything of a repository is read: behind that this process may start none any more.

Nothing but the standard library of Python 3.9; memory is a piece for each thread.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

_MOST = 4  # threads: backups run on the same machine
_PIECE = 1 << 20
_STACK = 256 << 10  # bytes of a thread; the usual 8 MiB of each would count as memory of this process


class Digests:
    """The threads, which have begun when this returns."""

    def __init__(self) -> None:
        count = min(_MOST, os.cpu_count() or 1)
        threading.stack_size(_STACK)
        self._pool = ThreadPoolExecutor(count)
        all_there = threading.Barrier(count + 1)
        for _ in range(count):
            self._pool.submit(all_there.wait)
        all_there.wait()

    def lines(self, data: Any, segments: Sequence[int]) -> Iterator[str]:
        """`object NAME SIZE DIGEST` of each, in order; `unread NAME ERRNO` where the disk fails."""
        yield from self._pool.map(lambda segment: _line(data, segment), segments)


def _line(data: Any, segment: int) -> str:
    digest, size, piece = hashlib.sha256(), 0, memoryview(bytearray(_PIECE))
    try:
        with data.open(segment) as file:
            while count := file.raw.readinto(piece):
                digest.update(piece[:count])
                size += count
    except OSError as error:
        return f"unread {data.name(segment)} {error.errno or 0}"
    return f"object {data.name(segment)} {size} {digest.hexdigest()}"
