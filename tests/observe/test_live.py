"""What is shown while a step works: rows on a terminal, lines in a log."""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from zborg.cli.command.live import Plain
from zborg.cli.command.screen import Screen
from zborg.cli.command.tally import Tally
from zborg.model import Event, Status
from zborg.model.events import Finished, Paced, Planned, Progress, Started, Waiting, Warned
from zborg.steps.replicate.stream import Meter

GIB = 1 << 30


class Seconds:
    """A clock that is turned by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def planned(parallel: int, **expected: float | None) -> Event:
    return Planned("backup", parallel=parallel, expected=expected)


def progress(name: str, files: int, size: int, **more: Any) -> Event:
    return Progress(name, files=files, bytes=size, **more)


def ended(name: str, status: str = "ok") -> Event:
    return Finished(name, status=Status(status))


def feed(take: Callable[[Event], None], *events: Event) -> None:
    for event in events:
        take(event)


# --- the screen ---------------------------------------------------------------------------------------


def test_a_row_for_each_at_work_and_one_for_all() -> None:
    clock = Seconds()
    screen = Screen(clock)
    expected: dict[str, float | None] = {
        "web1": 3600.0,
        "production-database-01": None,
        "web2": 600.0,
        "web3": 60.0,
    }
    feed(screen.take, planned(3, **expected))
    feed(screen.take, *(Started(name) for name in list(expected)[:3]))
    feed(screen.take, Waiting("web2", seconds=9.0))
    feed(screen.take, progress("web1", 10, GIB), progress("production-database-01", 1, GIB))
    clock.now += 4
    feed(screen.take, progress("web1", 120_000, 3 * GIB, path="/srv/www/example.net/static/logo.svg"))
    assert screen.rows(80, 24) == [
        "web1                    120000 files     3.0 GiB   512.0 MiB/s  …static/logo.svg",
        "production-da…ase-01         1 files     1.0 GiB     0 bytes/s",
        "web2                  waits, 5.0 s more",
        "0 of 4 hosts, 3 at work, 4.0 GiB, about 59 minutes left",
    ]
    feed(screen.take, ended("web1"), ended("web2", "failed"), ended("production-database-01"))
    feed(screen.take, Started("web3"))
    assert screen.rows(80, 24)[-1] == "3 of 4 hosts, 1 not good, 1 at work, 4.0 GiB, about 60 seconds left"
    feed(screen.take, ended("web3"))
    assert screen.rows(80, 24) == []


def test_who_does_not_allow_it_now_is_not_counted_as_bad() -> None:
    tally = Tally(Seconds())
    feed(tally.take, planned(2, web1=None, web2=None), ended("web1", "skipped"))
    assert tally.words() == "1 of 2 hosts, 0 at work, 0 bytes"


def test_a_rate_sinks_while_nothing_comes() -> None:
    clock = Seconds()
    tally = Tally(clock)
    for second in range(30):
        clock.now += 1
        tally.take(progress("web1", second, second * 1000))
    assert 900 < tally.running["web1"].rate(clock.now) <= 1000
    clock.now += 90
    assert tally.running["web1"].rate(clock.now) < 120


def test_a_stream_tells_its_bytes_its_rate_and_what_is_left(capsys: pytest.CaptureFixture[str]) -> None:
    """From the lines of `zfs send -vP`, on a terminal and in a log."""
    screen, plain, subject = Screen(Seconds()), Plain(0, Seconds()), "offsite:vault/zborg/web1"
    seen: list[Event] = []
    meter = Meter(seen.append, subject)
    for line in ("full\ttank/borg/web1@a\t20971520", "size\t20971520", "12:00:01\t5242880\ttank/borg/web1@a"):
        assert meter.feed(line)
    (event,) = seen
    assert isinstance(event, Progress) and event.rate and event.remaining
    event = event.replace(rate=1 << 20, remaining=15.0)  # its own is by the clock
    feed(screen.take, event)
    plain(event)
    told = "5.0 MiB of 20.0 MiB, 1.0 MiB/s, 15.0 s left"
    assert screen.rows(80, 24) == [f"offsite:vault…g/web1  {told}"]
    assert capsys.readouterr().err == f"{subject}: {told}\n"


def test_of_more_than_fit_the_rest_is_counted() -> None:
    screen = Screen(Seconds())
    names = [f"h{number}" for number in range(200)]
    feed(screen.take, planned(200, **dict.fromkeys(names)), *(Started(name) for name in names))
    rows = screen.rows(80, 24)
    assert len(rows) == 23
    assert rows[-2:] == ["and 179 more at work", "0 of 200 hosts, 200 at work, 0 bytes"]


def test_what_a_host_says_cannot_steer_the_terminal() -> None:
    screen = Screen(Seconds())
    screen.take(progress("web1", 1, 1, path="/a\x1b[2J/b\r\n\x9b31m/red\u202eko\u2028"))
    (row,) = screen.rows(120, 24)
    assert row.endswith("/a [2J/b   31m/red ko ")


NAMES = st.sampled_from(["a", "web1", "production-database-server-0001"])
EVENTS = st.one_of(
    st.builds(progress, NAMES, st.integers(0, 10**8 - 1), st.integers(0, 2**50), path=st.text(max_size=300)),
    st.builds(progress, NAMES, st.integers(0, 9), st.integers(0, 2**50)),
    st.builds(lambda name: Started(name), NAMES),
    st.builds(ended, NAMES, st.sampled_from(["ok", "failed"])),
    st.builds(lambda name, s: Waiting(name, seconds=s), NAMES, st.floats(0, 1e6)),
    st.just(Progress("offsite:vault/zborg/web1", bytes=5, total=9, rate=1)),
    st.builds(lambda n: planned(n, a=None, web1=60.0), st.integers(1, 9)),
)


@given(st.lists(EVENTS, max_size=12), st.integers(80, 200), st.integers(4, 60))
def test_no_row_is_too_wide_and_there_never_are_too_many(
    events: list[Event], width: int, height: int
) -> None:
    screen = Screen(Seconds())
    feed(screen.take, *events)
    rows = screen.rows(width, height)
    assert len(rows) < height
    assert all(cell_len(row) <= width for row in rows)


TERMINAL = """
import time
from zborg.cli.command.live import Way, listener
from zborg.model.events import Planned, Progress, Started, Warned
from zborg.steps.replicate.stream import Meter
with listener(Way.USUAL, verbose=False) as emit:
    emit(Planned("backup", parallel=1, expected={"web1": 5.0}))
    emit(Started("web1"))
    emit(Warned("web1", "no connection [bold]"))
    emit(Progress("web1", files=7, bytes=1 << 20, path="/etc/motd"))
    time.sleep(1.2)
