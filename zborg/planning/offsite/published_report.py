"""What an off-site's own zborg publishes for those that send to it: its last reports, as one property. Pure.

A property of the dataset that they send to, because that is listed anyway: no command more, no file, and a
sink lets it through. ZFS writes it at once and holds 8,191 bytes of it. Who reads it reads a stranger's word.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from zborg.model import Outcome, Report, Status
from zborg.model.results import PublishedReport
from zborg.model.text.remedy import on
from zborg.model.text.units import duration, moment, moment_of, printable
from zborg.planning.observe.health import SKEW

KIND = "told"
MOST = 8191  # bytes; ZFS_MAXPROPLEN - 1
_VERSION = 1
_REPORTS = 5
_WORDS = 8  # of a report
_LONGEST = 300  # characters of each
_UNREADABLE = (ValueError, KeyError, TypeError, AttributeError, RecursionError)


@dataclass(frozen=True, slots=True)
class Summary:
    """One of its reports: how it ended, and what of it was not well."""

    command: str
    finished: datetime
    status: Status
    words: tuple[str, ...] = ()


def write(reports: Sequence[Report]) -> str:
    """ASCII without a control character, at most MOST bytes; words are left out where there are too many."""
    tables = [_table(report) for report in reports[:_REPORTS]]
    while len(text := json.dumps({"zborg": _VERSION, "said": tables}, separators=(",", ":"))) > MOST:
        max((one["words"] for one in tables), key=len).pop()
    return text


def _table(report: Report) -> dict[str, Any]:
    odd = [one for one in report.outcomes if one.status not in (Status.OK, Status.SKIPPED)]
    return {
        "command": report.command[:_LONGEST],
        "finished": moment(report.finished),
        "status": report.status.value,
        "words": [printable(f"{one.subject}: {one.message}")[:_LONGEST] for one in odd[:_WORDS]],
    }


def read(text: str) -> tuple[Summary, ...]:
    """What write() wrote. Raises ValueError for anything else."""
    try:
        table: Any = json.loads(text) if len(text) <= MOST else None
        if table["zborg"] != _VERSION or not 1 <= len(table["said"]) <= _REPORTS:
            raise ValueError("another version")
        return tuple(_summary(one) for one in table["said"])
    except _UNREADABLE as error:
        raise ValueError(f"no report: {type(error).__name__}") from error


def _summary(table: Mapping[str, Any]) -> Summary:
    finished = moment_of(table["finished"])
    words = table["words"]
    if finished is None or not isinstance(table["command"], str) or not isinstance(words, list):
        raise ValueError("not its shape")
    lines = tuple(printable(str(one))[:_LONGEST] for one in words[:_WORDS])
    return Summary(printable(table["command"])[:20], finished, Status(table["status"]), lines)


def outcome(target: str, text: str, max_age: int, seen: datetime, now: datetime) -> Outcome:
    """The report of a target's own zborg as it was seen then, with its age now.

    Never more than a warning: the target may claim anything, and its own cron reports to its own people.
    """
    result = PublishedReport(told=text, seen=seen)
    try:
        summaries = read(text)
    except ValueError as error:
        message = f"its own zborg left what cannot be read: {error}"
        return Outcome(KIND, target, Status.WARNING, message, on(target, "zborg status"), result)
    last = max(one.finished for one in summaries)
    words = f"its own zborg reported {_ago(last, now)}: {'; '.join(map(_words, summaries))}"
    age = (seen - last).total_seconds()
    late = f"nothing new for {duration(age)}; " if age > max_age else ""
    ahead = "its clock is ahead; " if age < -SKEW else ""
    bad = late or ahead or any(one.status is not Status.OK for one in summaries)
    status = Status.WARNING if bad else Status.OK
    return Outcome(
        KIND, target, status, late + ahead + words, on(target, "zborg status") if bad else "", result
    )


def _ago(then: datetime, now: datetime) -> str:
    return f"{duration(max((now - then).total_seconds(), 0))} ago"


def _words(one: Summary) -> str:
    more = f" ({', '.join(one.words)})" if one.words else ""
    return f"{one.command} {one.status.value}{more}"
