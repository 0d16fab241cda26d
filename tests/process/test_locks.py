"""zborg.state.locks: real processes that hold, die and leave children behind."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from tests.harness.watch import HANG
from zborg.errors import Busy, Exit
from zborg.process import LocalRunner
from zborg.state.locks import Locks, process_start

# Holds host-web1 with one adopted child, says the child's pid, and waits to be killed. The child is started
# without a parent-death signal, as on a system that has none.
HOLDER = """
import subprocess, sys, time
from pathlib import Path
from zborg.process import Process
from zborg.state.locks import Locks
with Locks(Path(sys.argv[1]), "zborg backup web1").hold("host-web1") as lock:
    argv = ["sh", "-c", sys.argv[2]]
    child = subprocess.Popen(argv, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, start_new_session=True)
    assert child.stderr.readline() == b"ready\\n"
    lock.adopt(Process(argv, child))
    print(child.pid, flush=True)
    time.sleep(300)
"""
SLEEPER = "echo ready >&2; exec sleep 300"
STUBBORN = "trap '' TERM; echo ready >&2; while :; do sleep 0.2; done"


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def until(true: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + HANG
    while not true():
        assert time.monotonic() < deadline, f"waited in vain: {what}"
        time.sleep(0.01)


@contextmanager
def holder(directory: Path, child: str = SLEEPER) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """(the process that holds host-web1, its child's pid)."""
    argv = [sys.executable, "-c", HOLDER, str(directory), child]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        pid = int(process.stdout.readline())
        try:
            yield process, pid
        finally:
            process.kill()
            with suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)


def locks(directory: Path) -> Locks:
    return Locks(directory, "zborg test")


def record(directory: Path, **changes: Any) -> Path:
    """What a killed holder leaves."""
    path = directory / "host-web1.owner"
    whole = {"pid": 999_999, "start": "1", "command": "zborg backup", "since": "2026-02-12T14:49:33Z"}
    path.write_text(json.dumps(whole | {"children": []} | changes))
    return path


def test_the_second_is_busy_at_once_and_told_who_holds_it(tmp_path: Path) -> None:
    with holder(tmp_path) as (process, _):
        began = time.monotonic()
        with pytest.raises(Busy) as caught, locks(tmp_path).hold("host-web1"):
            pytest.fail("two hold the lock")
        assert time.monotonic() - began < HANG
        assert caught.value.exit is Exit.LOCKED
        assert re.fullmatch(
            rf"host-web1 is locked by pid {process.pid} \(zborg backup web1\), "
            r"started 20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ",
            caught.value.message,
        )
        with locks(tmp_path).hold("host-web2"):
            pass  # another name is another lock


def test_two_threads_of_one_process_exclude_each_other(tmp_path: Path) -> None:
    with locks(tmp_path).hold("a"), pytest.raises(Busy), locks(tmp_path).hold("a"):
        pytest.fail("two hold the lock")


def test_is_held(tmp_path: Path) -> None:
    assert not locks(tmp_path).is_held("host-web1")
    with holder(tmp_path) as (process, _):
        assert locks(tmp_path).is_held("host-web1")
        assert not locks(tmp_path).is_held("host-web2")
        process.kill()
        process.wait()
        assert not locks(tmp_path).is_held("host-web1")


def test_asking_does_not_take_the_lock_nor_touch_the_record(tmp_path: Path) -> None:
    with locks(tmp_path).hold("a"):
        before = (tmp_path / "a.owner").read_text()
        assert locks(tmp_path).is_held("a")
        assert (tmp_path / "a.owner").read_text() == before
    assert not locks(tmp_path).is_held("a")


def test_the_owner_is_told_while_it_lives(tmp_path: Path) -> None:
    assert locks(tmp_path).owner("host-web1") is None
    with holder(tmp_path) as (process, _):
        owner = locks(tmp_path).owner("host-web1")
        assert owner is not None
        assert (owner.pid, owner.command) == (process.pid, "zborg backup web1")
        process.kill()
        process.wait()
        assert (tmp_path / "host-web1.owner").exists()
        assert locks(tmp_path).owner("host-web1") is None


def test_a_glance_at_the_lock_keeps_nobody_from_it(tmp_path: Path) -> None:
    """is_held() has the lock itself for a moment, and a backup may begin in just that one."""
    glance = FileLock(tmp_path / "a.lock", timeout=0, thread_local=False)
    glance.acquire()
    threading.Timer(0.05, glance.release, [True]).start()
    with locks(tmp_path).hold("a"):
        assert locks(tmp_path).is_held("a")


