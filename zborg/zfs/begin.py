"""The first record of a send stream, read without ZFS: what the rest of the stream will do.

Layout, magic and flags are those of dmu_replay_record_t and drr_begin in OpenZFS's
include/sys/zfs_ioctl.h. A stream is written in its sender's byte order; the magic number shows which.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from zborg.errors import ZborgError

SIZE = 312  # bytes; a payload may follow, and then the other records
FILESYSTEM = 2  # DMU_OST_ZFS; 3 is a volume, and a compound stream says 0

_MAGIC = 0x2F5BACBAC
_BEGIN = 0  # DRR_BEGIN
_LAYOUT = "IIQQQIIQQ256s"
_HEADER_BITS = 2  # of versioninfo; the 30 bits above them are features

# Features by their number. What is not here is not a stream that zborg sends.
RAW = 24
PLAIN = frozenset({2, 16, 17, 19, 20, 22, 23, 25, 27, 28, 29})
"""SA_SPILL, EMBED_DATA, LZ4, LARGE_BLOCKS, RESUMING, COMPRESSED, LARGE_DNODE, ZSTD,
SWITCH_TO_LARGE_BLOCKS, LONGNAME, LARGE_MICROZAP."""

# Flags by their number.
CLONE = 0
HARMLESS = frozenset({1, 2, 3})
"""CI_DATA, FREERECORDS, SPILL_BLOCK."""


@dataclass(frozen=True, slots=True)
class Begin:
    """What a stream says of itself; guids in decimal, as `zfs get -p guid` prints them."""

    simple: bool  # one snapshot of one dataset; else a package of streams with properties (-p, -R, -I)
    features: frozenset[int]
    kind: int
    flags: frozenset[int]
    to_guid: str
    from_guid: str | None  # None of a full stream
    to_name: str  # dataset@snapshot on the sender


def parse(data: bytes) -> Begin:
    """The record. Raises ZborgError for anything else than SIZE bytes that begin a send stream."""
    if len(data) != SIZE:
        raise _refuse(f"{len(data)} of {SIZE} bytes")
    order = next((order for order in "<>" if _magic(data, order) == _MAGIC), None)
    if order is None:
        raise _refuse("no magic number")
    record, _, _, version, _, kind, flags, to_guid, from_guid, name = struct.unpack(order + _LAYOUT, data)
    if record != _BEGIN:
        raise _refuse(f"a record of kind {record}")
    return Begin(
        simple=version & ((1 << _HEADER_BITS) - 1) == 1,
        features=_bits(version >> _HEADER_BITS),
        kind=kind,
        flags=_bits(flags),
        to_guid=str(to_guid),
        from_guid=str(from_guid) if from_guid else None,
        to_name=_text(name),
    )


def _refuse(why: str) -> ZborgError:
    return ZborgError(f"this is not the beginning of a zfs stream: {why}", "send it with ZFS")


def _magic(data: bytes, order: str) -> int:
    (found,) = struct.unpack_from(f"{order}Q", data, 8)
    return int(found)


def _bits(number: int) -> frozenset[int]:
    return frozenset(bit for bit in range(number.bit_length()) if number >> bit & 1)


def _text(field: bytes) -> str:
    """Up to the first zero byte; there must be one, as in C."""
    text, ended, _ = field.partition(b"\0")
    if not ended:
        raise _refuse("a name without an end")
    try:
        return text.decode("ascii")
    except UnicodeDecodeError:
        raise _refuse("a name that is not ASCII") from None
