"""Streams that share one connection, against a real sshd: each lives and dies by itself."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import termios
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.harness.ssh.machine import Machine, master, said, sharing
from tests.harness.watch import until
from zborg.hosts.ssh.connection import SshRunner
from zborg.hosts.ssh.reasons import explain
from zborg.model import Child
from zborg.streams import pipe, pump


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    machine = Machine(tmp_path_factory.mktemp("machine"))
    yield machine
    machine.sshd.stop()


@pytest.fixture
def runner(machine: Machine, tmp_path: Path) -> Iterator[SshRunner]:
    made = sharing(machine.endpoint(), tmp_path)
    yield made
    made.close()


def lives(pid: int) -> bool:
    """A process, and none that has ended and waits for its parent. It may end while it is looked at."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


class Talk:
    """A command that answers what it is told, until its stdin ends."""

    def __init__(self, runner: SshRunner) -> None:
        with pipe() as (reading, self.say), pipe() as (self.hear, writing):
            self.child: Child = runner.start(["sh", "-c", "echo $$; cat"], stdin=reading, stdout=writing)
            self.say, self.hear = os.dup(self.say), os.dup(self.hear)
        self.pid = int(self.answer())

    def answer(self, word: str = "") -> str:
        os.write(self.say, word.encode())
        return os.read(self.hear, 1000).decode()

    def end(self) -> int:
        os.close(self.say)
        os.close(self.hear)
        return pump({"it": self.child}, lambda _, __: None, timeout=120)["it"]


def test_streams_share_one_connection_and_their_data_stays_apart(machine: Machine, runner: SshRunner) -> None:
    before = machine.accepted()
    talks = [Talk(runner) for _ in range(4)]
    assert [talk.answer(f"{number}") for number, talk in enumerate(talks)] == ["0", "1", "2", "3"]
    assert [talk.end() for talk in talks] == [0] * 4
    for status in (0, 9):
        assert said(runner, "sh", "-c", f"echo gone >&2; exit {status}") == (status, "gone")
    assert machine.accepted() == before + 1


def test_one_that_is_stopped_ends_over_there_and_the_others_go_on(runner: SshRunner) -> None:
    first, second = Talk(runner), Talk(runner)
    first.child.stop()
    until(lambda: not lives(first.pid), "its command has ended")
    assert second.answer("still here") == "still here"
    assert second.end() == 0
    first.end()


def test_it_outlives_the_thread_that_started_the_first_stream(runner: SshRunner) -> None:
    """As when one of two targets is done, and both are sent from the same storage."""
    talks: list[Talk] = []
    thread = threading.Thread(target=lambda: talks.append(Talk(runner)))
    thread.start()
    thread.join()
    pid = master(runner)
    talks[0].end()  # with its thread the stream itself may end: not what is looked at here
    other = Talk(runner)
    assert master(runner) == pid and lives(pid)
    assert other.end() == 0


def test_when_it_breaks_its_streams_end_at_once_and_the_next_one_makes_it_anew(
    machine: Machine, runner: SshRunner
) -> None:
    before, talk = machine.accepted(), Talk(runner)
    first = master(runner)
    os.kill(first, signal.SIGKILL)
    assert talk.end() == 255
    assert said(runner, "true")[0] == 0
    assert master(runner) != first and machine.accepted() == before + 2


def test_more_streams_than_the_other_side_lets_share(tmp_path: Path) -> None:
    machine = Machine(tmp_path, "Match all", "MaxSessions 2")
    runner = sharing(machine.endpoint(), tmp_path)
    try:
        talks = [Talk(runner) for _ in range(4)]
        assert [talk.answer("here") for talk in talks] == ["here"] * 4
        assert [talk.end() for talk in talks] == [0] * 4
        assert machine.accepted() == 3, "two had to connect by themselves"
    finally:
        runner.close()
        machine.sshd.stop()


