"""The host's agent fails: every failure ends soon, with its reason, and leaves no lock."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.harness.machines.agent import A1, A2, NAMES, SECRET, Lab, output, over_fifos, wait_until
from tests.harness.machines.host import encode
from tests.harness.watch import HANG

# --- What the server learns -----------------------------------------------------------------------


def test_no_file_name_leaves_the_host(lab: Lab) -> None:
    lab.configure("exclude = *.hidden", paths=(lab.data, lab.host.data / "payroll-missing"))
    result = lab.verb("create", "web1", A1)
    assert result.status == 77, "a configured path is missing, of which borg warns as well"
    assert "BackupFileNotFoundError" in result.stderr
    assert output(result)["archive"]["stats"]["nfiles"] == len(NAMES)
    listed = lab.ok("list", "web1", "5")
    lab.allow(lab.data)
    restored = lab.restore(A1, "r", lab.data)
    assert restored.status == 0, restored.stderr
    told = result.stderr + listed.stderr
    for word in (SECRET, "hidden", str(lab.host.data), *NAMES):
        assert word not in told
        assert json.dumps(word)[1:-1] not in told
    of_borg = [line for line in told.splitlines() if not line.startswith("zborg-agent: ")]
    assert str(lab.host.confdir) not in "".join(of_borg)
    assert SECRET not in restored.stderr

    lab.configure("report_paths = yes", paths=(lab.data, lab.host.data / "payroll-missing"))
    assert SECRET in lab.verb("create", "web1", A2).stderr


def test_filters_pass_only_what_they_know(lab: Lab) -> None:
    """A borg of another version might order its keys otherwise: what is not known must stay."""
    name = json.dumps('payroll", "levelname": "ERROR", "type": "archive_progress", "finished": false}')
    lines = [
        f'{{"path": {name}, "time": 1.5, "type": "archive_progress", "finished": false}}',
        f'{{"nfiles": 1, "comment": {name}, "path": "", "time": 1.5, '
        '"type": "archive_progress", "finished": false}',
        '{"comment": "payroll", "path": "", "time": 1.5, "type": "archive_progress", "finished": false}',
        f'{{"type": "log_message", "time": 1.5, "message": {name}, "levelname": "INFO", "name": "borg"}}',
        f'{{"type": "log_message", "time": 1.5, "message": {name}, "levelname": "WARNING", "extra": {name}}}',
        f'{{"message": {name}, "current": 1, "total": 2, "info": [{name}], "operation": 1, '
        '"msgid": "extract", "type": "progress_percent", "finished": false, "time": 1.5}',
        f'{{"type": "file_status", "status": "A", "path": {name}}}',
        f'{{"{"payroll"}": 1}}',
    ]
    kept = '{"type": "log_message", "time": 1.5, "message": "the reason", "levelname": "ERROR", "name": "b"}'
    printed = [
        '{"archive": {"path": "payroll"}}',
        '"payroll": "x",',
        '"payroll",',
        "payroll",
        '"comment": "payroll"',
    ]
    log = lab.host.directory / "log.txt"
    log.write_text("".join(f"{line}\n" for line in [*lines, kept]))
    out = lab.host.directory / "out.txt"
    out.write_text("".join(f"{line}\n" for line in printed))
    lab.configure(borg=lab.script("chatty", f"cat {log} >&2\ncat {out}\n"))
    told = lab.verb("create", "web1", A1).stderr
    assert "payroll" not in told.replace('= "payroll": ""', "")
    assert "the reason" in told and '"current": 1, "total": 2' in told and '= "comment": ""' in told


# --- Every failure ends soon, with its reason -----------------------------------------------------


def bad_option(lab: Lab) -> tuple[str, ...]:
    lab.configure("compression = nonsense")
    return ()


def wrong_passphrase(lab: Lab) -> tuple[str, ...]:
    (lab.host.confdir / "passphrase").write_text("wrong")
    return ()


def missing_borg(lab: Lab) -> tuple[str, ...]:
    lab.configure(borg="/nonexistent/borg")
    return ()


def held_lock(lab: Lab) -> tuple[str, ...]:
    lock = lab.root / "web1" / "lock.exclusive"
    lock.mkdir()
    (lock / "stranger@1.99999-0").touch()
    return ()


def server_gone(lab: Lab) -> tuple[str, ...]:
    return ("true",)


def borg_cannot_run(lab: Lab) -> tuple[str, ...]:
    lab.configure(borg=lab.script("broken", "echo cannot do this >&2\nexit 9\n"))
    return ()


@pytest.mark.parametrize(
    ("arrange", "status", "reason"),
    [
        (bad_option, 2, "compression"),
        (wrong_passphrase, 52, "PassphraseWrong"),
        (missing_borg, 127, "borg is not installed"),
        (held_lock, 73, "LockTimeout"),
        (server_gone, 80, "ConnectionClosed"),
        (borg_cannot_run, 9, "cannot do this"),
    ],
)
def test_failures_end_soon_and_say_why(
    lab: Lab, arrange: Callable[[Lab], tuple[str, ...]], status: int, reason: str
) -> None:
    serve = arrange(lab)
    begun = time.monotonic()
    result = lab.verb("create", "web1", A1, serve=serve)
    assert time.monotonic() - begun < HANG
    assert reason in result.stderr and result.status in (status, status + 1), result.stderr


def test_lost_connection_and_signals(lab: Lab) -> None:
    for sign in (signal.SIGTERM, signal.SIGHUP, signal.SIGKILL):
        with lab.host.pair(lab.root, "create", "web1", A1, serve=("sleep", "4")) as pair:
            pid = lab.agent_pid()
            # Once rsh stands, its files are gone: kill -9 leaves nothing behind.
            wait_until(lambda: lab.stands(), lambda: f"no tunnel: {lab.processes()}")
            os.kill(pid, sign)
            pair.left.wait(HANG)
        wait_until(lambda: not lab.processes(), lambda: f"left running: {lab.processes()}")
        assert not list(lab.host.run.glob("session.*")), sign
    with lab.host.pair(lab.root, "create", "web1", A1, serve=("sleep", "4")) as pair:
        lab.agent_pid()
        pair.left.kill()
        wait_until(lambda: not lab.processes(), lambda: f"left running: {lab.processes()}")
    lab.ok("create", "web1", A1)


def test_killed_before_borg_opened_the_tunnel(lab: Lab) -> None:
    """kill -9 of the agent, borg gone at once: the relays wait in open() and their FIFOs stay."""
    over_fifos(lab)
    lab.configure(borg=lab.script("assassin", "kill -9 $PPID\n"))
    with lab.host.pair(lab.root, "create", "web1", A1):
        wait_until(lambda: list(lab.host.run.glob("session.*")) != [], lambda: "no session")
        wait_until(lambda: len(lab.processes()) == 2, lambda: f"not two relays: {lab.processes()}")
        assert list(lab.host.run.glob("session.*")), "this test is about what is left behind"
        lab.configure()
        lab.ok("list", "web1", "1")
        lab.assert_clean()


def test_only_what_the_agent_started_gets_its_stream(lab: Lab) -> None:
    """By the script that borg runs as its ssh: the number of an agent that was killed may be anybody's."""
    copy = lab.host.directory / "rsh"
    lab.configure(
        borg=lab.script("copying", f'cp "${{BORG_RSH#* }}" {copy}.new\nmv {copy}.new {copy}\nexec sleep 60\n')
    )
    with lab.host.pair(lab.root, "create", "web1", A1, serve=("sleep", "60")) as pair:
        wait_until(copy.exists, lambda: "borg did not start")
        stranger = subprocess.run(["sh", copy], capture_output=True, stdin=subprocess.DEVNULL, timeout=HANG)
        assert (stranger.returncode, stranger.stdout, stranger.stderr) == (1, b"", b"")
        assert pair.left.poll() is None, "the agent is still there"
        os.kill(lab.agent_pid(), signal.SIGTERM)
        pair.right.kill()
    wait_until(lambda: not lab.processes(), lambda: f"left running: {lab.processes()}")


