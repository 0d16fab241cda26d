"""What happens while a step works, for a screen, the log and a progress line. Each has its subject."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, ClassVar, dataclass_transform

from zborg.model.record import Record

if TYPE_CHECKING:
    from zborg.model.report import Report, Status


@dataclass_transform(frozen_default=True)
class _Fields(Record):
    """Type checkers read the fields of what is below it."""


class Event(_Fields):
    """`kind` is its word in the log."""

    kind: ClassVar[str]

    subject: str
    message: str = ""


class StepBegun(Event):
    """A step has begun; the subject is its command, and what follows is of this run."""

    kind = "begun"

    run: str = ""


class Planned(Event):
    """By host the seconds that its backups usually take, None: not known; how many are at work at once."""

    kind = "planned"

    expected: Mapping[str, float | None] = {}
    parallel: int = 0


class Paced(Event):
    """Another number of hosts may be at work at once, and why; 0: that was the last, and its sum in words."""

    kind = "parallel"

    parallel: int = 0


class Started(Event):
    """The work on a subject begins."""

    kind = "started"


class Waiting(Event):
    """Seconds until its connection is tried (again)."""

    kind = "waiting"

    seconds: float = 0.0


class Progress(Event):
    """How far it is: `rate` in bytes a second, `remaining` in seconds. What is not known is None."""

    kind = "progress"

    files: int | None = None
    bytes: int | None = None
    path: str = ""
    rate: float | None = None
    total: int | None = None
    remaining: float | None = None
    percent: float | None = None


class Warned(Event):
    """Something that a person should read now."""

    kind = "warning"


class Failed(Event):
    """A command ended without a report."""

    kind = "error"


class Finished(Event):
    """The work on a subject has ended; `status` is how, where that is known by then."""

    kind = "finished"

    status: Status | None = None


class Reported(Event):
    """A step's report, for the log."""

    kind = "report"

    report: Report | None = None


Emit = Callable[[Event], None]
