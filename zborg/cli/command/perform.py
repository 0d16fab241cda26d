"""One step from flags to exit code: what every command does."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, NoReturn

import typer

from zborg.cli.command.options import Common
from zborg.cli.command.output import printing
from zborg.errors import ConfigError, UsageError, ZborgError
from zborg.model import ANNOUNCED, Report, Status
from zborg.model.events import Failed, Reported
from zborg.model.serial.report import to_dict
from zborg.model.text import remedy
from zborg.model.text.units import printable
from zborg.reporting.text import Line, render

if TYPE_CHECKING:
    from zborg.steps.context import Context, StepRun

_COLOURS = {
    Status.OK: "green",
    Status.SKIPPED: "blue",
    Status.PENDING: "blue",
    Status.WARNING: "yellow",
    Status.PARTIAL: "yellow",
    Status.BUSY: "yellow",
}


def perform(common: Common, step: Callable[[StepRun], Report], *, make_state: bool = False) -> NoReturn:
    """Run the step in a composed world, print its report, notify, leave with its exit code.

    The commands whose end is news are in model.ANNOUNCED.
    """
    from zborg.cli.command.compose import compose

    is_news = common.command in ANNOUNCED and not common.dry_run
    context = None
    try:
        with compose(common, make_state=make_state) as context:
            if is_news and context.notifiers:
                _announce(context, common.command)
            report = _recorded(context, _logged(context, common, partial(_run, context, common, step)))
            for later in context.afterwards:
                report = _continued(context, common, report, later, is_news=is_news)
    except UsageError:
        raise  # nothing began
    except Exception as error:
        if is_news and context:
            _let_know(context, _broken(context, common.command, error))
        elif is_news and isinstance(error, ConfigError):
            _warned("notify", partial(_misconfigured, common, error))
        raise
    try:
        _print(report, common)
    finally:  # also when the disk under the output is full
        if is_news:
            _let_know(context, report)
    raise typer.Exit(int(report.exit))


def _continued(
    context: Context, common: Common, report: Report, later: Callable[[], Report], *, is_news: bool
) -> Report:
    """People get a message when the night ends and when its stragglers have; a program reads one report."""
    if is_news:
        _let_know(context, report)
    if not common.json:
        _print(report, common)
    return _recorded(context, _logged(context, common, later))


def _run(context: Context, common: Common, step: Callable[[StepRun], Report]) -> Report:
    from zborg.steps.context import begin

    return step(begin(context, common.command, dry_run=common.dry_run))


def _recorded(context: Context, report: Report) -> Report:
    from zborg.steps.context import unrecorded

    return unrecorded(context, report)


def _announce(context: Context, command: str) -> None:
    from zborg.steps.observe.notify import announce

    announce(context, command)


def _broken(context: Context, command: str, error: Exception) -> Report:
    """A report of what ended without one."""
    from zborg.steps.context import begin, outcome_of

    return begin(context, command).report([outcome_of("step", command, error)])


def _misconfigured(common: Common, error: ConfigError) -> Iterable[ZborgError]:
    """Notify by what can still be read: cron's mail alone may reach nobody."""
    from zborg.cli.command.compose import notifiers_of
    from zborg.config import find
    from zborg.config.salvage import contact
    from zborg.steps.observe.notify import report_misconfigured, warnings

    found = contact(find(common.config or None))
    notifiers = notifiers_of(found.notify) if found else ()
    if not found or not notifiers:
        return ()
    sent = report_misconfigured(found.server, found.notify, notifiers, common.command, error)
    return warnings(sent)


def _let_know(context: Context, report: Report) -> None:
    """Metrics, then messages. Whatever comes of it, it changes no exit code: warnings go to stderr."""
    if context.config.metrics:
        from zborg.steps.observe.metrics import publish

        _warned("metrics", lambda: publish(context))
    if context.notifiers:
        from zborg.steps.observe.notify import notify_of, warnings

        _warned("notify", lambda: warnings(notify_of(context, report)))


def _warned(what: str, work: Callable[[], Iterable[ZborgError]]) -> None:
    from zborg.steps.context import outcome_of

    try:
        for error in work():
            _warn(error)
    except Exception as error:  # a full disk, a bug of ours
        _warn(ZborgError(f"{what}: {outcome_of(what, what, error).message}"))


def _warn(error: ZborgError) -> None:
    with suppress(OSError, ValueError):  # nobody reads it
        print(f"zborg: {printable(error.message)}", file=sys.stderr)
        for line, _ in remedy.lines(error.remedy):
            print(f"  {printable(line)}", file=sys.stderr)


def _logged(context: Context, common: Common, work: Callable[[], Report]) -> Report:
    """Listeners get the end as an event as well, be it good or not."""
    try:
        report = work()
    except ZborgError as error:
        context.emit(Failed(common.command, error.message))
        raise
    context.emit(Reported(report.command, report=report))
    return report


def finish(report: Report, common: Common, screen: Callable[[Report], list[Line]] | None = None) -> NoReturn:
    """Print the report, as text or JSON, and leave with its exit code. `screen` is a text of its own."""
    _print(report, common, screen)
    raise typer.Exit(int(report.exit))


def _print(report: Report, common: Common, screen: Callable[[Report], list[Line]] | None = None) -> None:
    if common.quiet and not common.dry_run and report.status.uneventful:
        return
    with printing():
        if common.json:
            print(json.dumps(to_dict(report), indent=1))
        else:
            show(screen(report) if screen and not common.verbose else render(report, verbose=common.verbose))


def show(lines: list[Line]) -> None:
    """Print lines; coloured on a terminal that wants it (NO_COLOR, TERM)."""
    colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    for line in lines:
        print(_coloured(line) if colour else line.text)


def _coloured(line: Line) -> str:
    if line.status is None:
        return line.text
    word = typer.style(line.word, fg=_COLOURS.get(line.status, "red"))
    return line.text.replace(f" {line.word}", f" {word}", 1)  # not the "ok" in tokyo
