"""Streams of tar, entry by entry."""

from __future__ import annotations

import tarfile


def entry(name: str, kind: bytes = tarfile.REGTYPE, data: bytes = b"", **fields: object) -> bytes:
    """One header with its data."""
    made = tarfile.TarInfo(name)
    made.type, made.size = kind, len(data)
    for key, value in fields.items():
        setattr(made, key, value)
    return made.tobuf(tarfile.GNU_FORMAT) + data + bytes(-len(data) % 512)


END = bytes(1024)
