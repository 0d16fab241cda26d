"""Report -> versioned JSON and back. Times are UTC with Z, sizes bytes, durations seconds."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from zborg.errors import Exit
from zborg.model import Outcome, Report, Status
from zborg.model.serial.results import from_table
from zborg.model.text.units import moment

VERSION = 1


def to_dict(report: Report) -> dict[str, Any]:
    """The JSON form of a report, as docs/json.md describes it: times as text in UTC, sizes in bytes."""
    return {
        "zborg": VERSION,
        "command": report.command,
        "run": report.run,
        "server": report.server,
        "started": moment(report.started),
        "finished": moment(report.finished),
        "status": report.status.value,
        "exit": int(report.exit),
        "outcomes": [_outcome(outcome) for outcome in report.outcomes],
        "plan": list(report.plan),
    }


def from_dict(table: Mapping[str, Any]) -> Report:
    """Raises ValueError, KeyError or TypeError for anything that to_dict() did not make."""
    if table["zborg"] != VERSION:
        raise ValueError(f"version {table['zborg']} of zborg's reports is not known here")
    return Report(
        command=table["command"],
        run=table["run"],
        server=table["server"],
        started=_moment(table["started"]),
        finished=_moment(table["finished"]),
        status=Status(table["status"]),
        exit=Exit(table["exit"]),
        outcomes=tuple(outcome_from_dict(table["command"], outcome) for outcome in table["outcomes"]),
        plan=tuple(table["plan"]),
    )


def _moment(text: str) -> datetime:
    found = datetime.fromisoformat(text)
    if found.tzinfo is None:
        raise ValueError(f"{text} has no offset")
    return found


def _outcome(outcome: Outcome) -> dict[str, Any]:
    return {
        "kind": outcome.kind,
        "subject": outcome.subject,
        "status": outcome.status.value,
        "message": outcome.message,
        "remedy": outcome.remedy,
        "data": outcome.data,
    }


def outcome_from_dict(command: str, table: Mapping[str, Any]) -> Outcome:
    """An outcome in a report of this command. Raises as from_dict()."""
    return Outcome(
        kind=table["kind"],
        subject=str(table["subject"]),  # it is looked up by
        status=Status(table["status"]),
        message=table["message"],
        remedy=table["remedy"],
        result=from_table(command, table["kind"], table["data"]),
    )
