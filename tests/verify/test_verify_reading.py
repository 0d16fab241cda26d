"""The programs that read whole repositories on the storage: what they may do, and what they may answer."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.harness.audit.segments import MANIFEST, commit, key, put, segment
from tests.harness.machines.borgs import borg_of
from zborg.borg.storage import checker, digests
from zborg.borg.storage.checker import BorgCheck, check
from zborg.borg.storage.reader import Unreadable, digest, parse_digested
from zborg.errors import ZborgError
from zborg.hosts.wall import landlock_abi
from zborg.model import Storage
from zborg.model.ledger.sealed import Digested, Malformed, SealedObject
from zborg.process import LocalRunner

CONFIG = "[repository]\nversion = 1\nsegments_per_dir = 1000\nmax_segment_size = 524288000\nid = 5a\n"
NUMBER = 70_001
SETTINGS = Storage("tank/borg", None, "zborg-serve", "borg")
SEGMENTS = {
    0: segment([put(MANIFEST, b"m" * 100), commit()]),
    1: segment([put(key(1), b"a" * 3_000_000), commit()]),
    2: segment([put(key(9), b"never committed")]),
}


@pytest.fixture
def home() -> Iterator[Path]:
    """Of a host with a number of its own, where that number can reach it."""
    top = Path(tempfile.mkdtemp(prefix="zborg-verify-"))
    top.chmod(0o755)
    made = top / "web1"
    (made / "data/0").mkdir(parents=True)
    (made / "config").write_text(CONFIG)
    for number, data in SEGMENTS.items():
        (made / f"data/0/{number}").write_bytes(data)
    for path in (made, *made.rglob("*")):
        os.chown(path, NUMBER, NUMBER)
    yield made
    shutil.rmtree(top)


def sealed(number: int) -> SealedObject:
    data = SEGMENTS[number]
    return SealedObject(f"0/{number}", len(data), hashlib.sha256(data).hexdigest())


def test_all_sealed_objects_are_digested_as_the_host_s_own_user(home: Path) -> None:
    """Its threads have begun before it loses the right to start any."""
    found = digest(LocalRunner(), str(home), seconds=60)
    assert isinstance(found, Digested), found
    assert found.objects == (sealed(0), sealed(1))
    assert (found.last, found.sealed.count, found.malformed) == (1, 2, ())


def test_of_named_objects_it_is_looked_whether_their_checksums_fit(home: Path) -> None:
    path = home / "data/0/1"
    path.write_bytes(path.read_bytes()[:-20] + b"x" * 11 + path.read_bytes()[-9:])
    found = digest(LocalRunner(), str(home), ["0/1", "0/7"], seconds=60)
    assert isinstance(found, Digested), found
    assert [one.name for one in found.objects] == ["0/1"]
    assert found.malformed == (Malformed("0/1", 8, "crc"),)


def test_what_was_sealed_once_is_read_although_its_commit_is_damaged_now(home: Path) -> None:
    path = home / "data/0/1"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    found = digest(LocalRunner(), str(home), until=1, seconds=60)
    assert isinstance(found, Digested) and found.last == 0, found
    assert [one.name for one in found.objects] == ["0/0", "0/1"]
    before = digest(LocalRunner(), str(home), seconds=60)
    assert isinstance(before, Digested) and len(before.objects) == 1


def test_what_the_disk_does_not_give_is_named_and_the_others_are_read() -> None:
    class Failing:
        def name(self, number: int) -> str:
            return f"0/{number}"

        def open(self, number: int) -> io.BufferedReader:
            if number == 2:
                raise OSError(5, "Input/output error")
            return io.BufferedReader(io.FileIO(os.devnull))

    lines = list(digests.Digests().lines(Failing(), [1, 2, 3]))
    empty = hashlib.sha256().hexdigest()
    assert lines == [f"object 0/1 0 {empty}", "unread 0/2 5", f"object 0/3 0 {empty}"]


def test_a_directory_that_cannot_be_opened_was_not_begun() -> None:
    found = digest(LocalRunner(), "/nonexistent", seconds=60)
    assert isinstance(found, Unreadable) and not found.begun


@given(
    st.text()
    | st.lists(
        st.sampled_from(
            [
                "0 object 0/1 5 " + "a" * 64,
                "0 end",
                "0 unread 0/1 5",
                "0 last 5 -1",
                "0 object ../1 5 x",
                "0 sealed 1 2 -",
                "1 end",
                "0 unread x y",
                "0 broken 0/1 8 crc",
                "0 failed status 11",
            ]
        )
    ).map("\n".join)
)
def test_no_answer_is_more_than_an_answer(text: str) -> None:
    assert isinstance(parse_digested(text), Digested | Unreadable)


@given(
    st.text()
    | st.lists(
        st.sampled_from(
            [
                "wall uid landlock-7 no-network",
                "ended 0",
                "ended -9",
                "ended x",
                "timeout",
                "line x",
                "line zborg-serve: wall none",
            ]
        )
    ).map("\n".join)
)
def test_nothing_that_borg_prints_is_more_than_words(text: str) -> None:
    assert isinstance(checker.parse(text), BorgCheck)


def test_a_check_s_answer_is_read() -> None:
    text = "wall uid landlock-7 no-network\nended 1\nline zborg-serve: wall uid\nline ended 0\nline wall x\n"
    assert checker.parse(text) == BorgCheck(1, "uid landlock-7 no-network", ("ended 0", "wall x"))
    assert checker.parse("wall uid\ntimeout\n").status is None
    assert checker.parse("ended 127\nline no such file\n") == BorgCheck(127, "", ("no such file",))


# --- borg check behind the wall -----------------------------------------------------------------------------


def script(home: Path, text: str) -> Storage:
    """In the place of borg."""
    path = home.parent / "borg"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return Storage("tank/borg", None, "zborg-serve", str(path))


def test_borg_runs_as_the_host_s_number_within_the_wall(home: Path) -> None:
    (home.parent / "web2").mkdir()
    (home.parent / "web2" / "config").write_text("another host's")
    (home.parent / "web2" / "config").chmod(0o644)
    text = f'id -u; echo "$@"; cat {home.parent}/web2/config; echo x > {home}/mine && echo wrote; exit 1'
    found = check(LocalRunner(), str(home), script(home, text), "", seconds=60)
    assert found.status == 1
    assert "uid" in found.wall.split()
    assert str(NUMBER) in found.lines
    assert f"check --repository-only {home}" in found.lines
    assert "wrote" in found.lines
    held_off = {"bwrap", f"landlock-{landlock_abi()}"} & set(found.wall.split())
    assert bool(held_off) != any("another host's" in line for line in found.lines)


def test_one_that_does_not_end_is_ended(home: Path) -> None:
    found = check(LocalRunner(), str(home), script(home, "exec sleep 600"), "", seconds=0.5)
    assert (found.status, bool(found.wall)) == (None, True)


def test_one_that_prints_for_ever_is_no_trouble(home: Path) -> None:
    text = "head -c 3000000 /dev/zero; head -c 3000000 /dev/zero | tr '\\0' '\\n'; echo last; kill -11 $$"
    found = check(LocalRunner(), str(home), script(home, text), "", seconds=60)
    assert (found.status, found.lines[-1]) == (-11, "last")


def test_a_borg_that_is_not_there_is_no_finding(home: Path) -> None:
    settings = Storage("tank/borg", None, "zborg-serve", "/nonexistent/borg")
    with pytest.raises(ZborgError, match="borg check was not started: zborg-serve: E_NO_BORG") as caught:
        check(LocalRunner(), str(home), settings, "", seconds=60)
    assert caught.value.remedy == "on the storage, as root:\n/nonexistent/borg --version"


def test_a_real_borg_finds_a_good_repository_good(home: Path) -> None:
    settings = Storage("tank/borg", None, "zborg-serve", borg_of("1.2"))
    found = check(LocalRunner(), str(home), settings, "", seconds=60)
    assert found.status == 0, found
