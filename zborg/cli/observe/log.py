"""zborg log."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from zborg.cli.command.options import Common, shared
from zborg.cli.command.perform import finish
from zborg.model import Outcome
from zborg.model.results import LogLines

if TYPE_CHECKING:
    from zborg.model import Report
    from zborg.reporting.text import Line


@shared("log")
def log(
    common: Common,
    run: Annotated[str, typer.Argument(help="A run's id; none means the last one.", metavar="RUN")] = "",
) -> None:
    """What was logged of one run, as every report names it."""
    from zborg.config import find, load
    from zborg.model import utc_now
    from zborg.process import LocalRunner
    from zborg.state.directory import prepare_state
    from zborg.state.runs import Runs
    from zborg.steps.observe.log import log_lines

    loaded = load(find(common.config or None))
    runs = Runs(prepare_state(loaded.state_dir, make=False) / "runs")
    report = log_lines(loaded, runs, LocalRunner(), run, utc_now())
    finish(report, replace(common, verbose=False), _plain)


def _plain(report: Report) -> list[Line]:
    from zborg.model.text.units import printable
    from zborg.reporting.text import Line

    return [Line(printable(line)) for one in report.outcomes for line in _lines(one)]


def _lines(outcome: Outcome) -> tuple[str, ...]:
    return outcome.result.lines if isinstance(outcome.result, LogLines) else ()
