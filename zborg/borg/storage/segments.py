"""Segments of a borg repository, read without its key: a part of reading.py, which is given this text.

The form is that of borg 1.1 to 1.4 (docs/internals/data-structures of borg 1.4): a segment is BORG_SEG and
entries of CRC-32, size (both 32 bits, little-endian) and tag (0 PUT, 1 DELETE, 2 COMMIT); PUT and DELETE go
on with an id of 32 bytes. The transaction that a commit ends has the number of the segment in which it is.

Nothing but the standard library of Python 3.9, and no more memory than a piece of an entry and what 20,000
deletes take: what is read may have been made by a hostile host.
"""

from __future__ import annotations

import hashlib
import os
import struct
import zlib
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from typing import IO

_MAGIC = b"BORG_SEG"
_HEADER, _REST = struct.Struct("<IIB"), struct.Struct("<IB")
PUT, COMMIT = 0, 2
_PUT, _DELETE, _COMMIT = PUT, 1, COMMIT
_ID = 32
_MANIFEST = bytes(_ID)
_COMMITTED = _HEADER.pack(zlib.crc32(_REST.pack(9, _COMMIT)), 9, _COMMIT)
LARGEST_ENTRY = 20 << 20  # borg's MAX_OBJECT_SIZE
_PIECE = 1 << 20
_MOST_DELETES = 20_000  # a night's checkpoints are fewer; how the others came about does not matter


def is_committed(file: IO[bytes]) -> bool:
    """Whether this segment ends with a commit."""
    if file.seek(0, os.SEEK_END) < len(_MAGIC) + len(_COMMITTED):
        return False
    file.seek(-len(_COMMITTED), os.SEEK_END)
    return file.read() == _COMMITTED


class Transaction:
    """What one transaction did, as far as it can be seen without a key."""

    def __init__(self) -> None:
        self.puts = self.bytes = self.deletes = self.checkpoints = self.rewrites = 0
        self.manifest = -1

    def line(self, number: int) -> str:
        """As it is printed."""
        numbers = (self.puts, self.bytes, self.manifest, self.deletes, self.checkpoints, self.rewrites)
        return f"transaction {number} {' '.join(map(str, numbers))}"


class Work:
    """Reads new segments, in order. The transactions before the news are `prior` and `after`."""

    def __init__(self, after: int, prior: int) -> None:
        self._after, self._prior = after, prior
        self._now = Transaction()
        self._ended: dict[int, Transaction] = {}
        self.deletes: list[tuple[int, int, bytes]] = []  # (segment, offset, id)
        self._deleted: set[bytes] = set()
        self.broken: list[str] = []

    def take(self, segment: int, name: str, file: IO[bytes]) -> tuple[int, str]:
        """Size and digest of one segment; its entries are counted."""
        counted = Digesting(file)
        try:
            self._entries(segment, counted)
        except Malformed as error:
            self.broken.append(f"{name} {error}")
        counted.rest()
        return counted.size, counted.digest.hexdigest()

    def _entries(self, segment: int, file: Digesting) -> None:
        if file.read(len(_MAGIC), 0) != _MAGIC:
            raise Malformed(0, "magic")
        offset, committed = len(_MAGIC), False
        while header := file.read(_HEADER.size, offset, end=True):
            if committed:
                raise Malformed(offset, "after-commit")
            crc, size, tag = _HEADER.unpack(header)
            if not _HEADER.size <= size <= LARGEST_ENTRY or tag > _COMMIT:
                raise Malformed(offset, "entry")
            key = file.read(_ID, offset) if tag != _COMMIT else b""
            if size < _HEADER.size + len(key) or tag != _PUT and size != _HEADER.size + len(key):
                raise Malformed(offset, "entry")
            if (
                file.crc(zlib.crc32(key, zlib.crc32(header[4:])), size - _HEADER.size - len(key), offset)
                != crc
            ):
                raise Malformed(offset, "crc")
            if tag == _COMMIT:
                committed = True
                self._commit(segment)
            else:
                self._entry(tag, key, size, (segment, offset))
            offset += size

    def _commit(self, segment: int) -> None:
        self._ended[segment], self._now = self._now, Transaction()

    def _entry(self, tag: int, key: bytes, size: int, place: tuple[int, int]) -> None:
        now = self._now
        if key == _MANIFEST:
            if tag == _PUT:
                now.manifest = size - _HEADER.size - _ID
            return
        if tag == _DELETE:
            now.deletes += 1
            if len(self.deletes) < _MOST_DELETES:
                self._deleted.add(key)
                self.deletes.append((*place, key))
            return
        now.puts += 1
        now.bytes += size
        if key in self._deleted:
            now.rewrites += 1

    def before_last(self, last: int) -> int:
        """The transaction before the last one."""
        known = sorted({self._prior, self._after, *self._ended})
        return max((number for number in known if number < last), default=-1)

    def transactions(self) -> Iterator[str]:
        """A line for each that ended."""
        for number in sorted(self._ended):
            yield self._ended[number].line(number)

    def explain(self, segments: Iterable[tuple[int, IO[bytes]]]) -> None:
        """Count the deletes of what the transaction before had put there, as with a replaced checkpoint.

        `segments` are those of the last transaction before the news and of the news; each is closed here.
        """
        known = sorted({self._prior, self._after, *self._ended})
        puts = _puts(segments, {key for _, _, key in self.deletes})
        for segment, offset, key in self.deletes:
            earlier = [put for put in puts.get(key, ()) if put[:2] < (segment, offset)]
            mine = bisect_left(known, segment)
            if not earlier or mine == len(known) or known[mine] not in self._ended:
                continue
            if bisect_left(known, earlier[-1][0]) == mine - 1:
                self._ended[known[mine]].checkpoints += 1


