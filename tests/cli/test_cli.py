"""The command line from outside: every command, every way to end."""

from __future__ import annotations

import json
import os
import re
import resource
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import tomli_w
import typer

from tests.harness.checkout import CHECKOUT
from zborg.cli.main import application
from zborg.errors import Exit
from zborg.model import Outcome, Report, Status
from zborg.state.runs import Runs, new_run

README = (CHECKOUT / "README.md").read_text()
ZBORG = Path(sys.executable).parent / "zborg"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f"


def commands(command: Any, *words: str) -> Iterator[tuple[str, ...]]:
    """Every command of the application, as its words."""
    if not hasattr(command, "commands"):
        yield words
        return
    for name, inner in command.commands.items():
        yield from commands(inner, *words, name)


APP = application(())  # with all commands
COMMANDS = sorted(commands(typer.main.get_command(APP)))
# sshd starts this one, far from any zborg.toml; what it is told stands in authorized_keys.
AT_HOME = [words for words in COMMANDS if words != ("sink",)]


def zborg(*words: str, cwd: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    env = {key: value for key, value in os.environ.items() if key not in ("ZBORG_CONFIG", "NO_COLOR")}
    done = subprocess.run(
        [str(ZBORG), *words],
        env=env | environment,
        cwd=cwd,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=120,
        check=False,
    )
    assert "Traceback" not in done.stdout + done.stderr
    assert "\x1b" not in done.stdout + done.stderr, "no escape codes into a pipe"
    assert done.returncode in set(Exit)
    return done


def python(program: str, *argv: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", program, *argv],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=120,
        check=False,
    )


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A configuration with a state directory and one host at which nothing listens."""
    for name in ("", "locks", "runs"):
        (tmp_path / "state" / name).mkdir(mode=0o700)
    host = {"ssh": "ssh://root@127.0.0.1:1", "host_key": KEY, "identity": "id"}
    path = tmp_path / "zborg.toml"
    table = {
        "state_dir": "state",
        "storage": {"dataset": "no-such-pool/borg"},
        "hosts": {"web1": host},
        "targets": {"offsite": host | {"dataset": "vault/zborg"}},
    }
    path.write_text(tomli_w.dumps(table))
    path.chmod(0o600)
    return path


def arguments(command: Sequence[str]) -> list[str]:
    """The least that a command must be given."""
    needed: dict[tuple[str, ...], list[str]] = {
        ("restore", "list"): ["web1"],
        ("restore", "files"): ["web1", "/etc"],
        ("import", "qb-backup"): ["/nonexistent/backup.yml"],
    }
    return [*command, *needed.get(tuple(command), [])]


# --- every command ------------------------------------------------------------------------------------


def test_every_command_has_help_and_the_common_options() -> None:
    """In this process: ten starts of an interpreter would take seconds."""
    from typer.testing import CliRunner

    for words in AT_HOME:
        shown = CliRunner().invoke(APP, [*words, "--help"])
        assert shown.exit_code == 0, words
        for option in ("--config", "--json", "--verbose", "-v", "--dry-run"):
            assert option in shown.output, words


@pytest.mark.parametrize("group", [[], ["holds"], ["host"], ["import"], ["restore"]])
def test_no_sentence_is_cut_off_in_a_list_of_commands(group: list[str]) -> None:
    from typer.testing import CliRunner

    shown = CliRunner(env={"COLUMNS": "80"}).invoke(APP, [*group, "--help"]).output
    listed = shown.partition("Commands:\n")[2].splitlines()
    assert listed
    assert not [line for line in listed if line.endswith("...")]


def test_every_command_is_in_the_readme() -> None:
    rows = re.findall(r"^\| `zborg ([a-z -]+?)(?: [A-Z\[].*?)?` \| .+ \|$", README, re.MULTILINE)
    assert sorted(tuple(row.split()) for row in rows) == COMMANDS


def test_every_exit_code_is_in_the_readme() -> None:
    rows = {int(code) for code in re.findall(r"^\| (\d+) \| .+ \|$", README, re.MULTILINE)}
    assert rows == set(Exit)


def test_help_and_no_arguments_at_all() -> None:
    assert zborg("--help").returncode == Exit.OK
    alone = zborg()
    assert alone.returncode == Exit.USAGE
    assert "Usage: zborg" in alone.stdout + alone.stderr


@pytest.mark.parametrize(
    "words",
    [
        ("backup", "--no-such-option"),
        ("no-such-command",),
        ("restore", "no-such"),
        ("restore", "files"),
        ("-x",),
    ],
)
def test_usage_errors(words: tuple[str, ...]) -> None:
    done = zborg(*words)
    assert done.returncode == Exit.USAGE
    assert done.stdout == ""
    assert done.stderr.startswith("Usage: zborg")


# --- errors that users see ----------------------------------------------------------------------------


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
    done = zborg(*arguments(words), "--json", "--config", str(config))
    table = json.loads(done.stdout)
    assert done.returncode == table["exit"] != Exit.BUG
    assert (done.returncode == Exit.OK) == (words in (("host", "list"), ("history",), ("report",))), (
        "which ask nobody"
    )


# --- output -------------------------------------------------------------------------------------------


def test_status_is_quick_and_light(config: Path) -> None:
    """It answers without a connection, so it needs none of what makes one."""
    program = """
import sys
sys.argv[1:] = ["status", "--config", sys.argv[1]]
from zborg.cli.main import run
try:
    run()
finally:
    print("\\n".join(sys.modules), file=sys.stderr)
"""
    loaded = set(python(program, str(config)).stderr.split())
    assert "zborg.steps.observe.status" in loaded
    heavy = {
        "paramiko",
        "rich",
        "cryptography",
        "zborg.zfs.commands",
        "zborg.hosts.ssh.connection",
        "zborg.cli.command.compose",
    }
    assert not heavy & loaded


def test_status_tells_what_was_never_done(config: Path) -> None:
    done = zborg("status", "--config", str(config))
    assert done.returncode == Exit.FAILED
    assert "never backed up" in done.stdout
    assert "-> zborg backup web1" in done.stdout


def test_a_reader_that_goes_away_does_not_change_the_exit_code(config: Path) -> None:
    """`zborg backup | head -0` must not turn a failure into success."""
    script = f'{ZBORG} status --config "$1"; echo $? >"$1.code"'
    command = f"set -- '{config}'; {{ {script}; }} | true"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=120, check=False)
    assert (config.parent / "zborg.toml.code").read_text() == f"{int(Exit.FAILED)}\n"
    assert done.stderr == ""


# --- bugs and signals ---------------------------------------------------------------------------------

BUG = """
import sys
import zborg.steps.backup.step
def broken(context, options):
    raise RuntimeError("the sky fell")
zborg.steps.backup.step.backup = broken
sys.argv = ["zborg", "backup", *sys.argv[1:]]
from zborg.cli.main import run
run()
"""


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
def step(context, **options):
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
def step(context, **options):
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
