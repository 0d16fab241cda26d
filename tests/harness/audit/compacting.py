"""What `borg compact` does to segments, in a few lines: for repositories whose segments are a test's own."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

from tests.harness.audit.segments import commit, segment

_HEADER = struct.Struct("<IIB")
_MAGIC, _PUT, _COMMIT = 8, 0, 2


def compact(home: Path) -> None:
    """Copy what is alive into one new segment, and remove all others."""
    paths = sorted(home.glob("data/*/*"), key=lambda path: int(path.name))
    alive: dict[bytes, bytes] = {}
    for path in paths:
        for tag, key, entry in _entries(path.read_bytes()):
            alive.pop(key, None)
            if tag == _PUT:
                alive[key] = entry
    new = int(paths[-1].name) + 2 if paths else 0
    (home / f"data/0/{new}").write_bytes(segment([*alive.values(), commit()]))
    for path in paths:
        path.unlink()


def _entries(data: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    offset = _MAGIC
    while offset < len(data):
        _, size, tag = _HEADER.unpack_from(data, offset)
        if tag != _COMMIT:
            start = offset + _HEADER.size
            yield tag, data[start : start + 32], data[offset : offset + size]
        offset += size
