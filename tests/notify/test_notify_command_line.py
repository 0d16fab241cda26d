"""Notifications from the command line: its exit code, what is told of, `zborg notify test`."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from pytest_httpserver import HTTPServer

from tests.harness.builders.notices import UUID, paths, ping, script, with_notifiers
from tests.harness.steps import try_all
from tests.harness.worlds.command_line import BUG, python, zborg
from tests.harness.worlds.local import LocalVault
from tests.harness.worlds.world import ZBORG
from zborg.errors import Exit
from zborg.model import Notify, Status


@pytest.mark.parametrize("command", ["run", "backup", "snapshot", "rotate", "replicate", "scrub"])
def test_the_exit_code_is_the_commands_and_its_report_is_told(
    config: Path, told_night: Path, tmp_path: Path, command: str
) -> None:
    done = zborg(command, "--json", "--config", str(told_night))
    printed = json.loads(done.stdout)
    assert done.returncode == printed["exit"] not in (Exit.OK, Exit.BUG)
    assert "zborg: notify: url 1 (json): " in done.stderr
    assert "hush" not in done.stdout + done.stderr
    got = json.loads((tmp_path / "got").read_text())
    assert {key: got[key] for key in printed} == printed
    assert "failure" in got["news"]


@pytest.mark.parametrize(
    "words",
    [["run", "-n"], ["rotate", "--freeze", "web1"], ["status"], ["backup", "nobody"], ["holds", "list"]],
)
def test_what_people_look_at_themselves_is_not_told(
    told_night: Path, tmp_path: Path, words: list[str]
) -> None:
    done = zborg(*words, "--config", str(told_night))
    assert "notify" not in done.stderr
    assert not (tmp_path / "got").exists()


def test_a_bug_is_told_too(told_night: Path, tmp_path: Path) -> None:
    done = python(BUG, "--config", str(told_night), TMPDIR=str(tmp_path))
    assert done.returncode == Exit.BUG
    got = json.loads((tmp_path / "got").read_text())
    assert got["outcomes"][0]["message"] == "this is a bug in zborg: RuntimeError: the sky fell"


NO_ROOM = """
import sys
import zborg.state.runs
def full(self, report):
    if report.command == "notify":
        raise OSError(28, "No space left on device")
zborg.state.runs.Runs.save = full
sys.argv = ["zborg", "scrub", *sys.argv[1:]]
from zborg.cli.main import run
run()
"""


def test_whatever_goes_wrong_with_telling_changes_no_exit_code(told_night: Path) -> None:
    before = zborg("scrub", "--config", str(told_night)).returncode
    done = python(NO_ROOM, "--config", str(told_night))
    assert done.returncode == before
    assert "zborg: notify: on this machine: No space left on device" in done.stderr


def test_a_full_disk_under_the_output_keeps_nobody_from_being_told(told_night: Path, tmp_path: Path) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [str(ZBORG), "scrub", "--config", str(told_night)],
            stdout=full,
            stderr=subprocess.PIPE,
            timeout=120,
            check=False,
        )
    assert done.returncode == Exit.FAILED
    assert b"cannot be written: No space left on device" in done.stderr
    assert json.loads((tmp_path / "got").read_text())["command"] == "scrub"


def test_the_last_run_in_the_log_is_none_that_told_of_it(told_night: Path, tmp_path: Path) -> None:
    told_night.write_text(told_night.read_text() + '[log]\nto = "file"\n')
    run = json.loads(zborg("scrub", "--json", "--config", str(told_night)).stdout)["run"]
    lines = zborg("log", "--config", str(told_night)).stdout.splitlines()
    assert [line.split()[1] for line in lines] == [run] * len(lines)
    assert lines[-1].endswith("scrub failed, exit 4")
    log = (tmp_path / "state" / "zborg.log").read_text()
    assert "url 1 (json) failed: " in log
    assert "hush" not in log


def test_notify_test_reaches_everybody_and_names_who_was_not(
    httpserver: HTTPServer, vault: LocalVault, tmp_path: Path
) -> None:
    httpserver.expect_request(f"/{UUID}/log").respond_with_data("OK")
    hook = script(tmp_path, f"cat >{tmp_path}/got")
    settings = ping(httpserver, on=frozenset())
    fine = try_all(with_notifiers(vault, replace(settings, command=(hook,))))
    assert (fine.exit, len(fine.outcomes)) == (Exit.OK, 2)
    dead = try_all(with_notifiers(vault, replace(settings, urls=("json://localhost:1/",))))
    assert dead.exit is Exit.FAILED
    assert [one.status for one in dead.outcomes] == [Status.OK, Status.FAILED]


def test_notify_test_without_anybody(vault: LocalVault) -> None:
    told = try_all(with_notifiers(vault, Notify()))
    assert told.exit is Exit.FAILED
    assert "names no notifier" in told.outcomes[0].message


def test_its_dry_run_sends_nothing(httpserver: HTTPServer, vault: LocalVault) -> None:
    told = try_all(with_notifiers(vault, ping(httpserver)), dry_run=True)
    assert told.plan == ("send a test to ping of run",)
    assert not paths(httpserver)


def test_nothing_heavy_is_imported_before_there_is_news() -> None:
    program = (
        "import sys; from zborg.notify import notifiers; from zborg.model import Notify;"
        "assert list(notifiers(Notify(urls=('mailto://a',), command=('/a',), pings={'run': 'http://a'})));"
        "print(*sys.modules)"
    )
    loaded = python(program).stdout.split()
    assert "zborg.notify.by_apprise" in loaded
    assert not {"apprise", "jinja2", "requests", "smtplib"} & set(loaded)
