"""The reader of segments: what it counts, and that no bytes of a hostile host's are more than a finding."""

from __future__ import annotations

import io
import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.harness.audit.segments import MANIFEST, commit, delete, entry, key, put, segment
from zborg.borg.storage import segments
from zborg.borg.storage.reader import Look, Unreadable, look_at, parse
from zborg.borg.storage.segments import Work, is_committed
from zborg.model.ledger.sealed import Malformed, News, Transaction
from zborg.process import LocalRunner

CONFIG = "[repository]\nversion = 1\nsegments_per_dir = 1000\nmax_segment_size = 524288000\nid = 5a\n"


def repository(home: Path, **files: bytes) -> Path:
    """`s7=...` is the segment 7."""
    (home / "data/0").mkdir(parents=True, exist_ok=True)
    (home / "config").write_text(CONFIG)
    (home / "nonce").write_text("0000000000000010")
    for name, data in files.items():
        (home / f"data/0/{name.removeprefix('s')}").write_bytes(data)
    return home


def looked(home: Path, **options: Any) -> News:
    (found,) = look_at(LocalRunner(), [Look(str(home), **options)], seconds=60)
    assert isinstance(found, News), found
    return found


def test_entries_are_counted_by_transaction(tmp_path: Path) -> None:
    home = repository(
        tmp_path,
        s0=segment([put(MANIFEST, b"m" * 100)]),
        s1=segment([commit()]),
        s2=segment([put(key(1), b"a" * 500), put(key(2), b"b")]),
        s3=segment([put(MANIFEST, b"m" * 150), delete(MANIFEST), put(MANIFEST, b"m" * 160), commit()]),
        s4=segment([delete(key(2)), put(key(2), b""), delete(key(1)), put(key(3), b"c"), commit()]),
        s5=segment([put(key(9), b"never committed")]),
    )
    found = looked(home)
    assert (found.last, found.prior, found.nonce, found.version) == (4, 3, 16, 1)
    assert found.transactions == (
        Transaction(1, 0, 0, 100, 0, 0, 0),
        Transaction(3, 2, 583, 160, 0, 0, 0),
        Transaction(4, 2, 83, None, 2, 0, 1),
    )
    assert [one.name for one in found.objects] == [f"0/{n}" for n in range(5)]
    assert (found.earlier.count, found.sealed.count, found.stray_count) == (0, 5, 0)
    later = looked(home, after=3, prior=1)
    assert later.transactions == (Transaction(4, 2, 83, None, 2, 2, 1),), "of the transaction before"
    assert (later.earlier.count, later.prior) == (4, 3)


def test_a_replaced_checkpoint_is_of_the_transaction_before(tmp_path: Path) -> None:
    small, large = put(key(1), b"a" * 1000), put(key(2), b"b" * 70_000)
    home = repository(
        tmp_path,
        s1=segment([small, large, commit()]),
        s2=segment([put(key(3), b"c"), commit()]),
        s3=segment([delete(key(3)), delete(key(1)), commit()]),
    )
    found = looked(home, after=1, prior=0)
    assert [one.checkpoints for one in found.transactions] == [0, 1], "of two deletes one is older"
    home = repository(home, s2=segment([delete(key(1)), delete(key(2)), delete(key(7)), commit()]))
    (home / "data/0/3").unlink()
    (only,) = looked(home, after=1, prior=0).transactions
    assert (only.deletes, only.checkpoints) == (3, 2), "one is unknown"


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"ATTICSEG" + commit(), "magic"),
        (segment([b"\x00" * 9, commit()]), "entry"),
        (segment([entry(7), commit()]), "entry"),
        (segment([entry(2, b"x"), commit()]), "entry"),
        (segment([entry(1, key(1) + b"x"), commit()]), "entry"),
        (segment([entry(0, b"x" * 31), commit()]), "entry"),
        (segment([b"\xff" * 41, commit()]), "entry"),
        (segment([put(key(1), b"data")[:-1] + b"!", commit()]), "crc"),
        (segment([commit(), put(key(1)), commit()]), "after-commit"),
        (segment([put(key(1), b"x" * 100)])[:-60] + commit(), "short"),
    ],
)
def test_what_borg_does_not_write_is_named(tmp_path: Path, data: bytes, expected: str) -> None:
    found = looked(repository(tmp_path, s3=data))
    (one,) = found.malformed
    assert (one.name, one.code) == ("0/3", expected)
    assert [o.name for o in found.objects] == ["0/3"], "its digest is recorded all the same"


