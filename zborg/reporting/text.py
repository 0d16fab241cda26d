"""Report -> lines for people: mail at 7 in the morning, a terminal of 80 columns, a log."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from zborg.model import Outcome, Report, Status
from zborg.model.results import Contradiction
from zborg.model.text import remedy
from zborg.model.text.units import counted, printable, size, span

_WIDTH = 80
SUBJECT = 26  # longer subjects push their own line to the right, not everybody's
_MANY = 6  # outcomes from which on the bad ones are named again
_INDENT = 20  # of what follows a line that is too long


@dataclass(frozen=True, slots=True)
class Line:
    """One line; `status` is how a terminal colours `word`, which occurs in it after a blank."""

    text: str
    status: Status | None = None
    word: str = ""


def render(report: Report, *, verbose: bool = False) -> list[Line]:
    """The whole report. `verbose` also shows the plan (as a dry run does) and every outcome's facts."""
    dry = bool(report.plan) and all(outcome.result.dry_run for outcome in report.outcomes)
    lines = [Line(printable(text)) for text in report.plan] if dry or verbose else []
    width = min(max((len(outcome.subject) for outcome in report.outcomes), default=0), SUBJECT)
    step = ""
    for outcome in report.outcomes:
        if outcome.result.step and outcome.result.step != step:  # a whole night: each step has a heading
            step = outcome.result.step
            lines.append(Line(f"{printable(step)}:"))
        lines += outcome_lines(outcome, width)
        if verbose:
            lines += _facts(outcome)
    return [*lines, *_not_good(report), summary(report, dry=dry)]


def _not_good(report: Report) -> Iterator[Line]:
    """Who needs a look, once more before the verdict: in a long report they stand in the middle."""
    bad = [outcome for outcome in report.outcomes if outcome.status.bad]
    if bad and len(report.outcomes) > _MANY:
        names = ", ".join(f"{one.subject} ({one.result.step or one.status.value})" for one in bad)
        yield from (Line(text) for text in _wrapped(printable(names), "not good: "))


def summary(report: Report, *, dry: bool = False) -> Line:
    """The verdict."""
    if dry:
        return Line(f"{report.command}: nothing was done (dry run)")
    word = report.status.value
    seconds = (report.finished - report.started).total_seconds()
    end = f"exit {int(report.exit)}, {span(seconds)}, run {report.run}"
    text = f"{report.command} {word} on {report.server}, {end}"
    return Line(text, report.status, word)


def outcome_lines(outcome: Outcome, width: int) -> Iterator[Line]:
    """Subject, status, words and numbers; below them both sides, the remedy, and what is to be copied."""
    word = outcome.status.value
    words = [text for text in (outcome.message, numbers(outcome)) if text]
    head = f"{printable(outcome.subject):<{width}}  {word:<8}  "
    first, *rest = _wrapped(printable("; ".join(words)).strip(), head)
    yield Line(first.rstrip(), outcome.status, word)
    yield from (Line(text) for text in rest)
    indent = " " * min(len(head), _INDENT)
    for side in sides_of(outcome):
        yield from (Line(text) for text in _wrapped(printable(side).strip(), indent))
    for text in remedy_lines(outcome.remedy, indent):
        yield Line(text)
    shown = remedy.parse(outcome.remedy)[1]
    for command in outcome.result.commands:  # to be copied: never broken into lines
        if command in shown:
            continue
        yield Line(f"    {printable(command)}")


def sides_of(outcome: Outcome) -> tuple[str, ...]:
    """Both sides of a contradiction, a line each."""
    return outcome.result.sides if isinstance(outcome.result, Contradiction) else ()


def remedy_lines(text: str, indent: str) -> Iterator[str]:
    """A remedy below what it is about: its sentence is wrapped, its commands stay whole, to be copied."""
    for line, is_command in remedy.lines(text):
        if is_command:
            yield indent + printable(line)
        else:
            yield from _wrapped(printable(line).strip(), indent)


def _facts(outcome: Outcome) -> Iterator[Line]:
    """What the JSON form has as data, without what is shown already."""
    for key, value in outcome.data.items():
        if key == "log":
            yield from (Line(f"{'':<{_INDENT}}| {line}") for line in map(printable, value))
        elif key not in ("step", "sides", "commands", "dry_run") and value not in (None, "", [], ()):
            parts = ", ".join(map(str, value)) if isinstance(value, list | tuple) else value
            yield from (Line(text) for text in _wrapped(printable(f"{key}: {parts}"), " " * _INDENT))


def _wrapped(text: str, head: str) -> list[str]:
    """Long words (paths, keys) stay whole: they are there to be copied."""
    indent = " " * min(len(head), _INDENT)
    return textwrap.wrap(
        head + text,
        width=_WIDTH,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
        drop_whitespace=True,
        replace_whitespace=False,
    ) or [head]


def numbers(outcome: Outcome) -> str:
    """The counts that borg gave, in a few words: those that its result has."""
    shown: tuple[tuple[str, Callable[[Any], str]], ...] = (
        ("files", lambda number: counted(number, "file")),
        ("original_bytes", size),
        ("new_bytes", lambda number: f"{size(number)} new"),
        ("seconds", span),
        ("warnings", lambda number: counted(number, "warning") if number else ""),
    )
    found = ((getattr(outcome.result, name, None), words) for name, words in shown)
    return ", ".join(filter(None, (words(number) for number, words in found if number is not None)))
