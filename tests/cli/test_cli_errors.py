"""The command line from outside: errors that users see, bugs, and signals."""

from __future__ import annotations

import json
import os
import resource
import socket
import subprocess
import threading
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.harness.worlds.command_line import AT_HOME, BUG, KEY, python, zborg
from tests.harness.worlds.world import ZBORG
from zborg.errors import Exit
from zborg.model import Outcome, Report, Status
from zborg.state.runs import Runs, new_run

SCHEDULE = ("show", "install", "remove")
ASK_NOBODY = [("host", "list"), ("history",), ("report",), *(("schedule", one) for one in SCHEDULE)]


def arguments(command: Sequence[str], root: Path) -> list[str]:
    """The least that a command must be given; `root`: in place of this machine's own."""
    needed: dict[tuple[str, ...], list[str]] = {
        ("restore", "list"): ["web1"],
        ("restore", "files"): ["web1", "/etc"],
        ("import", "qb-backup"): ["/nonexistent/backup.yml"],
        **{("schedule", name): ["--root", str(root)] for name in SCHEDULE},
    }
    return [*command, *needed.get(tuple(command), [])]


def test_a_missing_configuration_names_the_path_and_the_way_out(tmp_path: Path) -> None:
    for words in ("status", "backup", "rotate"):
        done = zborg(words, "--config", str(tmp_path / "none.toml"))
        assert done.returncode == Exit.CONFIG
        assert done.stdout == ""
        assert done.stderr == (
            f"zborg: {tmp_path}/none.toml does not exist\n"
            "  -> write one after the sample zborg.toml, or name it with --config\n"
        )


def test_every_mistake_of_the_configuration_is_shown(tmp_path: Path) -> None:
    path = tmp_path / "zborg.toml"
    path.write_text("[storage]\ndataset = 5\n[backup]\nparalel = 1\n")
    path.chmod(0o600)
    done = zborg("backup", ZBORG_CONFIG=str(path))
    assert done.returncode == Exit.CONFIG
    assert done.stderr.splitlines() == [
        "  storage.dataset: must be a text in quotes, not 5",
        "  backup.paralel: is not known; did you mean parallel?",
        f"zborg: {path} has 2 mistakes",
        "  -> correct it, then look again:",
        f"     zborg doctor --only config --config {path}",
    ]
    table = json.loads(zborg("backup", "--json", ZBORG_CONFIG=str(path)).stdout)
    assert (table["exit"], len(table["problems"])) == (Exit.CONFIG, 2)


def test_the_configuration_in_the_working_directory_is_found(config: Path) -> None:
    assert json.loads(zborg("status", "--json", cwd=config.parent).stdout)["command"] == "status"


def test_json_errors_are_json(config: Path, tmp_path: Path) -> None:
    for words, code in (
        (["backup", "nobody"], Exit.USAGE),
        (["backup", "--no-such-option"], Exit.USAGE),
        (["snapshot", "--config", str(tmp_path / "none")], Exit.CONFIG),
    ):
        done = zborg(*words, "--json", ZBORG_CONFIG=str(config))
        table = json.loads(done.stdout)
        assert done.returncode == table["exit"] == code
        assert table["zborg"] == 1
        assert table["message"]
        assert table["message"] in done.stderr


def test_an_unknown_host_is_told_the_known_ones(config: Path) -> None:
    done = zborg("backup", "nobody", "--config", str(config))
    assert done.returncode == Exit.USAGE
    assert done.stderr == f"zborg: no such host: nobody\n  -> known hosts: web1 ({config})\n"


def test_without_a_state_directory_init_is_the_way_out(config: Path) -> None:
    (config.parent / "state" / "runs").rmdir()
    done = zborg("backup", "--config", str(config))
    assert done.returncode == Exit.CONFIG
    assert done.stderr.endswith("does not exist\n  -> zborg init\n")


