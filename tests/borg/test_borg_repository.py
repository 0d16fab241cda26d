"""What a killed `borg init` leaves, and what must never be taken for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from zborg.borg.storage.repository import entries, left_by_init
from zborg.process import LocalRunner

# borg 1.4.5: SaveFile writes NAME-RANDOM.tmp, the exclusive lock is made as NAME.RANDOM.tmp, others NAME.tmp.
LEFT = "README config config.old config-a1b2c3d4.tmp nonce nonce-a_b2c3d4.tmp lock.exclusive lock.roster"
LEFT += " lock.exclusive.jdfhammt.tmp lock.roster-a1b2c3d4.tmp hints.1 index.1.tmp integrity.0 index.12"
OTHERS = "transactions web1 config.old.bak README.txt.bak .zfs hints index.x lock lock.other configuration"


def looks_left(home: Path) -> bool:
    runner = LocalRunner()
    return left_by_init(runner, str(home), entries(runner, str(home)))


@pytest.mark.parametrize("name", LEFT.split())
def test_names_of_an_init_that_was_killed(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    assert looks_left(tmp_path)


@pytest.mark.parametrize("name", OTHERS.split())
def test_names_of_anything_else(tmp_path: Path, name: str) -> None:
    (tmp_path / "config").touch()
    (tmp_path / name).touch()
    assert not looks_left(tmp_path)


@pytest.mark.parametrize(
    ("segments", "left"),
    [
        ([], True),
        ([530], True),
        ([530, 17], True),
        ([530, 17, 17], False),
        ([5000], False),
        ([530, 1025], False),
    ],
)
def test_more_data_than_an_init_writes_is_a_repository(
    tmp_path: Path, segments: list[int], left: bool
) -> None:
    data = tmp_path / "data" / "0"
    data.mkdir(parents=True)
    (tmp_path / "config").touch()
    for number, size in enumerate(segments):
        (data / str(number)).write_bytes(bytes(size))
    assert looks_left(tmp_path) == left
