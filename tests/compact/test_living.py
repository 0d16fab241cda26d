"""What is alive in a repository, by headers alone: against a plain dictionary that does the same."""

from __future__ import annotations

import hashlib
import os
import random
import struct
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.harness.audit.segments import MANIFEST, commit, delete, key, put, segment
from zborg.borg.storage import living as program
from zborg.borg.storage import segments
from zborg.borg.storage.reader import Look, look_at, parse
from zborg.borg.storage.reading import Data, Strays
from zborg.model.ledger.sealed import Living, Lost, News
from zborg.process import LocalRunner

CONFIG = "[repository]\nversion = 1\nsegments_per_dir = 1000\nid = 5a\n"
ENTRIES = st.lists(
    st.tuples(st.sampled_from(["put", "delete", "commit"]), st.integers(0, 12), st.integers(0, 300)),
    max_size=40,
)


def written(home: Path, files: list[bytes]) -> Path:
    (home / "data/0").mkdir(parents=True)
    (home / "config").write_text(CONFIG)
    for number, data in enumerate(files):
        (home / f"data/0/{number}").write_bytes(data)
    return home


def looked(home: Path, lost: tuple[int, ...] = ()) -> Living:
    (found,) = look_at(LocalRunner(), [Look(str(home), lost=lost)], seconds=60)
    assert isinstance(found, News) and found.living, found
    return found.living


def test_what_is_alive_is_counted_and_what_is_dead_can_be_freed(tmp_path: Path) -> None:
    home = written(
        tmp_path,
        [
            segment([put(MANIFEST, b"m" * 100), put(key(1), b"a" * 1000), put(key(2), b"b" * 5000)]),
            segment([commit()]),
            segment([delete(MANIFEST), put(MANIFEST, b"m" * 50), delete(key(2)), commit()]),
            segment([delete(key(1))]),  # never committed
        ],
    )
    found = looked(home, lost=(2, 1))
    assert (found.objects, found.bytes, found.manifest) == (2, 41 + 1000 + 41 + 50, 50)
    dead = 41 + 100 + 41 + 5000  # the first manifest and the deleted object
    deletes = 41 + 41
    assert (found.gain, found.copied) == (dead + deletes, 41 + 1000 + 41 + 50)
    assert found.lost == (Lost(2, 2, 41 + 100 + 41 + 5000), Lost(1, 0, 0))


def test_what_is_not_asked_for_is_not_read(tmp_path: Path) -> None:
    home = written(tmp_path, [segment([put(key(1), b"a"), commit()])])
    (found,) = look_at(LocalRunner(), [Look(str(home))], seconds=60)
    assert isinstance(found, News) and found.living is None


def test_an_empty_repository_has_nothing_alive(tmp_path: Path) -> None:
    found = looked(written(tmp_path, []))
    assert (found.objects, found.bytes, found.manifest, found.gain) == (0, 0, -1, 0)


@settings(max_examples=200)
@given(entries=ENTRIES, split=st.integers(1, 7), together=st.integers(1, 5))
def test_any_history_gives_what_a_dictionary_gives(
    tmp_path_factory: pytest.TempPathFactory,
    entries: list[tuple[str, int, int]],
    split: int,
    together: int,
) -> None:
    """However many entries a segment has, and however many groups the ids are looked at in."""
    home = tmp_path_factory.mktemp("home")
    rng = random.Random(split)
    parts, alive, open_ = [], dict[bytes, bytes](), dict[bytes, bytes]()
    for kind, number, size in [*entries, ("commit", 0, 0)]:
        name = hashlib.sha256(bytes([number])).digest()  # ids are hashes: all groups have some
        if kind == "put":
            made = put(name, rng.randbytes(size))
            open_[name] = made
        elif kind == "delete":
            made = delete(name)
            open_.pop(name, None)
        else:
            made = commit()
            alive = dict(open_)
        parts.append((kind, made))
    files: list[list[bytes]] = [[]]
    for kind, made in parts:
        files[-1].append(made)
        if kind == "commit" or len(files[-1]) == split:
            files.append([])
    written(home, [segment(some) for some in files if some])
    expected = hashlib.sha256()
    for name in sorted(alive):
        size, crc = len(alive[name]), int.from_bytes(alive[name][:4], "little")
        expected.update(name + struct.pack("<II", size, crc))
    descriptor = os.open(home, os.O_RDONLY)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(program, "_TOGETHER", together)
        data = Data(descriptor, 1000, Strays(1 << 30))
        last = data.last_commit(segments.is_committed)
        lines = list(program.Living(data, segments, last, []).lines())
    data.close()
    os.close(descriptor)
    count, total, digest, _ = lines[0].split()[1:]
    assert (int(count), int(total)) == (len(alive), sum(map(len, alive.values())))
    assert digest == expected.hexdigest()


@given(
    text=st.lists(
        st.sampled_from(["living", "gain", "lost", "1", "-1", "x", "\x1b", "a" * 64, ""]), max_size=9
    )
)
def test_no_answer_of_the_reader_raises(text: list[str]) -> None:
    """Its lines come from a process that looked at what a hostile host may have made."""
    (found,) = parse(f"0 version 1\n0 {' '.join(text)}\n0 end\n", 1)
    assert found is not None
