"""What is alive in a borg repository: a part of reading.py, which is given this text.

An object is alive when it was put and not deleted behind that, up to the last commit. Only the headers of
entries are read. What a compaction may change is where objects are, never which of them there are, nor their
size or checksum: the digest is over these, in the order of the ids.

Nothing but the standard library of Python 3.9. Ids are looked at in groups of 200,000, each with a pass over
all headers, so that memory does not grow with the repository.
"""

from __future__ import annotations

import hashlib
import struct
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

_TOGETHER = 200_000  # objects that are in memory at once, some 40 MiB
_MAGIC, _COMMIT_ENTRY = 8, 9  # bytes
_WORTHWHILE = 10  # borg rewrites a segment of which a tenth or more is dead
_KNOWN = struct.Struct("<III")  # segment, size, checksum
_MANIFEST = bytes(32)


class Living:
    """`data` has the segments, `segments` reads them, `asked` are transactions whose deletes are weighed."""

    def __init__(self, data: Any, segments: Any, last: int, asked: Sequence[int]) -> None:
        self._data, self._segments = data, segments
        self._numbers = data.between(-1, last)
        self._lost = {transaction: [0, 0] for transaction in asked}
        self._commits: list[int] = []
        self._bytes_in: Counter[int] = Counter()  # of live entries, by segment
        self._digest = hashlib.sha256()
        self._objects, self._manifest = 0, -1

    def lines(self) -> Iterator[str]:
        """What is alive; what a compaction frees, and copies for that; what each transaction took away."""
        puts = self._count()
        groups = -(-puts // _TOGETHER) or 1
        for group in range(groups):
            self._take(group, groups)
        size = sum(self._bytes_in.values())
        yield f"living {self._objects} {size} {self._digest.hexdigest()} {self._manifest}"
        yield f"gain {' '.join(map(str, self._gain()))}"
        for transaction, (objects, size) in self._lost.items():
            yield f"lost {transaction} {objects} {size}"

    def _entries(self) -> Iterator[tuple[int, int, int, int, bytes]]:
        """Segment, checksum, size, tag and id of each, in order."""
        for number in self._numbers:
            with self._data.open(number) as file:
                for crc, _, size, tag, key in self._segments.headers(file):
                    yield number, crc, size, tag, key

    def _count(self) -> int:
        puts = 0
        for number, _, _, tag, _ in self._entries():
            puts += tag == self._segments.PUT
            if tag == self._segments.COMMIT:
                self._commits.append(number)
        return puts

    def _take(self, group: int, groups: int) -> None:
        alive: dict[bytes, bytes] = {}
        for number, crc, size, tag, key in self._entries():
            if tag == self._segments.COMMIT or int.from_bytes(key[:4], "big") * groups >> 32 != group:
                continue
            before = alive.pop(key, None)
            if tag == self._segments.PUT:
                alive[key] = _KNOWN.pack(number, size, crc)
            elif before:
                self._weigh(number, _KNOWN.unpack(before)[1])
        for key in sorted(alive):
            number, size, crc = _KNOWN.unpack(alive[key])
            self._digest.update(key + struct.pack("<II", size, crc))
            self._bytes_in[number] += size
            self._objects += 1
            if key == _MANIFEST:
                self._manifest = size - len(key) - _COMMIT_ENTRY

    def _weigh(self, number: int, size: int) -> None:
        """Something was deleted in this segment: is it of a transaction that was asked for?"""
        at = bisect_left(self._commits, number)
        lost = self._lost.get(self._commits[at]) if at < len(self._commits) else None
        if lost:
            lost[0] += 1
            lost[1] += size

    def _gain(self) -> tuple[int, int]:
        """Bytes that a compaction frees, and bytes that it copies for that."""
        commits = Counter(self._commits)
        freed = copied = 0
        for number in self._numbers:
            whole, alive = self._data.size(number), self._bytes_in[number]
            dead = whole - _MAGIC - alive - _COMMIT_ENTRY * commits[number]
            if dead > 0 and dead * _WORTHWHILE >= whole:
                freed += dead
                copied += alive
        return freed, copied
