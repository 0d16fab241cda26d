"""The command line from outside: every command, its help, its output."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.harness.checkout import CHECKOUT
from tests.harness.worlds.command_line import APP, AT_HOME, COMMANDS, python, zborg
from tests.harness.worlds.world import ZBORG
from zborg.errors import Exit

README = (CHECKOUT / "README.md").read_text()


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