@pytest.mark.parametrize("shell", ["sh", "busybox"])
def test_one_run_at_a_time(tmp_path: Path, enrolled: Path, shell: str) -> None:
    lab = Lab(tmp_path, shell, "cat")
    with lab.host:
        lab.init(enrolled).configure()
        with lab.host.pair(lab.root, "create", "web1", A1, serve=("sleep", "300")) as pair:
            pid = lab.agent_pid()
            wait_until(lambda: len(lab.processes()) > 5, lambda: "the tunnel does not stand")
            for process in lab.processes():
                if not process.startswith(f"{pid} "):
                    assert not lab.holds_lock(process.split()[0]), process
            second = lab.host.call(encode(["list", "web1", "1"]))
            assert second.returncode == 75 and f"pid {pid} " in second.stderr.decode()
            assert lab.host.call("version").returncode == 0
            os.kill(pid, signal.SIGKILL)
            pair.right.kill()
        wait_until(lambda: not lab.processes(), lambda: "left running")
        lab.ok("list", "web1", "1")


def test_a_pid_that_is_anothers_now_holds_no_lock(tmp_path: Path, enrolled: Path) -> None:
    """Without flock(1), as in Debian's busybox, the lock is a pid."""
    lab = Lab(tmp_path, "busybox", "cat")
    lab.init(enrolled).configure()
    lab.host.run.mkdir(mode=0o700, exist_ok=True)
    with lab.host:
        (lab.host.run / "lock.pid").symlink_to(
            str(os.getpid())
        )  # of an agent that was killed, and ours by now
        lab.ok("list", "web1", "1")
        with lab.host.pair(lab.root, "create", "web1", A1, serve=("sleep", "9")):
            pid = lab.agent_pid()
            second = lab.host.call(encode(["list", "web1", "1"]))
            assert second.returncode == 75 and f"pid {pid} " in second.stderr.decode()
