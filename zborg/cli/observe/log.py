"""zborg log."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from zborg.cli.command.options import Common, ConfigFile, DryRun, Json, Verbose
from zborg.cli.command.perform import finish
from zborg.model import Outcome
from zborg.model.results import LogLines

if TYPE_CHECKING:
    from zborg.model import Report
    from zborg.reporting.text import Line


def log(
    run: Annotated[str, typer.Argument(help="A run's id; none means the last one.", metavar="RUN")] = "",
    config: ConfigFile = "",
    as_json: Json = False,
    verbose: Verbose = False,
    dry_run: DryRun = False,
) -> None:
    """What was logged of one run, as every report names it."""
    from zborg.config import find, load
    from zborg.model import utc_now
    from zborg.process import LocalRunner
    from zborg.state.directory import prepare_state
    from zborg.state.runs import Runs
    from zborg.steps.observe.log import log_lines

    loaded = load(find(config or None))
    runs = Runs(prepare_state(loaded.state_dir, make=False) / "runs")
    report = log_lines(loaded, runs, LocalRunner(), run, utc_now())
    finish(report, Common("log", config, as_json, False, dry_run), _plain)


def _plain(report: Report) -> list[Line]:
    from zborg.model.text.units import printable
    from zborg.reporting.text import Line

    return [Line(printable(line)) for one in report.outcomes for line in _lines(one)]


def _lines(outcome: Outcome) -> tuple[str, ...]:
    return outcome.result.lines if isinstance(outcome.result, LogLines) else ()
