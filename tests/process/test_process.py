"""zborg.process: real children, real pipes, real kills."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from zborg.errors import CommandFailed, Exit, Interrupted, TimedOut, ZborgError
from zborg.interrupt import cancelled
from zborg.model import Child
from zborg.process import LocalRunner, Process
from zborg.state.locks import process_start
from zborg.streams import chain, join, pipe, pump

SH = "/bin/sh"
SOON = 10.0  # seconds; what should happen at once must have happened by then, on a busy machine too


@pytest.fixture(autouse=True)
def not_cancelled() -> Iterator[None]:
    cancelled.clear()
    yield
    cancelled.clear()


def until(true: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + SOON
    while not true():
        assert time.monotonic() < deadline, f"waited in vain: {what}"
        time.sleep(0.01)


def alive(pid: int) -> bool:
    """Runs, and is not only waiting to be reaped."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def number_in(path: Path) -> int:
    until(lambda: path.exists() and path.read_text().endswith("\n"), f"{path.name} is written")
    return int(path.read_text())


def sh(script: str, *args: str) -> list[str]:
    return [SH, "-c", script, "sh", *args]


def start(script: str, *args: str) -> Process:
    child = LocalRunner().start(sh(script, *args), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    assert isinstance(child, Process)
    return child


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


# --- LocalRunner.run -------------------------------------------------------------------------------


def test_run_gives_both_streams_and_the_status() -> None:
    done = LocalRunner().run(sh("echo out; echo err >&2"))
    assert (done.status, done.stdout, done.stderr) == (0, "out\n", "err\n")


def test_run_passes_stdin_whole() -> None:
    text = "ä line\n" * 100_000
    assert LocalRunner().run(["cat"], stdin=text).stdout == text


def test_a_command_that_wants_no_input_is_not_blamed_for_it() -> None:
    assert LocalRunner().run(["true"], stdin="x" * 1_000_000).status == 0


def test_a_command_that_says_too_much_is_ended() -> None:
    for script in ("exec yes", "exec yes >&2"):
        began = time.monotonic()
        with pytest.raises(CommandFailed, match="printed more than 1.0 MiB"):
            LocalRunner().run(["sh", "-c", script], most=1 << 20, timeout=60)
        assert time.monotonic() - began < SOON


def test_a_command_that_closes_its_streams_and_stays_is_timed_out() -> None:
    with pytest.raises(TimedOut, match="no answer within 1 s"):
        LocalRunner().run(["sh", "-c", "exec >&- 2>&- <&-; exec sleep 60"], timeout=1)


def test_a_failed_command_says_its_last_words() -> None:
    with pytest.raises(CommandFailed) as caught:
        LocalRunner().run(sh("echo the disk is gone >&2; exit 7"))
    assert caught.value.status == 7
    assert caught.value.stderr == "the disk is gone\n"
    assert caught.value.message == "/bin/sh ended with status 7: the disk is gone"
    assert caught.value.argv[0] == SH
    assert caught.value.exit is Exit.FAILED


def test_a_command_killed_by_a_signal_has_a_negative_status() -> None:
    with pytest.raises(CommandFailed) as caught:
        LocalRunner().run(sh("kill -9 $$"))
    assert caught.value.status == -9


def test_a_missing_command_is_named_with_a_remedy() -> None:
    with pytest.raises(CommandFailed) as caught:
        LocalRunner().run(["zborg-no-such-command", "x"])
    assert caught.value.status == 127
    assert caught.value.message == "cannot run zborg-no-such-command: no such command"
    assert caught.value.remedy == "is zborg-no-such-command installed there?"


def test_a_missing_command_is_refused_by_start_too() -> None:
    with pytest.raises(CommandFailed, match="cannot run"):
        LocalRunner().start(["/nonexistent/borg"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)


def test_the_timeout_ends_the_whole_group(tmp_path: Path) -> None:
    """The grandchild ignores SIGTERM, so it needs the SIGKILL."""
    pid_file = tmp_path / "pid"
    grandchild = "trap '' TERM; echo $$ >\"$1\"; while :; do sleep 1; done"
    with pytest.raises(TimedOut) as caught:
        LocalRunner().run(
            sh('echo almost >&2; sh -c "$1" sh "$2" & wait', grandchild, str(pid_file)), timeout=0.3
        )
    assert caught.value.argv[:2] == (SH, "-c"), "the argv that was asked for, without setpriv"
    assert "no answer within 0.3 s" in caught.value.message
    assert caught.value.stderr == "almost\n"
    assert caught.value.retryable
    pid = number_in(pid_file)
    until(lambda: not alive(pid), "the grandchild is gone")


def test_the_timeout_ends_a_grandchild_that_outlived_its_parent(tmp_path: Path) -> None:
    """The parent has ended long ago, but its output is held open: run() waits, and must end the rest."""
    pid_file = tmp_path / "pid"
    with pytest.raises(TimedOut):
        LocalRunner().run(sh('sleep 60 & echo $! >"$1"', str(pid_file)), timeout=0.3)
    pid = number_in(pid_file)
    until(lambda: not alive(pid), "the grandchild is gone")


def test_stop_leaves_a_reaped_process_number_alone() -> None:
    """The number may be another process group's by now."""
    child = start("exit 3")
    until(lambda: child.poll() is not None, "it ends")
    assert child.stop() == 3
    child.close()


def test_cancelled_interrupts_a_running_command(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"

    def cancel() -> None:
        number_in(pid_file)
        cancelled.set()

    threading.Thread(target=cancel).start()
    with pytest.raises(Interrupted):
        LocalRunner().run(sh('echo $$ >"$1"; exec sleep 60', str(pid_file)))
    assert not alive(number_in(pid_file))


def test_the_environment_is_clean(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BORG_PASSPHRASE", "hunter2")
    monkeypatch.setenv("SSH_AUTH_SOCK", "/tmp/agent")
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    environment = dict(line.split("=", 1) for line in LocalRunner().run(["env"]).stdout.splitlines())
    assert environment.pop("PATH").startswith(os.environ["PATH"])
    assert environment["LC_ALL"] == "C"
    assert set(environment) <= {"HOME", "TMPDIR", "LC_ALL", "TZ"}


def test_only_the_given_extra_variables_are_added() -> None:
    done = LocalRunner(env={"COMMAND": "serve web1"}).run(sh('printf %s "$COMMAND"'))
    assert done.stdout == "serve web1"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_another_user_and_nothing_of_ours() -> None:
    done = LocalRunner("nobody").run(sh("id -un; id -Gn; grep NoNewPrivs /proc/self/status"))
    user, groups, privileges = done.stdout.splitlines()
    assert (user, groups) == ("nobody", "nogroup")
    assert privileges.split() == ["NoNewPrivs:", "1"]


def test_no_descriptor_is_left_behind() -> None:
    runner = LocalRunner()
    before = descriptors()
    for _ in range(2):
        runner.run(["true"])
        with pytest.raises(CommandFailed):
            runner.run(["false"])
        with pytest.raises(TimedOut):
            runner.run(["sleep", "60"], timeout=0)
    assert descriptors() == before


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_an_unknown_user_is_said() -> None:
    with pytest.raises(ZborgError, match="no user zborg-nobody-knows"):
        LocalRunner("zborg-nobody-knows")


# --- the parent dies -------------------------------------------------------------------------------

PARENT = """
import os, subprocess, sys, time
from zborg.process import LocalRunner
child = LocalRunner(sys.argv[1]).start(["sleep", "300"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
print(child.pid, flush=True)
time.sleep(300)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the parent-death signal is Linux's")
@pytest.mark.parametrize("user", ["", "nobody"])
def test_children_die_with_a_killed_parent(user: str) -> None:
    if user and os.geteuid() != 0:
        pytest.skip("only root can become another user")  # the reason is the text
    with subprocess.Popen([sys.executable, "-c", PARENT, user], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        try:
            until(lambda: Path(f"/proc/{pid}/comm").read_text() == "sleep\n", "setpriv has become sleep")
        finally:
            parent.kill()
    until(lambda: not alive(pid), "the child is gone")


# --- pump ------------------------------------------------------------------------------------------


def pumped(*scripts: str, timeout: float = 120) -> tuple[dict[str, int], dict[str, list[str]]]:
    names = [f"child{number}" for number in range(len(scripts))]
    heard: dict[str, list[str]] = {name: [] for name in names}
    children: dict[str, Child] = {name: start(text) for name, text in zip(names, scripts, strict=True)}
    statuses = pump(children, lambda who, line: heard[who].append(line), timeout=timeout)
    return statuses, heard


def test_pump_hears_both_and_knows_who_spoke() -> None:
    statuses, heard = pumped("echo one >&2; echo two >&2; exit 3", "echo other >&2")
    assert statuses == {"child0": 3, "child1": 0}
    assert heard == {"child0": ["one", "two"], "child1": ["other"]}


def test_pump_hears_a_last_line_without_an_end() -> None:
    assert pumped("printf 'a\\r\\nlast' >&2")[1] == {"child0": ["a", "last"]}


def test_pump_hands_out_a_very_long_line_in_pieces() -> None:
    _, heard = pumped("head -c 3000000 /dev/zero | tr '\\0' x >&2; echo end >&2")
    assert "".join(heard["child0"]) == "x" * 3_000_000 + "end"
    assert len(heard["child0"]) > 1, "a line without end must not fill the memory"
    assert max(map(len, heard["child0"])) <= (1 << 20) + 65536


def test_pump_survives_invalid_utf8() -> None:
    assert pumped("printf '\\377\\303\\n' >&2")[1] == {"child0": ["\ufffd\ufffd"]}


def test_pump_does_not_wait_for_a_grandchild_that_holds_stderr(tmp_path: Path) -> None:
    began = time.monotonic()
    statuses, heard = pumped(f"sleep 60 & echo $! >{tmp_path}/pid; printf 'last words' >&2; exit 4")
    assert statuses == {"child0": 4}
    assert heard == {"child0": ["last words"]}, "also a line that has no end yet"
    assert time.monotonic() - began < SOON
    os.kill(number_in(tmp_path / "pid"), signal.SIGKILL)


def test_pump_ends_although_a_grandchild_never_stops_talking(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("zborg.streams._REST", 0.3)
    began = time.monotonic()
    statuses, _ = pumped(f"yes >&2 & echo $! >{tmp_path}/pid; exit 0")
    os.kill(number_in(tmp_path / "pid"), signal.SIGKILL)
    assert statuses == {"child0": 0}
    assert time.monotonic() - began < SOON


def test_pump_stops_both_when_time_is_up() -> None:
    one, two = start("exec sleep 60"), start("trap '' TERM; while :; do sleep 0.1; done")
    with pytest.raises(TimedOut, match=r"not finished within 0\.2 s"):
        pump({"one": one, "two": two}, lambda _, __: None, timeout=0.2)
    assert one.poll() == -signal.SIGTERM
    assert two.poll() == -signal.SIGKILL
    assert not alive(one.pid)
    assert not alive(two.pid)


def test_pump_stops_both_when_cancelled() -> None:
    one, two = start("echo ready >&2; exec sleep 60"), start("exec sleep 60")
    with pytest.raises(Interrupted):
        pump({"one": one, "two": two}, lambda _, __: cancelled.set(), timeout=60)
    assert (one.poll(), two.poll()) == (-signal.SIGTERM, -signal.SIGTERM)


def test_pump_stops_both_when_a_listener_fails() -> None:
    def listen(who: str, line: str) -> None:
        raise OSError("no space left on device")

    one, two = start("echo x >&2; exec sleep 60"), start("exec sleep 60")
    with pytest.raises(OSError, match="no space left"):
        pump({"one": one, "two": two}, listen, timeout=60)
    assert (one.poll(), two.poll()) == (-signal.SIGTERM, -signal.SIGTERM)


def test_pump_gives_the_other_side_time_for_last_words_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zborg.streams._LAST_WORDS", 0.2)
    statuses, _ = pumped("exit 0", "exec sleep 60")
    assert statuses == {"child0": 0, "child1": -signal.SIGTERM}


def test_pump_tells_whom_it_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    """ssh answers SIGTERM with 255 and no word, as it does when a connection is lost."""
    monkeypatch.setattr("zborg.streams._LAST_WORDS", 0.2)
    like_ssh = "trap 'exit 255' TERM; echo ready >&2; while :; do sleep 0.05; done"
    assert pumped("exit 0", like_ssh)[0]["child1"] == -signal.SIGTERM


@pytest.mark.parametrize(("first", "last"), [("exit 0", 0), ("exit 3", -signal.SIGTERM)])
def test_pump_can_be_more_patient_after_a_good_end(
    monkeypatch: pytest.MonkeyPatch, first: str, last: int
) -> None:
    """A receiver goes on for long after a sender that ended well, never after one that did not."""
    monkeypatch.setattr("zborg.streams._LAST_WORDS", 0.2)
    children: dict[str, Child] = {"send": start(first), "receive": start("exec sleep 1.5")}
    statuses = pump(children, lambda _, __: None, timeout=60, after={"send": 60})
    assert statuses["receive"] == last


# --- join and chain --------------------------------------------------------------------------------


def starter(script: str) -> Callable[[int, int], Child]:
    return lambda stdin, stdout: LocalRunner().start(sh(script), stdin=stdin, stdout=stdout)


def failing(*_: int) -> Child:
    raise CommandFailed(("second",), 127, "no such command")


def test_join_connects_each_with_the_other() -> None:
    heard: list[str] = []
    one, two, spare = join(
        starter("echo question; read answer; echo one heard $answer >&2"),
        starter("read question; echo answer; echo two heard $question >&2"),
    )
    statuses = pump({"one": one, "two": two}, lambda _, line: heard.append(line), timeout=120, spare=spare)
    assert statuses == {"one": 0, "two": 0}
    assert sorted(heard) == ["one heard answer", "two heard question"]


def test_a_writer_whose_reader_died_can_still_say_why() -> None:
    """More than a pipe holds: without somebody who reads on, SIGPIPE would end it before its last words."""
    before = descriptors()
    heard: list[str] = []
    one, two, spare = join(
        starter("read gone; head -c 3000000 /dev/zero && echo the reason >&2; exit 3"),
        starter("exit 4"),
    )
    statuses = pump({"one": one, "two": two}, lambda _, line: heard.append(line), timeout=120, spare=spare)
    assert (statuses, heard) == ({"one": 3, "two": 4}, ["the reason"])
    assert descriptors() == before


def test_chain_carries_every_byte_and_its_end(tmp_path: Path) -> None:
    data = os.urandom(1 << 20) * 5
    (tmp_path / "in").write_bytes(data)
    source, sink = chain(
        lambda stdout: LocalRunner().start(
            ["cat", str(tmp_path / "in")], stdin=subprocess.DEVNULL, stdout=stdout
        ),
        lambda stdin: LocalRunner().start(
            ["dd", f"of={tmp_path}/out", "bs=64k", "status=none"], stdin=stdin, stdout=subprocess.DEVNULL
        ),
    )
    assert pump({"source": source, "sink": sink}, lambda _, __: None, timeout=120) == {"source": 0, "sink": 0}
    assert (tmp_path / "out").read_bytes() == data


def test_when_the_sink_dies_the_source_learns_it() -> None:
    source, sink = chain(
        lambda stdout: LocalRunner().start(["yes"], stdin=subprocess.DEVNULL, stdout=stdout),
        lambda stdin: LocalRunner().start(sh("exit 5"), stdin=stdin, stdout=subprocess.DEVNULL),
    )
    statuses = pump({"source": source, "sink": sink}, lambda _, __: None, timeout=120)
    assert statuses["sink"] == 5
    assert statuses["source"] != 0


@pytest.mark.parametrize("joined", [True, False])
def test_a_second_start_that_fails_stops_the_first(joined: bool) -> None:
    started: list[Child] = []

    def first(*ends: int) -> Child:
        started.append(LocalRunner().start(["sleep", "60"], stdin=subprocess.DEVNULL, stdout=ends[-1]))
        return started[0]

    before = descriptors()
    with pytest.raises(CommandFailed, match="no such command"):
        _ = join(first, failing) if joined else chain(first, failing)
    assert started[0].poll() is not None
    assert not process_start(started[0].pid)
    assert descriptors() == before + 1, "the first's stderr alone, which we still hold"


def test_pipe_is_large_and_gone_afterwards() -> None:
    import fcntl

    with pipe() as (reading, writing):
        assert fcntl.fcntl(writing, fcntl.F_GETPIPE_SZ) == 1 << 20
    for end in (reading, writing):
        with pytest.raises(OSError):
            os.fstat(end)
