"""One step from flags to exit code: what every command does."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, NoReturn

import typer

from zborg.cli.options import Common
from zborg.model import Report, Status
from zborg.model.serial import to_dict
from zborg.reporting.text import Line, render

if TYPE_CHECKING:
    from zborg.steps.context import Context

_COLOURS = {
    Status.OK: "green",
    Status.SKIPPED: "blue",
    Status.WARNING: "yellow",
    Status.PARTIAL: "yellow",
    Status.BUSY: "yellow",
}


def perform(common: Common, step: Callable[[Context], Report], *, make_state: bool = False) -> NoReturn:
    """Run the step in a composed world, print its report, leave with its code."""
    from zborg.cli.compose import compose

    with compose(common, make_state=make_state) as context:
        report = step(context)
    finish(report, common)


def finish(report: Report, common: Common) -> NoReturn:
    """Print the report, as text or JSON, and leave with its exit code."""
    try:
        if common.json:
            print(json.dumps(to_dict(report), indent=1))
        else:
            show(render(report, verbose=common.verbose))
        sys.stdout.flush()
    except BrokenPipeError:  # nobody reads any more; what became of the step is told all the same
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    raise typer.Exit(int(report.exit))


def show(lines: list[Line]) -> None:
    colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    for line in lines:
        print(_coloured(line) if colour else line.text)


def _coloured(line: Line) -> str:
    if line.status is None:
        return line.text
    word = typer.style(line.word, fg=_COLOURS.get(line.status, "red"))
    return line.text.replace(f" {line.word}", f" {word}", 1)  # not the "ok" in tokyo
