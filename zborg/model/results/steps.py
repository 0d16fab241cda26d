"""Steps of a night, and what is about a run as a whole."""

from __future__ import annotations

from datetime import datetime

from zborg.model.results.base import Result


class StepState(Result):
    """A step in `status`: its last run."""

    run: str = ""  # its id
    finished: datetime | None = None  # when it ended
    exit: int | None = None  # its exit code


class Due(Result):
    """What was never done and is not late."""

    due: datetime  # by when it is to be done


class KeyMade(Result):
    """A key of the server."""

    public: str  # its public half
    made: bool  # by this run; else it was there


class LogLines(Result):
    """The log of one run."""

    lines: tuple[str, ...]  # oldest first


class ScheduledFile(Result):
    """A file that starts zborg by time, in `schedule`."""

    state: str  # missing, there, old (of another zborg.toml or version), changed or foreign: never replaced
    lines: tuple[str, ...] = ()  # by `show`: as it would be installed, else as it is


class Delivered(Result):
    """A message to a notifier."""

    news: tuple[str, ...]  # kinds


class Week(Result):
    """One subject's week in a digest."""

    _always = frozenset({"step"})

    good: int  # how often
    bad: int  # how often
    new_bytes: int  # by good backups
