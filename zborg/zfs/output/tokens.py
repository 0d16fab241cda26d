"""Resume tokens, read without ZFS.

`zfs send -nvt TOKEN` would print the same, but it ends without a message about what was lost when the
snapshot is gone, and it looks for the token's guid in the whole pool: a token is written by the
target, and a hostile target could name any snapshot of ours. So the token is read here, and checked
against the snapshot we mean to send, before any zfs command sees it.

A token is VERSION-CHECKSUM-LENGTH-PAYLOAD, all but the first in hex. The payload is a packed nvlist,
deflated; CHECKSUM is the first word of its fletcher4 (libzfs_sendrecv.c:
zfs_send_resume_token_to_nvlist; nvpair.c: nvs_native).
"""

from __future__ import annotations

import re
import struct
import zlib

from zborg.errors import ZborgError
from zborg.model import ResumeToken

_TOKEN = re.compile(r"1-([0-9a-f]{1,16})-([0-9a-f]{1,8})-((?:[0-9a-f]{2})+)")
_LONGEST = 1 << 16  # bytes unpacked; real ones have 300
_FLAG, _STRING, _UINT64 = 1, 9, 8  # data_type_t of <sys/nvpair.h>
_HEADER, _PAIR = 12, 16  # bytes


def _refuse(why: str) -> ZborgError:
    return ZborgError(f"cannot read the resume token: {why}")


def checked(token: str) -> str:
    """`token` itself when it has the form of one; ZborgError else."""
    if not _TOKEN.fullmatch(token):
        raise _refuse("not of the form 1-CHECKSUM-LENGTH-PAYLOAD")
    return token


def decode(token: str) -> ResumeToken:
    """What the token says of itself; guids in decimal, as `zfs get -p guid` prints them.

    Raises ZborgError for anything but a token of version 1 whose checksum is right.
    """
    facts = _pairs(_unpack(token))
    to_name, to_guid, received = facts.get("toname"), facts.get("toguid"), facts.get("bytes")
    if not isinstance(to_name, str) or not isinstance(to_guid, int) or not isinstance(received, int):
        raise _refuse("toname, toguid or bytes is missing")
    base, raw = facts.get("fromguid"), "rawok" in facts
    return ResumeToken(token, to_name, str(to_guid), str(base) if base else None, received, raw)


def _unpack(token: str) -> bytes:
    match = _TOKEN.fullmatch(token)
    if match is None:
        raise _refuse("not of the form 1-CHECKSUM-LENGTH-PAYLOAD")
    payload, length = bytes.fromhex(match[3]), int(match[2], 16)
    words = struct.unpack(f"<{len(payload) // 4}I", payload[: len(payload) // 4 * 4])
    if sum(words) % (1 << 64) != int(match[1], 16):
        raise _refuse("wrong checksum")
    try:
        data = zlib.decompressobj().decompress(payload, _LONGEST)
    except zlib.error as error:
        raise _refuse(str(error)) from error
    if len(data) != length:
        raise _refuse("wrong length")
    return data


def _pairs(data: bytes) -> dict[str, int | str]:
    """The numbers, strings and flags of a packed nvlist in native encoding; other types are skipped."""
    if len(data) < _HEADER or data[0] != 0 or data[1] not in (0, 1):
        raise _refuse("not a packed list")
    order = "<" if data[1] else ">"
    found: dict[str, int | str] = {}
    at = _HEADER
    while True:
        try:
            (size,) = struct.unpack_from(f"{order}i", data, at)
            if size == 0:
                return found
            if size < _PAIR or at + size > len(data):
                raise _refuse("a pair of impossible size")
            _pair(data[at : at + size], order, found)
        except (struct.error, UnicodeDecodeError) as error:
            raise _refuse(str(error)) from error
        at += size


def _pair(pair: bytes, order: str, found: dict[str, int | str]) -> None:
    _, name_size, _, _, kind = struct.unpack_from(f"{order}ihhii", pair)
    if name_size < 1:
        raise _refuse("a pair without a name")
    name = pair[_PAIR : _PAIR + name_size - 1].decode("ascii")
    value = (_PAIR + name_size + 7) // 8 * 8  # aligned to eight bytes
    if kind == _FLAG:
        found[name] = 1
    elif kind == _UINT64:
        (found[name],) = struct.unpack_from(f"{order}Q", pair, value)
    elif kind == _STRING:
        found[name] = pair[value:].partition(b"\0")[0].decode("ascii")