def test_no_words_of_the_other_side_can_stop_it(tmp_path: Path) -> None:
    """Nobody reads what it says: with its pipe full it would wait for ever, and all streams with it."""
    (banner := tmp_path / "banner").write_text("Welcome to the off-site\n" * 5000)
    machine = Machine(tmp_path, "Match all", "MaxSessions 1", f"Banner {banner}")
    runner = sharing(machine.endpoint(), tmp_path)
    try:
        talk = Talk(runner)
        pid = master(runner)
        assert said(runner, "true")[0] == 0  # refused on it, which it says as well
        assert runner._shared is not None and runner._shared._master is not None
        (unread,) = struct.unpack("i", fcntl.ioctl(runner._shared._master.stderr, termios.FIONREAD, bytes(4)))
        assert unread == 0 and lives(pid)
        assert talk.end() == 0
    finally:
        runner.close()
        machine.sshd.stop()


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty directory for temporary files; a socket's name is short."""
    path = Path(f"/tmp/zborg-left-{os.getpid()}")  # noqa: S108  # as above
    path.mkdir(mode=0o700)
    monkeypatch.setattr("tempfile.tempdir", str(path))
    yield path
    shutil.rmtree(path)


def test_what_a_killed_run_left_goes_with_a_later_one(machine: Machine, tmp_path: Path, place: Path) -> None:
    """And nothing else: not what is young, what is in use, or what is not its own."""
    left, young, used, other = (place / f"zborg-ssh-{n}" for n in ("left", "young", "used", "other"))
    for directory in (left, young, used):
        directory.mkdir()
    other.symlink_to(tmp_path)
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(left / "socket"))
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(used / "socket"))
        listening.listen()
        for directory in (left, used, other):
            os.utime(directory, (0, 0), follow_symlinks=False)
        runner = sharing(machine.endpoint(), tmp_path)
        assert said(runner, "true")[0] == 0
        runner.close()
    assert sorted(place.iterdir()) == sorted([young, used, other])
    assert tmp_path.is_dir()


def test_without_a_place_for_its_socket_every_stream_connects_by_itself(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk may be full just when a copy is wanted most."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "nowhere"))
    before, runner = machine.accepted(), sharing(machine.endpoint(), tmp_path)
    assert [said(runner, "true")[0] for _ in range(2)] == [0, 0]
    assert machine.accepted() == before + 2
    runner.close()


def test_where_none_can_be_made_the_streams_own_failure_is_told(machine: Machine, tmp_path: Path) -> None:
    nowhere = replace(machine.endpoint(), port=1)
    runner = sharing(nowhere, tmp_path)
    status, words = said(runner, "true")
    assert "no connection to web1" in explain("web1", nowhere, status, words).message
    runner.close()


def test_nothing_is_left_of_it(machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (short := Path(f"/tmp/zborg-left-{os.getpid()}")).mkdir(mode=0o700)  # noqa: S108  # a socket's name is short
    monkeypatch.setattr("tempfile.tempdir", str(short))
    runner = sharing(machine.endpoint(), tmp_path)
    assert said(runner, "true")[0] == 0
    (directory,) = short.iterdir()
    assert directory.stat().st_mode & 0o777 == 0o700
    pid = master(runner)
    runner.close()
    assert not lives(pid)
    short.rmdir()  # only an empty one can be


_KILLED = """
import sys, time
from pathlib import Path
from tests.harness.ssh.machine import master, said, sharing
from zborg.model import Endpoint
runner = sharing(Endpoint(*sys.argv[2:4], int(sys.argv[4]), *sys.argv[5:]), Path(sys.argv[1]))
said(runner, "true")
print(master(runner), flush=True)
time.sleep(60)
"""


def test_it_ends_with_a_zborg_that_is_killed(machine: Machine, tmp_path: Path) -> None:
    one = machine.endpoint()
    words = [str(tmp_path), one.user, one.address, str(one.port), one.host_key, one.identity]
    with subprocess.Popen([sys.executable, "-c", _KILLED, *words], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        pid = int(process.stdout.readline())
        assert lives(pid)
        process.kill()
    until(lambda: not lives(pid), "it has ended too")
