"""What people type without having read anything: -h, help, -q."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import typer

from tests.harness.builders.reports import outcome, report
from tests.harness.worlds.command_line import APP, COMMANDS, zborg
from zborg.cli.command import perform
from zborg.cli.command.live import Quiet, Way, listener
from zborg.cli.command.options import Common
from zborg.cli.main import application
from zborg.model import ANNOUNCED, Report, Status
from zborg.model.events import Finished, Planned, Progress, Started, Warned
from zborg.state.runs import Runs

QUIET = Common("run", "", json=False, verbose=False, dry_run=False, quiet=True)


# --- help ---


@pytest.mark.parametrize("words", [(), ("host",), ("restore",), *COMMANDS], ids=" ".join)
def test_h_is_help_everywhere_and_an_option_of_nothing_else(words: tuple[str, ...]) -> None:
    command: Any = typer.main.get_command(APP)
    context = command.make_context("zborg", [], resilient_parsing=True)
    for word in words:
        command = command.commands[word]
        context = command.make_context(word, [], parent=context, resilient_parsing=True)
    assert context.help_option_names == ["-h", "--help"]
    assert "-h, --help" in command.get_help(context)
    assert not [one for one in command.params if "-h" in one.opts]


def test_help_names_a_command_as_words_or_as_an_option() -> None:
    for words in ((), ("run",), ("host",), ("host", "add")):
        shown = zborg("help", *words)
        assert shown.returncode == 0 and shown.stdout.startswith("Usage: zborg"), shown
        assert shown.stdout == zborg(*words, "-h").stdout == zborg(*words, "--help").stdout
    unknown = zborg("help", "snapshoot")
    assert unknown.returncode == 2 and "No such command 'snapshoot'" in unknown.stderr


# --- quiet ---


def ended(status: Status) -> Report:
    return report(outcome(status, "web1", message="what it came to"))


def printed(common: Common, told: Report, capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(typer.Exit) as exit_:
        perform.finish(told, common)
    assert exit_.value.exit_code == int(told.exit), "the exit code is the same"
    both = capsys.readouterr()
    return both.out + both.err


@pytest.mark.parametrize("status", list(Status))
def test_a_good_night_prints_nothing_and_any_other_all_of_it(
    status: Status, capsys: pytest.CaptureFixture[str]
) -> None:
    told = ended(status)
    usual = printed(replace(QUIET, quiet=False), told, capsys)
    assert "web1" in usual
    assert printed(QUIET, told, capsys) == (
        "" if status in (Status.OK, Status.SKIPPED, Status.PENDING) else usual
    )


def test_a_dry_run_prints_its_plan_although_it_is_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    told = replace(ended(Status.OK), outcomes=(), plan=("destroy nothing",))
    assert "destroy nothing" in printed(replace(QUIET, dry_run=True), told, capsys)


@pytest.mark.parametrize("command", [*ANNOUNCED, "report"])
def test_what_cron_runs_can_be_quiet(command: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    seen: list[Common] = []

    def performed(common: Common, *_: Any, **__: Any) -> None:
        seen.append(common)
        raise typer.Exit

    for module in (
        "audit.audit",
        "audit.compact",
        "audit.drill",
        "audit.verify",
        "backup",
        "night",
        "replicate",
        "rotate",
        "scrub",
        "snapshot",
    ):
        monkeypatch.setattr(f"zborg.cli.{module}.perform", performed)
    monkeypatch.setattr("zborg.cli.observe.report.finish", lambda _, common: performed(common))
    monkeypatch.setattr("zborg.cli.observe.report._made", lambda *_, **__: None)
    monkeypatch.setattr("zborg.config.load", lambda _: None)
    monkeypatch.setattr("zborg.config.find", lambda _: None)
    for flag in ("-q", "--quiet", ""):
        words = [
            command,
            *filter(None, [flag]),
            *(["--to", str(tmp_path / "page")] if command == "report" else []),
        ]
        application(words)(words, standalone_mode=False)
    assert [one.quiet for one in seen] == [True, True, False]


def test_while_it_runs_only_warnings_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    with listener(Way.QUIET, verbose=True) as emit:
        emit(Planned("backup", parallel=2, expected={"web1": 1.0, "web2": 1.0}))
        for name in ("web1", "web2"):
            emit(Started(name))
            emit(Warned(name, f"{name}: the connection was lost, another try in 30 s"))
            emit(Progress(name, files=1, bytes=1))
        emit(Warned("log", "cannot be written, and nothing more is: No space left on device"))
        emit(Finished("web1", status=Status.OK))
        emit(Finished("web2", status=Status.FAILED))
    out, err = capsys.readouterr()
    assert not out
    assert err.splitlines() == [
        "log: cannot be written, and nothing more is: No space left on device",
        "web2: web2: the connection was lost, another try in 30 s",
    ]


def test_a_warning_before_anything_began_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    Quiet()(Warned("history", "was broken, and made anew"))
    assert capsys.readouterr().err == "history: was broken, and made anew\n"


def test_an_error_without_a_report_is_printed_all_the_same(tmp_path: Path) -> None:
    done = zborg("run", "--quiet", "--config", str(tmp_path / "none.toml"))
    assert done.returncode == 10 and "none.toml" in done.stderr


def test_a_quiet_report_is_written_without_a_word(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir(mode=0o700)
    Runs(tmp_path / "runs").save(replace(ended(Status.OK), finished=datetime.now(UTC)))
    config = tmp_path / "zborg.toml"
    config.write_text(f'state_dir = "{tmp_path}"\n[storage]\ndataset = "tank/borg"\n')
    done = zborg("report", "-q", "--config", str(config))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert (tmp_path / "report.html").stat().st_size > 1000