print("the report")
"""


def on_terminal(**environment: str) -> str:
    """What the listener writes to a terminal of 80 columns, and then the report."""
    ours, theirs = pty.openpty()
    env = {**os.environ, "COLUMNS": "80", "LINES": "24", "TERM": "xterm-256color"} | environment
    child = subprocess.Popen(
        [sys.executable, "-c", TERMINAL], stdin=theirs, stdout=theirs, stderr=theirs, env=env
    )
    os.close(theirs)
    told = b""
    while select.select([ours], [], [], 20)[0]:
        try:
            told += os.read(ours, 65536)
        except OSError:  # EIO: the terminal has no writer any more
            break
    os.close(ours)
    assert child.wait(20) == 0
    return told.decode()


def test_on_a_terminal_rows_are_drawn_in_place_and_cleared() -> None:
    told = on_terminal(NO_COLOR="1")
    assert "web1: no connection [bold]\r\n" in told  # stays, as it is
    assert re.search(r"web1 +7 files +1\.0 MiB +0 bytes/s +/etc/motd", told)
    assert "0 of 1 host, 1 at work, 1.0 MiB, about " in told
    assert "\x1b[2K" in told.partition("the report")[0].rpartition("0 of 1 host")[2], "the rows are cleared"
    assert re.findall(r"\x1b\[[0-9;]*m", told) == []


def test_a_dumb_terminal_gets_plain_lines() -> None:
    told = on_terminal(TERM="dumb")
    assert "web1: started\r\n" in told
    assert "\x1b" not in told


# --- plain lines --------------------------------------------------------------------------------------


def test_plain_lines_now_and_then_and_one_for_all(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Seconds()
    plain = Plain(60.0, clock)
    feed(plain, planned(1, web1=600.0, web2=None), Started("web1"))
    for _ in range(130):
        clock.now += 1
        plain(progress("web1", 5, GIB, path="/etc/motd"))
    feed(
        plain,
        ended("web1", "failed"),
        Started("web2"),
        Warned("web2", "tried\x1b[1m again"),
    )
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "web1: started",
        "web1: 5 files, 1.0 GiB",
        "all: 0 of 2 hosts, 1 at work, 1.0 GiB, about 19 minutes left",
        "web1: 5 files, 1.0 GiB",
        "all: 0 of 2 hosts, 1 at work, 1.0 GiB, about 18 minutes left",
        "web2: started",
        "web2: tried [1m again",
    ]


def test_another_number_of_hosts_at_once_counts_in_what_is_left_and_is_shown_with_verbose(
    capsys: pytest.CaptureFixture[str],
) -> None:
    changes = Paced("backup", "4 hosts at once, 1 before", parallel=4), Paced("backup", "1 to 4 hosts")
    tally = Tally(Seconds())
    feed(tally.take, planned(1, **{f"web{n}": 600.0 for n in range(8)}))
    assert tally.left() == 8 * 600.0
    feed(tally.take, *changes)
    assert tally.left() == 2 * 600.0
    feed(Plain(60.0, Seconds()), *changes)
    assert capsys.readouterr().err == ""
    feed(Plain(60.0, Seconds(), verbose=True), *changes)
    assert capsys.readouterr().err == "backup: 4 hosts at once, 1 before\nbackup: 1 to 4 hosts\n"
