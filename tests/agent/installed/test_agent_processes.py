"""How many processes the agent starts before borg starts: each is a fork that every host pays every night.

Counted by their numbers. In a namespace of its own, where nothing else starts, they follow each other:
between the agent's and that of borg lie all that the agent started, subshells too.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness.machines.agent import A1, A2, Lab
from tests.harness.machines.host import find_borg

BEFORE_BORG = 10
# Debian's busybox has no flock(1): its lock is a symbolic link, which is read before it is made.
BY_LINK = 11
A3, A4 = "web1-2026-01-03T000000Z", "web1-2026-01-04T000000Z"
WORD = f"backup1/1f2e3d4c@5@{'A' * 43}=@{'B' * 91}="


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of its own, with room: on one that is nearly full the agent has more to ask."""
    place = tmp_path / "disk"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=200m,mode=700", "tmpfs", place], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", place], check=True)


def counting(lab: Lab) -> Path:
    """A borg that first writes down how many processes were started since the agent, itself not counted."""
    counts = lab.host.directory / "counts"
    counted = f'case " $* " in *" create "*) echo $(($$ - PPID - 1)) >>{counts} ;; esac\n'
    lab.configure(borg=lab.script("counting", f'{counted}exec {find_borg()} "$@"\n'))
    return counts


def fill(disk: Path) -> None:
    """More than two thirds."""
    left = os.statvfs(disk)
    with (disk / "fill").open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, int(left.f_bavail * left.f_bsize * 0.9))


@pytest.mark.parametrize(("shell", "most"), [("sh", BEFORE_BORG), ("busybox", BY_LINK)])
def test_an_unchanged_backup_starts_ten_processes_before_borg(
    disk: Path, enrolled: Path, shell: str, most: int
) -> None:
    lab = Lab(disk, shell, "auto", own_pids=True)
    lab.init(enrolled)
    (lab.host.state / "python").unlink(missing_ok=True)
    counts = counting(lab)
    with lab.host:
        lab.ok("create", "web1", A1)
        lab.ok("create", "web1", A2)
        lab.ok("create", "web1", A3, WORD)
        fill(disk)
        lab.ok("create", "web1", A4)
    first, *others = map(int, counts.read_text().split())
    assert first == most + 1, "whether python3 starts is found out once"
    assert others == [most, most, most + 1], "on a full disk the size of the cache is asked, too"
