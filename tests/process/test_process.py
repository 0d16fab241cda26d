"""zborg.process: real children, real pipes, real kills."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tests.harness.processes.children import SH, alive, descriptors, number_in, sh, start, until
from tests.harness.watch import HANG
from zborg.errors import CommandFailed, Exit, Interrupted, TimedOut, ZborgError
from zborg.interrupt import cancelled
from zborg.process import LocalRunner

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
            LocalRunner().run(["sh", "-c", script], max_bytes=1 << 20, timeout=600)
        assert time.monotonic() - began < HANG


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
