"""Segments of borg 1 as bytes, good ones and others (docs/internals/data-structures of borg 1.4)."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable

MAGIC = b"BORG_SEG"
MANIFEST = bytes(32)
_PUT, _DELETE, _COMMIT = 0, 1, 2


def entry(tag: int, rest: bytes = b"") -> bytes:
    """One with its CRC."""
    body = struct.pack("<IB", 9 + len(rest), tag) + rest
    return struct.pack("<I", zlib.crc32(body)) + body


def put(key: bytes, data: bytes = b"") -> bytes:
    return entry(_PUT, key + data)


def delete(key: bytes) -> bytes:
    return entry(_DELETE, key)


def commit() -> bytes:
    return entry(_COMMIT)


def segment(entries: Iterable[bytes]) -> bytes:
    return MAGIC + b"".join(entries)


def key(number: int) -> bytes:
    """An object's id that is not the manifest's."""
    return number.to_bytes(32, "big")
