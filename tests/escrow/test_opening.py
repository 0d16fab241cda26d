"""The manifest as it lies in a repository, and whose id made an answer; repositories that a host made up."""

from __future__ import annotations

import hmac
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.harness.audit.segments import MANIFEST, commit, delete, key, put, segment
from zborg.borg.escrow import opening
from zborg.borg.escrow.reader import FoundManifest, manifest
from zborg.borg.storage import segments
from zborg.borg.storage.reading import Data, Strays

pytestmark = pytest.mark.unit

ID = "a" * 64
MESSAGE = b"bound"


def lines(home: Path, asked: Mapping[str, str] | None = None) -> list[str]:
    top = os.open(home, os.O_RDONLY | os.O_DIRECTORY)
    data = Data(top, 1000, Strays(0))
    try:
        return list(opening.lines(data, segments, ID, asked or {}))
    finally:
        data.close()
        os.close(top)


def repository(home: Path, *contents: bytes | Iterable[bytes]) -> Path:
    """Segments from 0 on, each of entries or of any bytes."""
    folder = home / "data" / "0"
    folder.mkdir(parents=True, exist_ok=True)
    for number, content in enumerate(contents):
        data = content if isinstance(content, bytes) else segment(content)
        (folder / str(number)).write_bytes(data)
    return home


def test_the_newest_manifest_is_found_wherever_it_is(tmp_path: Path) -> None:
    old, new = put(MANIFEST, b"old"), put(MANIFEST, b"new")
    last = [put(key(3), b"x" * 99), delete(MANIFEST), new, put(key(4))]
    home = repository(tmp_path, [put(key(1)), old, commit()], last, [put(key(2)), commit()], [put(key(5))])
    assert manifest(lines(home)) == FoundManifest(ID, 2, new)


def test_a_large_one_arrives_in_pieces(tmp_path: Path) -> None:
    large = put(MANIFEST, bytes(range(256)) * 400)
    found = lines(repository(tmp_path, [large, commit()]))
    assert len([line for line in found if line.startswith("entry ")]) > 5
    assert manifest(found) == FoundManifest(ID, 0, large)


@pytest.mark.parametrize(
    "entries",
    [
        [put(key(1)), commit()],
        [put(MANIFEST, b"m"), delete(MANIFEST), commit()],
        [put(MANIFEST, b"m")[:-1] + b"?", commit()],
        [put(MANIFEST, bytes(opening._MOST)), commit()],
        [put(MANIFEST, b"not committed")],
    ],
)
def test_deleted_damaged_huge_or_not_committed_is_none(tmp_path: Path, entries: list[bytes]) -> None:
    assert manifest(lines(repository(tmp_path, entries))) is None


def answered(home: Path, author: bytes) -> bool:
    mac = hmac.digest(author, MESSAGE, "sha256")
    return any(
        line.startswith("author ") for line in lines(home, {"message": MESSAGE.hex(), "mac": mac.hex()})
    )


def test_an_answer_is_of_an_object_that_was_put_and_not_of_the_manifest(tmp_path: Path) -> None:
    """Also of one that was deleted behind it: an archive may be pruned before the answer comes."""
    home = repository(
        tmp_path,
        [put(key(1)), put(MANIFEST), commit()],
        [put(key(2)), delete(key(1)), commit()],
        [put(key(4))],
    )
    assert answered(home, key(1))
    assert answered(home, key(2))
    assert not answered(home, key(3))
    assert not answered(home, key(4)), "it is not committed"
    assert not answered(home, MANIFEST), "everybody knows that id"


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    st.lists(
        st.binary(max_size=80)
        | st.lists(
            st.binary(max_size=40)
            | st.sampled_from([commit(), put(MANIFEST, b"m"), delete(MANIFEST), put(key(1)), b"\xff" * 9]),
            max_size=4,
        ).map(lambda some: segment([*some, commit()])),
        max_size=4,
    )
)
def test_whatever_a_host_made_up_ends_in_an_answer(tmp_path: Path, contents: list[bytes]) -> None:
    home = repository(tmp_path, *contents)
    manifest(lines(home))
    answered(home, key(1))
    for path in home.glob("data/0/*"):
        path.unlink()
