"""The first record of a stream: as OpenZFS 2.3.9 writes it, and anything else."""

from __future__ import annotations

import struct
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.harness.builders.begin import LAYOUT, golden
from zborg.errors import ZborgError
from zborg.zfs import begin

pytestmark = pytest.mark.unit

SENT = begin.PLAIN & {2, 16, 17, 22}


@pytest.mark.parametrize(
    ("name", "simple", "kind", "features", "clone", "full"),
    [
        ("full", True, begin.FILESYSTEM, SENT, False, True),
        ("increment", True, begin.FILESYSTEM, SENT, False, False),
        ("resumed", True, begin.FILESYSTEM, SENT | {20}, False, True),
        ("raw", True, begin.FILESYSTEM, {2, 17, 22, begin.RAW}, False, True),
        ("clone", True, begin.FILESYSTEM, {2}, True, False),
        ("volume", True, 3, set(), False, True),
        ("props", False, 0, set(), False, True),
        ("replicate", False, 0, set(), False, True),
        ("all", False, 0, set(), False, True),
    ],
)
def test_streams_of_openzfs(
    name: str, simple: bool, kind: int, features: set[int], clone: bool, full: bool
) -> None:
    found = begin.parse(golden()[name])
    assert (found.simple, found.kind, set(found.features)) == (simple, kind, features)
    assert (begin.CLONE in found.flags, found.from_guid is None) == (clone, full)
    assert "@zborg_2026-02-1" in found.to_name


def test_the_golden_streams_belong_together() -> None:
    records = {name: begin.parse(data) for name, data in golden().items()}
    assert records["increment"].from_guid == records["full"].to_guid == records["clone"].from_guid
    assert records["resumed"].to_guid == records["increment"].to_guid
    assert records["full"].to_name == "tank/borg/web1@zborg_2026-02-12T144933Z"
    assert records["full"].flags <= begin.HARMLESS


def swapped(data: bytes) -> bytes:
    """The same record as a machine of the other byte order writes it."""
    return struct.pack(">" + LAYOUT, *struct.unpack("<" + LAYOUT, data))


@pytest.mark.parametrize("name", golden())
def test_a_stream_of_the_other_byte_order_says_the_same(name: str) -> None:
    data = golden()[name]
    assert swapped(data) != data and begin.parse(swapped(data)) == begin.parse(data)


u64 = st.integers(0, 2**64 - 1)
name = st.text(st.characters(min_codepoint=1, max_codepoint=127), max_size=255)


@given(order=st.sampled_from("<>"), version=u64, kind=u64, flags=u64, to=u64, base=u64, name=name)
def test_what_is_packed_is_read(
    order: str, version: int, kind: int, flags: int, to: int, base: int, name: str
) -> None:
    kind, flags = kind % 2**32, flags % 2**32
    packed = struct.pack(order + LAYOUT, 0, 0, 0x2F5BACBAC, version, 1, kind, flags, to, base, name.encode())
    found = begin.parse(packed)
    assert sum(1 << bit for bit in found.features) == version >> 2
    assert sum(1 << bit for bit in found.flags) == flags
    assert (found.simple, found.kind, found.to_name) == (version & 3 == 1, kind, name)
    assert (found.to_guid, found.from_guid) == (str(to), str(base) if base else None)


@given(data=st.binary(max_size=400) | st.binary(min_size=begin.SIZE, max_size=begin.SIZE))
def test_other_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(ZborgError, match="not the beginning of a zfs stream"):
        begin.parse(data)


@given(st.sampled_from(sorted(golden())), st.lists(st.tuples(st.integers(0, 311), st.integers(0, 255))))
def test_a_changed_record_is_read_or_refused(name: str, changes: list[tuple[int, int]]) -> None:
    data = bytearray(golden()[name])
    for at, value in changes:
        data[at] = value
    with suppress(ZborgError):
        assert len(begin.parse(bytes(data)).to_name) < 256


@pytest.mark.parametrize(
    ("at", "bytes_", "why"),
    [
        (0, b"\x01", "a record of kind 1"),
        (8, b"\0", "no magic number"),
        (56, b"x" * 256, "a name without an end"),
        (56, b"t\xc3\xa4nk@a\0", "not ASCII"),
    ],
)
def test_why_a_record_is_refused(at: int, bytes_: bytes, why: str) -> None:
    data = golden()["full"]
    with pytest.raises(ZborgError, match=why):
        begin.parse(data[:at] + bytes_ + data[at + len(bytes_) :])
    with pytest.raises(ZborgError, match="311 of 312 bytes"):
        begin.parse(data[:-1])
