"""The report of `history` -> a table of 80 columns: a line for each night, or for each backup of one host."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence

from zborg.model import Outcome, Report
from zborg.model.results import HostBackup, Night, RecordedBackup, RecordedFinding, Trend
from zborg.model.text.units import counted, moment, printable, size, span
from zborg.reporting.text import Line

_NAMES = 24  # columns for the hosts that were not good
_WORDS = 53  # and for the message of one of them


def table(report: Report) -> list[Line]:
    """Of one host a line for each backup and each finding, and its trend; else a line for each night."""
    trends = [one for one in report.outcomes if one.kind == "trend"]
    rows = [one for one in report.outcomes if one.kind != "trend"]
    if not rows:
        return [Line(one.message) for one in trends] or [Line("nothing is recorded of these days")]
    lines = list(_backups(rows) if trends else _nights(rows))
    return [*lines, *(line for one in trends for line in _trend(one))]


def _nights(rows: Sequence[Outcome]) -> Iterator[Line]:
    yield Line(f"{'night':<10} {'good':>4} {'bad':>4} {'size':>10} {'new':>10} {'took':>10}  not good")
    for one in rows:
        night = one.result
        if not isinstance(night, Night):
            continue
        numbers = (size(night.original_bytes), size(night.new_bytes), span(night.seconds))
        cells = " ".join(f"{cell:>10}" for cell in (numbers if night.good else ("-", "-", "-")))
        names = textwrap.shorten(one.message, _NAMES, placeholder=" ...")
        text = f"{one.subject} {night.good:>4} {len(night.bad):>4} {cells}  {printable(names)}"
        yield Line(text.rstrip())


def _backups(rows: Sequence[Outcome]) -> Iterator[Line]:
    yield Line(f"{'ended':<16} {'status':<8} {'files':>10} {'size':>10} {'new':>10} {'took':>10}")
    for one in rows:
        made = one.result
        if isinstance(made, RecordedFinding):
            words = textwrap.shorten(printable(f"{one.kind}: {one.message}"), _WORDS, placeholder=" ...")
            yield Line(f"{made.ended_here} {one.status.value:<8} {words}", one.status, one.status.value)
            continue
        if not isinstance(made, RecordedBackup):
            continue
        head = f"{made.ended_here} {one.status.value:<8} "
        if one.status.good and made.files is not None:
            text = head + " ".join(f"{cell:>10}" for cell in _cells(made))
        else:
            text = head + textwrap.shorten(printable(one.message), _WORDS, placeholder=" ...")
        yield Line(text.rstrip(), one.status, one.status.value)


def _cells(made: HostBackup) -> tuple[str, ...]:
    sizes = (size(one) if one is not None else "-" for one in (made.original_bytes, made.new_bytes))
    return (str(made.files), *sizes, span(made.seconds) if made.seconds is not None else "-")


def _trend(one: Outcome) -> Iterator[Line]:
    found = one.result
    if not isinstance(found, Trend):
        return
    yield Line(f"{found.good} of {counted(found.of, 'backup')} good")
    if found.growth is not None and found.since:
        since = moment(found.since)[:10]
        yield Line(f"size {size(found.original_bytes or 0)}, {found.growth:+.1%} since {since}")
    if found.usual_seconds is not None:
        yield Line(f"usually {span(found.usual_seconds)}, {size(found.usual_new_bytes or 0)} new")
