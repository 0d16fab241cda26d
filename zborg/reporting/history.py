"""The report of `history` -> a table of 80 columns: a line for each night, or for each backup of one host."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from zborg.model import Outcome, Report
from zborg.model.text.units import counted, printable, size, span
from zborg.reporting.text import Line

_NAMES = 24  # columns for the hosts that were not good
_WORDS = 53  # and for what one of them said


def table(report: Report) -> list[Line]:
    """Of one host a line for each backup and its trend; else a line for each night."""
    trends = [one for one in report.outcomes if one.kind == "trend"]
    rows = [one for one in report.outcomes if one.kind != "trend"]
    if not rows:
        return [Line(one.message) for one in trends] or [Line("nothing is recorded of these days")]
    lines = list(_backups(rows) if trends else _nights(rows))
    return [*lines, *(line for one in trends for line in _trend(one))]


def _nights(rows: Sequence[Outcome]) -> Iterator[Line]:
    yield Line(f"{'night':<10} {'good':>4} {'bad':>4} {'size':>10} {'new':>10} {'took':>10}  not good")
    for one in rows:
        data = one.data
        numbers = (size(data["original_bytes"]), size(data["new_bytes"]), span(data["seconds"]))
        cells = " ".join(f"{cell:>10}" for cell in (numbers if data["good"] else ("-", "-", "-")))
        names = textwrap.shorten(one.message, _NAMES, placeholder=" ...")
        text = f"{one.subject} {data['good']:>4} {len(data['bad']):>4} {cells}  {printable(names)}"
        yield Line(text.rstrip())


def _backups(rows: Sequence[Outcome]) -> Iterator[Line]:
    yield Line(f"{'ended':<16} {'status':<8} {'files':>10} {'size':>10} {'new':>10} {'took':>10}")
    for one in rows:
        head = f"{one.data['ended_here']} {one.status.value:<8} "
        if one.status.good and "files" in one.data:
            text = head + " ".join(f"{cell:>10}" for cell in _cells(one.data))
        else:
            text = head + textwrap.shorten(printable(one.message), _WORDS, placeholder=" ...")
        yield Line(text.rstrip(), one.status, one.status.value)


def _cells(data: Mapping[str, Any]) -> tuple[str, ...]:
    sizes = (size(data[key]) if key in data else "-" for key in ("original_bytes", "new_bytes"))
    return (str(data["files"]), *sizes, span(data["seconds"]) if "seconds" in data else "-")


def _trend(one: Outcome) -> Iterator[Line]:
    data = one.data
    yield Line(f"{data['good']} of {counted(data['of'], 'backup')} good")
    if "growth" in data:
        yield Line(f"size {size(data['original_bytes'])}, {data['growth']:+.1%} since {data['since'][:10]}")
    if "usual_seconds" in data:
        yield Line(f"usually {span(data['usual_seconds'])}, {size(data.get('usual_new_bytes', 0))} new")