def test_what_is_no_file_of_a_repository_is_listed(tmp_path: Path) -> None:
    home = repository(tmp_path, s1=segment([commit()]))
    for name in ("README", "hints.1", "index.1", "integrity.1", "transactions", "lock.roster", "index.2.tmp"):
        (home / name).write_text("x")
    (home / "lock.exclusive").mkdir()
    (home / "lock.exclusive.abcd12.tmp").mkdir()
    (home / ".DS_Store").write_text("x")
    (home / "lost+found").mkdir()
    assert looked(home).stray_count == 0
    (home / "secret").write_text("x")
    (home / "index.²").write_text("x")
    (home / ".hidden").write_bytes(b"x" * 100_000)
    (home / "data/link").symlink_to("/etc")
    (home / "data/00").mkdir()
    (home / "data/0/01").write_text("x")
    (home / "data/0/5000").write_text("x")
    os.mkfifo(home / "data/0/2")
    with (home / "data/0/3").open("wb") as file:
        file.truncate(1 << 30)
    found = looked(home)
    assert {(one.name, one.kind, one.huge) for one in found.strays} == {
        ("secret", "file", False),
        ("index.²", "file", False),
        (".hidden", "file", False),
        ("data/link", "link", False),
        ("data/00", "directory", False),
        ("data/0/01", "file", False),
        ("data/0/5000", "file", False),
        ("data/0/2", "special", False),
        ("data/0/3", "file", True),
    }


def test_many_strays_are_counted_and_few_named(tmp_path: Path) -> None:
    home = repository(tmp_path)
    for number in range(50):
        (home / f"stray{number}").touch()
    found = looked(home)
    assert (len(found.strays), found.stray_count, found.last) == (20, 50, -1)


def test_links_in_place_of_directories_are_not_followed(tmp_path: Path) -> None:
    real = repository(tmp_path / "real", s1=segment([commit()]))
    for name in ("data", "config"):
        home = repository(tmp_path / f"linked-{name}", s1=segment([commit()]))
        (home / name).rename(home / "README")
        (home / name).symlink_to(real / name)
        found = looked(home)
        assert (found.last, found.version) == ((-1, 1) if name == "data" else (-1, 0))


def test_only_what_changed_is_read_again(tmp_path: Path) -> None:
    home = repository(tmp_path, s0=segment([commit()]), s1=segment([put(key(1), b"x" * 5000), commit()]))
    now = (home / "data/0/1").stat().st_ctime
    assert looked(home, after=1, prior=0, since=now + 1).touched == ()
    touched = looked(home, after=1, prior=0, since=now - 1).touched
    assert [one.name for one in touched] == ["0/0", "0/1"]


def test_the_list_of_commits_is_compared_with_its_beginning(tmp_path: Path) -> None:
    home = repository(tmp_path, s1=segment([commit()]))
    (home / "transactions").write_text("transaction 1\n")
    first = looked(home).log
    (home / "transactions").write_text("transaction 1\ntransaction 3\n")
    assert looked(home, log=first.size).log.before == first.digest
    (home / "transactions").write_text("transaction 7\ntransaction 3\n")
    assert looked(home, log=first.size).log.before not in (first.digest, "")
    (home / "transactions").write_text("t\n")
    assert looked(home, log=first.size).log.before == ""