def test_a_machine_that_hangs_up_is_told_in_two_lines(config: Path) -> None:
    """As sshd does with an address that failed to log in too often; paramiko logs a traceback of it."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=hang_up, args=(server,), daemon=True).start()
        text = config.read_text().replace(
            "[storage]\n",
            f'[storage]\nssh = "ssh://root@127.0.0.1:{server.getsockname()[1]}"\nhost_key = "{KEY}"\n',
        )
        config.write_text(text)
        done = zborg("snapshot", "--config", str(config))
    assert done.returncode == Exit.FAILED
    assert "Traceback" not in done.stderr + done.stdout
    assert "PerSourcePenalties" in done.stdout


def hang_up(server: socket.socket) -> None:
    while True:
        try:
            server.accept()[0].close()
        except OSError:
            return


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-", ">&- 2>&- <&-"])
def test_closed_streams_are_no_bug(config: Path, closed: str) -> None:
    argv = ["sh", "-c", f'"$@" {closed}', "sh", str(ZBORG), "status", "--config", str(config)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == Exit.FAILED, done.stderr  # web1 was never backed up
    assert "bug" not in done.stderr


def test_a_log_that_cannot_be_written_costs_no_host_its_backup(config: Path) -> None:
    argv = ["sh", "-c", '"$@" 2>/dev/full', "sh", str(ZBORG), "backup", "--json", "--config", str(config)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    (outcome,) = json.loads(done.stdout)["outcomes"]
    assert (done.returncode, outcome["subject"], outcome["status"]) == (Exit.FAILED, "web1", "failed")
    assert "bug" not in outcome["message"]


def test_a_disk_that_became_read_only_is_no_bug(config: Path) -> None:
    """No file of ours can be written then, a saved traceback neither."""
    assert os.geteuid() == 0, "mounting needs root"
    state = config.parent / "state"
    remount = f"mount --bind {state} {state} && mount -o remount,ro,bind {state} && exec "
    argv = ["unshare", "--mount", "--propagation", "private", "sh", "-c", f'{remount} "$@"', "sh"]
    done = subprocess.run(
        [*argv, str(ZBORG), "backup", "--config", str(config)], capture_output=True, text=True, check=False
    )
    assert done.returncode == Exit.FAILED, done.stderr
    assert "Read-only file system" in done.stderr + done.stdout
    assert "bug" not in done.stderr


def test_a_state_directory_that_cannot_be_made(config: Path) -> None:
    text = config.read_text().replace('"state"', '"/proc/zborg"')
    config.write_text(text)
    done = zborg("init", "--config", str(config))
    assert done.returncode == Exit.CONFIG
    assert "the state directory /proc/zborg cannot be used" in done.stderr


@pytest.mark.parametrize("words", AT_HOME, ids=" ".join)
def test_every_command_ends_in_order_where_nothing_works(config: Path, words: tuple[str, ...]) -> None:
    """No pool, no host, no key: each says so, with a code of its own and no traceback."""
    done = zborg(*arguments(words, config.parent / "root"), "--json", "--config", str(config))
    table = json.loads(done.stdout)
    assert done.returncode == table["exit"] != Exit.BUG
    assert (done.returncode == Exit.OK) == (words in ASK_NOBODY)


def test_a_bug_is_exit_1_with_a_saved_traceback(config: Path, tmp_path: Path) -> None:
    done = python(BUG, "--config", str(config), TMPDIR=str(tmp_path))
    assert done.returncode == Exit.BUG
    assert "Traceback" not in done.stdout + done.stderr
    assert "this is a bug in zborg: RuntimeError: the sky fell" in done.stderr
    (saved,) = tmp_path.glob("zborg-bug-*.txt")
    assert str(saved) in done.stderr
    assert "Traceback (most recent call last)" in saved.read_text()
    assert saved.stat().st_mode & 0o077 == 0, "a traceback may hold what only the user may read"


def test_a_bug_is_json_for_a_script(config: Path, tmp_path: Path) -> None:
    done = python(BUG, "--json", "--config", str(config), TMPDIR=str(tmp_path))
    table = json.loads(done.stdout)
    assert done.returncode == table["exit"] == Exit.BUG
    assert "the sky fell" in table["message"]


FILES = """
import resource, sys
import zborg.steps.scrub
from zborg.errors import Interrupted
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (256, int(sys.argv.pop()) or hard))
def step(run, *request):
    raise Interrupted(str(resource.getrlimit(resource.RLIMIT_NOFILE)[0]))
zborg.steps.scrub.scrub = step
sys.argv[1:] = ["scrub", "--config", sys.argv[1]]
from zborg.cli.main import run
run()
"""


@pytest.mark.parametrize(("hard", "got"), [(0, 8192), (2000, 2000)])
def test_two_hundred_hosts_need_more_files_than_the_usual_limit(config: Path, hard: int, got: int) -> None:
    got = min(got, resource.getrlimit(resource.RLIMIT_NOFILE)[1])  # of the machine that tests
    assert python(FILES, str(config), str(hard)).stderr == f"zborg: {got}\n"


SIGNALS = """
import os, signal, sys
import zborg.steps.scrub
from zborg.errors import Interrupted
from zborg.interrupt import cancelled
_, config, how_often, name = sys.argv
def step(run, *request):
    os.kill(os.getpid(), getattr(signal, name))
    assert cancelled.is_set()
    if how_often == "twice":
        os.kill(os.getpid(), signal.SIGTERM)
        raise AssertionError("the second signal must not be waited out")
    raise Interrupted("in order")
zborg.steps.scrub.scrub = step
sys.argv[1:] = ["scrub", "--config", config]
from zborg.cli.main import run
run()
"""


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_one_signal_ends_the_step_in_order(config: Path, name: str) -> None:
    done = python(SIGNALS, str(config), "once", name)
    assert (done.returncode, done.stderr) == (Exit.INTERRUPTED, "zborg: in order\n")


def test_the_second_signal_ends_at_once(config: Path) -> None:
    done = python(SIGNALS, str(config), "twice", "SIGTERM")
    assert (done.returncode, done.stderr) == (Exit.INTERRUPTED, "")


@pytest.mark.parametrize(("words", "code"), [(["status"], Exit.FAILED), (["status", "--nagios"], 2)])
def test_a_locale_without_a_host_s_characters_is_no_bug(config: Path, words: list[str], code: int) -> None:
    now = datetime.now(UTC)
    said = Outcome("host", "web1", Status.FAILED, "日本")
    night = Report("backup", new_run(now), "vault", now, now, Status.FAILED, Exit.FAILED, (said,))
    Runs(config.parent / "state" / "runs").save(night)
    done = zborg(*words, "--config", str(config), PYTHONIOENCODING="ascii")
    assert done.returncode == code
    assert "\\u65e5\\u672c" in done.stdout
