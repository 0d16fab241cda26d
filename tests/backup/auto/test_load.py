"""zborg.load: what this machine says, in Linux's own form and without one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zborg.load import Load, meminfo, memory_and_swap

pytestmark = pytest.mark.unit

MEMINFO = "MemTotal:  1000 kB\nMemFree: 10 kB\nMemAvailable:  100 kB\nSwapTotal:  24 kB\nHugePages_Total: 0\n"


def write(proc: Path, **files: str) -> None:
    for name, text in files.items():
        (proc / name).write_text(text)


def ticks(user: int, idle: int, waits: int) -> str:
    return f"cpu  {user} 0 0 {idle} {waits} 0 0 0 {user} 0\ncpu0 1 2 3\n"


def test_idle_is_a_share_of_the_time_since_the_last_look(tmp_path: Path) -> None:
    write(tmp_path, stat=ticks(100, 100, 100))
    load = Load(tmp_path)
    write(tmp_path, stat=ticks(130, 150, 120))
    assert load.idle() == 0.5, "to wait for a disk is not idle, and a guest's time counts once"
    write(tmp_path, stat=ticks(140, 150, 120))
    assert load.idle() == 0.0
    assert load.idle() == 0.0, "no time has passed"
    write(tmp_path, stat=ticks(140, 151, 120))
    assert load.idle() == 1.0


def test_without_linux_s_account_the_load_average_stands_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load = Load(tmp_path)
    for average, idle in ((0.0, 1.0), (load.processors / 2, 0.5), (99.0 * load.processors, 0.0)):
        monkeypatch.setattr(os, "getloadavg", lambda average=average: (average, 0.0, 0.0))
        assert load.idle() == idle
    assert load.available() is None
    assert load.memory() == os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    monkeypatch.setattr(os, "sysconf", lambda name: int("no such name"))
    assert load.memory() is None


def test_what_zfs_gives_back_is_available(tmp_path: Path) -> None:
    write(tmp_path, meminfo=MEMINFO)
    load = Load(tmp_path)
    assert (load.available(), load.memory()) == (0.1, 1024 << 10)
    arc = tmp_path / "spl" / "kstat" / "zfs"
    arc.mkdir(parents=True)
    (arc / "arcstats").write_text(f"13 1 0x01 1\nname type data\nc_min 4 {100 << 10}\nsize 4 {300 << 10}\n")
    assert load.available() == 0.3


def test_this_machine_has_memory_and_processors() -> None:
    load = Load()
    assert 0 <= load.idle() <= 1
    assert load.processors >= 1
    assert (load.memory() or 0) > 1 << 27


@given(st.text() | st.just(MEMINFO))
def test_anything_may_stand_in_meminfo(text: str) -> None:
    """It may be another machine's."""
    assert memory_and_swap(text) >= 0
    assert all(value >= 0 for value in meminfo(text).values())
