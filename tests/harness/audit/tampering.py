"""What disks and intruders do to the files of a repository; each is given its directory."""

from __future__ import annotations

import os
import shutil
import zlib
from pathlib import Path


def largest(home: Path) -> Path:
    """The object with most bytes."""
    return max(home.glob("data/*/*"), key=lambda path: path.stat().st_size)


def flipped(home: Path) -> None:
    """One bit of an object's data."""
    _with_bit_flipped(largest(home), repaired=False)


def repaired(home: Path) -> None:
    """One bit of an object's data, and its CRC repaired: `borg check` calls that good."""
    _with_bit_flipped(largest(home), repaired=True)


def _with_bit_flipped(path: Path, *, repaired: bool) -> None:
    data = bytearray(path.read_bytes())
    size = int.from_bytes(data[12:16], "little")
    data[8 + 60] ^= 1
    if repaired:
        data[8:12] = zlib.crc32(data[12 : 8 + size]).to_bytes(4, "little")
    path.write_bytes(data)


def largest_entry_flipped(home: Path, *, repaired: bool) -> None:
    """One bit of the object with most bytes of all, which is of a large file; `repaired`: with its CRC."""
    place, path, most = 8, largest(home), 0
    data = bytearray(path.read_bytes())
    at = place
    while at < len(data):
        size = int.from_bytes(data[at + 4 : at + 8], "little")
        if size > most:
            place, most = at, size
        at += size
    data[place + most - 1] ^= 1
    if repaired:
        data[place : place + 4] = zlib.crc32(data[place + 4 : place + most]).to_bytes(4, "little")
    path.write_bytes(data)


def truncated(home: Path) -> None:
    os.truncate(largest(home), 1000)


def emptied(home: Path) -> None:
    os.truncate(largest(home), 0)


def removed(home: Path) -> None:
    largest(home).unlink()


def carriage_return(home: Path) -> None:
    """Lines in the configuration with which borg's own check ends in a traceback."""
    text = (home / "config").read_text()
    (home / "config").write_text(f"{text}key = x\r[repository]\rid = 0\n")


def index_destroyed(home: Path) -> None:
    """What borg finds objects with is garbage; it sees that by the file's own digest."""
    for name in ("index", "hints"):
        for path in home.glob(f"{name}.*"):
            path.write_bytes(b"no " + name.encode() * 100)


def index_replaced(home: Path, older: Path) -> None:
    """It is that of an older snapshot, and nothing is there by which borg would see it."""
    (index,) = home.glob("index.*")
    (integrity,) = home.glob("integrity.*")
    integrity.unlink()
    shutil.copyfile(next(older.glob("index.*")), index)
