"""Standard output that cannot be written: a failure that says so, by an exit code of zborg's (borg #9688)."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.harness.worlds.world import ZBORG
from zborg.errors import Exit
from zborg.model.text.remedy import is_command

FULL, UNREAD = ">/dev/full", "| true"


def redirected(how: str, *words: str, unbuffered: bool = False) -> tuple[int, str]:
    """zborg's own exit status and what it printed to stderr."""
    env = {key: value for key, value in os.environ.items() if key != "PYTHONUNBUFFERED"}
    script = f'"$@" {how}; exit "${{PIPESTATUS[0]}}"'
    done = subprocess.run(
        ["bash", "-c", script, "bash", str(ZBORG), *words],
        env=env | ({"PYTHONUNBUFFERED": "1"} if unbuffered else {}),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert "Exception ignored" not in done.stderr and "Traceback" not in done.stderr
    return done.returncode, done.stderr


@pytest.mark.parametrize("unbuffered", [False, True])
@pytest.mark.parametrize("words", [("status",), ("snapshot",), ("status", "--json")], ids=" ".join)
def test_a_report_that_cannot_be_written_is_a_failure_that_names_the_file(
    config: Path, words: tuple[str, ...], *, unbuffered: bool
) -> None:
    code, said = redirected(FULL, *words, "--config", str(config), unbuffered=unbuffered)
    reason, _, remedy = said.partition("cannot be written: No space left on device\n")
    assert code == Exit.FAILED
    assert "/dev/full, " in reason
    assert is_command(remedy.splitlines()[-1].strip())


@pytest.mark.parametrize("words", [("--version",), ("--help",), ("status", "--nagios")], ids=" ".join)
def test_what_is_no_report_ends_with_a_code_of_zborg_s_too(config: Path, words: tuple[str, ...]) -> None:
    options = () if words[0].startswith("-") else ("--config", str(config))
    code, said = redirected(FULL, *words, *options)
    assert code == Exit.FAILED and "No space left on device" in said


@pytest.mark.parametrize("how", [FULL, UNREAD])
@pytest.mark.parametrize("unbuffered", [False, True])
def test_an_error_in_json_that_cannot_be_written_keeps_its_code(how: str, *, unbuffered: bool) -> None:
    code, said = redirected(how, "run", "--json", "--config", "/nonexistent.toml", unbuffered=unbuffered)
    assert (code, said.count("/nonexistent.toml does not exist")) == (Exit.CONFIG, 1)


def test_a_report_that_nobody_reads_keeps_its_code(config: Path) -> None:
    code, said = redirected(UNREAD, "status", "--json", "--config", str(config))
    assert code == Exit.FAILED and "cannot be written" not in said, "web1 was never backed up"
    done = subprocess.run(
        [str(ZBORG), "status", "--json", "--config", str(config)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, json.loads(done.stdout)["exit"]) == (code, code)