def test_the_end_of_a_hold_leaves_no_record(tmp_path: Path) -> None:
    with locks(tmp_path).hold("a"):
        owner = json.loads((tmp_path / "a.owner").read_text())
        assert owner["pid"] == os.getpid()
        assert owner["start"] == process_start(os.getpid()) != ""
        assert owner["command"] == "zborg test"
    assert not (tmp_path / "a.owner").exists()
    assert not (tmp_path / "a.new").exists()


def test_an_error_in_the_body_frees_the_lock(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="body"), locks(tmp_path).hold("a"):
        raise ValueError("body")
    with locks(tmp_path).hold("a"):
        assert json.loads((tmp_path / "a.owner").read_text())["children"] == []


@pytest.mark.skipif(sys.platform != "linux", reason="start times are read from /proc")
@pytest.mark.parametrize("child", [SLEEPER, STUBBORN], ids=["ends by SIGTERM", "needs SIGKILL"])
def test_survivors_of_a_killed_holder_are_ended_by_the_next(tmp_path: Path, child: str) -> None:
    with holder(tmp_path, child) as (process, pid):
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert alive(pid), "nobody has ended it yet"
        with locks(tmp_path).hold("host-web1"):
            assert not alive(pid), "ended before the next run touches the repository"
            assert json.loads((tmp_path / "host-web1.owner").read_text())["children"] == []


@pytest.mark.skipif(sys.platform != "linux", reason="start times are read from /proc")
def test_a_reused_pid_is_left_alone(tmp_path: Path) -> None:
    with subprocess.Popen(["sleep", "300"], start_new_session=True) as stranger:
        try:
            other_start = str(int(process_start(stranger.pid)) + 1)
            record(tmp_path, children=[[stranger.pid, other_start], [stranger.pid, ""]])
            with locks(tmp_path).hold("host-web1"):
                assert stranger.poll() is None
        finally:
            stranger.kill()


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b'{"pid": 12, "start": "1", "comm',
        b"[]",
        b"7",
        b"null",
        b'"x"',
        b"\xff\xfe",
        b"[1, 2, 3, 4]",
        b'{"pid": 1}',
        b'{"pid":1,"start":"1","command":"c","since":"s","children":5}',
        b'{"pid":1,"start":"1","command":"c","since":"s","children":null}',
        b'{"pid":1,"start":"1","command":"c","since":"s","children":[1]}',
        b'{"pid":1,"start":"1","command":"c","since":"s","children":[["x","y"]]}',
        b'{"pid":1,"start":"1","command":"c","since":"s","children":[[1]]}',
        b'{"pid":1,"start":"1","command":"c","since":"s","later":"version"}',
    ],
)
def test_a_torn_record_is_no_obstacle(tmp_path: Path, text: bytes) -> None:
    path = tmp_path / "host-web1.owner"
    path.write_bytes(text)
    with locks(tmp_path).hold("host-web1"):
        assert json.loads(path.read_text())["pid"] == os.getpid()
        path.write_bytes(text)
        with pytest.raises(Busy, match="host-web1 is locked by"), locks(tmp_path).hold("host-web1"):
            pytest.fail("two hold the lock")


def test_a_left_lock_file_is_no_lock(tmp_path: Path) -> None:
    (tmp_path / "a.lock").write_text("pid 1")
    with locks(tmp_path).hold("a"):
        assert locks(tmp_path).is_held("a")


def test_children_do_not_inherit_the_lock(tmp_path: Path) -> None:
    """Else a `borg serve` that outlives zborg would look like a run."""
    with locks(tmp_path).hold("a"):
        child = subprocess.Popen(["sleep", "300"])
    try:
        assert not locks(tmp_path).is_held("a")
    finally:
        child.kill()
        child.wait()


def test_the_start_time_of_nobody_is_empty() -> None:
    assert process_start(2**22 + 1) == ""


def test_the_record_does_not_grow_with_children_that_have_ended(tmp_path: Path) -> None:
    """A dataset's lock is held for all of its streams, and each is two children."""
    nothing = os.open(os.devnull, os.O_RDWR)
    runner = LocalRunner()
    with Locks(tmp_path, "zborg replicate").hold("dataset-x") as lock:
        living = runner.start(["sleep", "60"], stdin=nothing, stdout=nothing)
        lock.adopt(living)
        for _ in range(3):
            child = runner.start(["true"], stdin=nothing, stdout=nothing)
            lock.adopt(child)
            child.stop()
        lock.adopt()
        owner = json.loads((tmp_path / "dataset-x.owner").read_text())
        assert owner["children"] == [[living.pid, process_start(living.pid)]]
        living.stop()
    os.close(nothing)
