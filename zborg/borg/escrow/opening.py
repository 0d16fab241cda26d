"""The manifest of a borg repository as it lies there, and whose id made an answer: a part of reading.py.

A manifest is the list of the archives, encrypted. A reader with the key finds in it the ids of the archives,
which are ids of objects in the repository; others cannot see which of the objects they are.

Nothing but the standard library of Python 3.9. Of all entries only headers are read, but for the manifest.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import zlib
from collections.abc import Iterator, Mapping
from typing import Any

_MANIFEST = bytes(32)
_MOST = 4 << 20  # bytes of a manifest; one of 10,000 archives has about 1 MiB
_PIECE = 16 << 10
_CRC = 4  # bytes of an entry before what its checksum is over
_REPOSITORY = re.compile(r"[0-9a-f]{64}")


def lines(data: Any, segments: Any, repository: str, asked: Mapping[str, str]) -> Iterator[str]:
    """`asked` is empty for the manifest, else `message` and `mac` in hexadecimal for whose id made it."""
    last = data.last_commit(segments.is_committed)
    yield f"last {last} -1"
    if asked:
        yield from _author(data, segments, last, bytes.fromhex(asked["message"]), bytes.fromhex(asked["mac"]))
        return
    if _REPOSITORY.fullmatch(repository):
        yield f"id {repository}"
    yield from _manifest(data, segments, last)


def _manifest(data: Any, segments: Any, last: int) -> Iterator[str]:
    """The newest one, unless it was deleted behind that; a damaged or a huge one is none."""
    for number in reversed(data.between(-1, last)):
        with data.open(number) as file:
            found = [entry for entry in segments.headers(file) if entry[4] == _MANIFEST]
            if not found:
                continue
            crc, offset, size, tag, _ = found[-1]
            entry = os.pread(file.fileno(), size, offset) if tag == segments.PUT and size <= _MOST else b""
        if len(entry) == size and zlib.crc32(entry[_CRC:]) == crc:
            yield f"manifest {len(entry)} {hashlib.sha256(entry).hexdigest()}"
            for begin in range(0, len(entry), _PIECE):
                yield f"entry {entry[begin : begin + _PIECE].hex()}"
        return


def _author(data: Any, segments: Any, last: int, message: bytes, mac: bytes) -> Iterator[str]:
    """The object whose id is the key of this HMAC-SHA256; the manifest's id is known to everybody."""
    for number in reversed(data.between(-1, last)):
        with data.open(number) as file:
            for _, _, _, tag, key in segments.headers(file):
                if tag != segments.PUT or key == _MANIFEST:
                    continue
                if hmac.compare_digest(hmac.digest(key, message, "sha256"), mac):
                    yield f"author {number}"
                    return