def test_the_memory_does_not_grow_with_the_repository(tmp_path: Path) -> None:
    """300 MiB in one segment, entries of 20 MiB and 200,000 small ones, each deleted again."""
    entries = [put(key(n), b"x" * 20_000_000) for n in range(10)]
    many = [put(key(n), b"y") for n in range(100, 200_100)] + [delete(key(n)) for n in range(100, 200_100)]
    home = repository(tmp_path, s1=segment(entries), s2=segment([*many, commit()]))
    del entries, many
    code = (
        "import resource, json, sys\n"
        "from zborg.borg.storage.reader import Look, look_at\n"
        "from zborg.process import LocalRunner\n"
        f"(found,) = look_at(LocalRunner(), [Look({str(home)!r}, after=0, prior=0)], seconds=200)\n"
        "used = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss\n"
        "print(json.dumps([used, found.transactions[0].deletes]))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    kib, deletes = json.loads(done.stdout)
    assert deletes == 200_000
    assert kib < 100 << 10, f"{kib} KiB"


# --- fuzzed -----------------------------------------------------------------------------------------------


GOOD = segment(
    [put(MANIFEST, b"m" * 50), put(key(1), b"a" * 30), delete(key(1)), put(key(2), b"b" * 300), commit()]
)


def worked(data: bytes) -> Work:
    """Read as the program does; anything but a Malformed inside is an error."""
    work = Work(after=0, prior=-1)
    is_committed(io.BytesIO(data))
    size, digest = work.take(3, "0/3", io.BytesIO(data))
    assert (size, len(digest)) == (len(data), 64)
    return work


@given(st.binary(max_size=300))
@settings(max_examples=300)
def test_no_bytes_are_more_than_a_finding(data: bytes) -> None:
    worked(data)
    worked(segments._MAGIC + data)
    worked(segments._MAGIC + data + commit())


@pytest.mark.parametrize("count", [20_000, pytest.param(1_000_000, marks=pytest.mark.deep)])
def test_mutated_segments_are_read_to_their_end(count: int) -> None:
    rng = random.Random(count)
    malformed = 0
    for _ in range(count):
        data = bytearray(GOOD)
        for _ in range(rng.randint(1, 4)):
            match rng.randrange(4):
                case 0:
                    data[rng.randrange(len(data))] = rng.randrange(256)
                case 1:
                    del data[rng.randrange(len(data)) :]
                case 2:
                    place = rng.randrange(len(data))
                    data[place:place] = rng.randbytes(rng.randint(1, 9))
                case _:
                    place = rng.randrange(len(data) - 4)
                    data[place : place + 4] = rng.choice([b"\xff" * 4, bytes(4), b"\x00\x00\x40\x01"])
            if len(data) < 10:
                break
        malformed += bool(worked(bytes(data)).broken)
    assert malformed > count // 2, "most were harmed"


@given(
    st.text(max_size=200)
    | st.lists(
        st.sampled_from(
            [
                "0 version 1",
                "0 config - 0",
                "0 end",
                "0 failed open 2",
                "0 last 5 3",
                "0 object 0/1 5 " + "a" * 64,
                "0 transaction 1 2 3 4 5 6 7",
                "0 stray file 5 6162",
                "0 stray file 5 zz",
                "0 broken 0/1 5 crc",
                "1 end",
                "0 log 5 - -",
                "0 total x y",
                "0 nonce zz",
                "0 failed",
                "0 unknown 1",
            ]
        ),
        max_size=12,
    ).map("\n".join)
)
def test_no_answer_is_more_than_unreadable(text: str) -> None:
    for one in parse(text, 2):
        assert isinstance(one, News | Unreadable)
        assert isinstance(one, News) or one.reason


def test_answers_that_are_none_have_a_reason() -> None:
    def reason(text: str) -> str:
        (one,) = parse(text, 1)
        assert isinstance(one, Unreadable)
        return one.reason

    assert reason("") == reason("0 version 1") == "the program that reads it ended without an answer"
    assert reason("0 failed timeout 0") == "it was not read in time"
    assert reason("0 failed output 0") == "more was found in it than a repository can have"
    assert reason("0 failed open 2") == "its snapshot's directory cannot be opened (errno 2)"
    assert reason("0 failed status 9") == "the program that reads it ended early (wait status 9)"
    assert not parse("0 failed open 2", 1)[0].begun  # type: ignore[union-attr]  # seen above
    (one,) = parse("0 version 1\n0 broken 0/7 49 crc\n0 end", 1)
    assert isinstance(one, News) and one.malformed == (Malformed("0/7", 49, "crc"),)


def test_one_that_takes_too_long_is_ended_and_the_next_is_read(tmp_path: Path) -> None:
    slow = repository(tmp_path / "slow", s1=segment([commit()]))
    with (slow / "data/0/0").open("wb") as file:
        file.truncate(480 << 20)  # all of it is read for its digest
    fine = repository(tmp_path / "fine", s1=segment([commit()]))
    first, second = look_at(LocalRunner(), [Look(str(slow)), Look(str(fine))], seconds=0.05)
    assert first == Unreadable("it was not read in time")
    assert isinstance(second, News | Unreadable)


def test_it_runs_as_the_user_whose_repository_it_is(tmp_path: Path) -> None:
    """And reads nothing else: a link, another host's file, a file of root's."""
    if os.geteuid():
        pytest.fail("the tests run as root, as the storage's commands do")
    home = repository(tmp_path / "home", s1=segment([commit()]))
    for path in (home, *home.rglob("*")):
        os.chown(path, 71_000, 71_000)
    assert looked(home).last == 1
    os.chown(home / "config", 0, 0)
    (home / "config").chmod(0o600)
    assert looked(home).version == 0, "root's own file is not read"
