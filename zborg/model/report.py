"""Decisions, their results, and the events on the way."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

from zborg.errors import Exit
from zborg.model.results import NOTHING, Result
from zborg.model.serial.results import to_table
from zborg.model.storage.zfs import Snapshot


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a snapshot stays, and every reason why. No reasons means: destroy."""

    snapshot: Snapshot
    reasons: tuple[str, ...]

    @property
    def keep(self) -> bool:
        """It stays: one reason is enough."""
        return bool(self.reasons)


class Status(StrEnum):
    """How one subject of a step, or a whole step, ended."""

    OK = "ok"
    SKIPPED = "skipped"
    PENDING = "pending"  # it was never done and is not due yet
    WARNING = "warning"
    PARTIAL = "partial"
    FAILED = "failed"
    BUSY = "busy"
    CONFLICT = "conflict"
    DAMAGED = "damaged"
    INTERRUPTED = "interrupted"

    @property
    def good(self) -> bool:
        """What was to be done was done; a warning is worth a look."""
        return self in (Status.OK, Status.WARNING)

    @property
    def uneventful(self) -> bool:
        """Nobody has to look at it."""
        return self in (Status.OK, Status.SKIPPED, Status.PENDING)

    @property
    def bad(self) -> bool:
        """It was not done, or damage was found. Skipped, pending and partial are neither good nor bad."""
        return self not in (Status.OK, Status.WARNING, Status.SKIPPED, Status.PENDING, Status.PARTIAL)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one subject (a host, a dataset, a pool); `result`: what is known of it besides."""

    kind: str
    subject: str
    status: Status
    message: str = ""
    remedy: str = ""
    result: Result = NOTHING

    @property
    def data(self) -> dict[str, Any]:
        """The result as the JSON form has it."""
        return to_table(self.result)

    def noting(self, **facts: object) -> Outcome:
        """The same, with these facts in its result. Raises TypeError for one that its class does not have."""
        return replace(self, result=self.result.replace(**facts))


@dataclass(frozen=True, slots=True)
class Report:
    """One step's result; text, JSON and everything else render this."""

    command: str
    run: str
    server: str
    started: datetime
    finished: datetime
    status: Status
    exit: Exit
    outcomes: tuple[Outcome, ...]
    plan: tuple[str, ...] = ()  # the plan's lines, for --dry-run


@dataclass(frozen=True, slots=True)
class Entry:
    """An outcome as the history has it: when its run began, and when the work on this subject ended."""

    started: datetime
    ended: datetime
    server: str
    run: str
    command: str
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Finding:
    """Something a person should know, and its remedy."""

    subject: str
    level: Status
    message: str
    remedy: str = ""
