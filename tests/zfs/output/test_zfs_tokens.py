"""Resume tokens: those of OpenZFS, damaged ones, and any text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.harness.builders.zfs_output import golden, only_zborg_errors
from tests.harness.fake_zfs.child import pack_token
from zborg.errors import ZborgError
from zborg.zfs.output import tokens

pytestmark = pytest.mark.unit


def test_a_token_says_whether_the_rest_comes_raw() -> None:
    """Captured: the same increment of an encrypted dataset, sent with -w and cut."""
    raw = tokens.decode(golden("token-raw").strip())
    assert raw.raw and raw.to_name == "p1/enc@b" and raw.from_guid
    assert not tokens.decode(golden("token-increment").strip()).raw


def test_tokens_of_openzfs() -> None:
    full = tokens.decode(golden("token-full").strip())
    assert (full.to_name, full.to_guid) == ("tank/borg/web1@big2", str(0xC0AF418CEB721632))
    assert (full.from_guid, full.received) == (None, 0x3C2E90)
    increment = tokens.decode(golden("token-increment").strip())
    assert (increment.from_guid, increment.received) == (str(0x20F80333E5EE6B75), 0x5A40C0)


guids = st.integers(1, 2**64 - 1)


@given(guids, guids | st.none(), st.integers(0, 2**64 - 1), st.text("abc/@-_. ", min_size=1, max_size=200))
def test_tokens_round_trip(to: int, base: int | None, received: int, name: str) -> None:
    since: dict[str, int | str | None] = {"fromguid": base} if base else {}
    token = pack_token({**since, "bytes": received, "toguid": to, "toname": name, "compressok": None})
    known = tokens.decode(token)
    assert (known.to_guid, known.to_name, known.received) == (str(to), name, received)
    assert known.from_guid == (str(base) if base else None)


@given(st.data())
def test_damaged_tokens_are_refused(data: st.DataObject) -> None:
    token = golden("token-increment").strip()
    where = data.draw(st.integers(0, len(token) - 1))
    letter = data.draw(st.sampled_from("0123456789abcdef-"))
    changed = token[:where] + letter + token[where + 1 :]
    if changed != token:
        with pytest.raises(ZborgError):
            tokens.decode(changed)


@pytest.mark.parametrize(
    "facts", [{}, {"toname": "a@b", "toguid": 1}, {"toname": 1, "toguid": 1, "bytes": 1}]
)
def test_tokens_without_the_facts_are_refused(facts: dict[str, int | str | None]) -> None:
    with pytest.raises(ZborgError, match="missing"):
        tokens.decode(pack_token(facts))


@given(st.binary(max_size=200))
def test_any_payload_is_decoded_or_refused(body: bytes) -> None:
    import struct
    import zlib

    data = b"\0\1\0\0" + bytes(8) + body
    packed = zlib.compress(data)
    whole = struct.unpack(f"<{len(packed) // 4}I", packed[: len(packed) // 4 * 4])
    only_zborg_errors(tokens.decode, f"1-{sum(whole):x}-{len(data):x}-{packed.hex()}")


def test_a_token_that_unpacks_to_much_is_refused() -> None:
    with pytest.raises(ZborgError, match="wrong length"):
        tokens.decode(pack_token({"toname": "a" * 1_000_000, "toguid": 1, "bytes": 1}))