def _puts(
    segments: Iterable[tuple[int, IO[bytes]]], wanted: set[bytes]
) -> dict[bytes, list[tuple[int, int, int]]]:
    """By id where it was put: (segment, offset, size). Of each entry only the header is read."""
    found: dict[bytes, list[tuple[int, int, int]]] = {}
    count = 0
    for segment, file in segments:
        with file:
            for _, offset, size, tag, key in headers(file):
                if tag == _PUT and key in wanted and count < _MOST_DELETES:
                    found.setdefault(key, []).append((segment, offset, size))
                    count += 1
    return found


def headers(file: IO[bytes]) -> Iterator[tuple[int, int, int, int, bytes]]:
    """Checksum, offset, size, tag and id of each entry; up to one that cannot be."""
    offset, number = len(_MAGIC), file.fileno()
    while len(header := os.pread(number, _HEADER.size + _ID, offset)) >= _HEADER.size:
        crc, size, tag = _HEADER.unpack(header[: _HEADER.size])
        if size < _HEADER.size:
            return
        yield crc, offset, size, tag, header[_HEADER.size :]
        offset += size


class Malformed(Exception):
    """An entry that borg would not have written, and where."""

    def __init__(self, offset: int, code: str) -> None:
        super().__init__(f"{offset} {code}")


class Digesting:
    """A file whose bytes are counted into a digest as they are read."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self.digest, self.size = file, hashlib.sha256(), 0

    def _piece(self, count: int) -> bytes:
        piece = self._file.read(count)
        self.digest.update(piece)
        self.size += len(piece)
        return piece

    def rest(self) -> None:
        """What was not read yet."""
        while self._piece(_PIECE):
            pass

    def read(self, count: int, offset: int, *, end: bool = False) -> bytes:
        """So many bytes, or none at the end where one may be."""
        data = self._piece(count)
        if len(data) < count and not (end and not data):
            raise Malformed(offset, "short")
        return data

    def crc(self, crc: int, count: int, offset: int) -> int:
        """The CRC-32 that began as `crc`, with the next `count` bytes."""
        while count:
            piece = self._piece(min(count, _PIECE))
            if not piece:
                raise Malformed(offset, "short")
            crc = zlib.crc32(piece, crc)
            count -= len(piece)
        return crc
