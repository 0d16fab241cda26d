"""What a step is checked against besides borg's and ZFS's word: room before it, usual numbers and clocks.

For a backup no command is run for it; the past is read once per run, so that 200 hosts cost what one costs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TypeVar

from zborg.errors import ZborgError
from zborg.model import Clock, Dataset, Host, Outcome, Status, Storage, Zfs
from zborg.model.results import HostBackup, Result, backup_of
from zborg.model.text.remedy import command, remedy
from zborg.model.text.units import size
from zborg.planning import clocks
from zborg.planning.backup import unusual
from zborg.planning.backup.plausible import doubt
from zborg.state.frozen import Freeze
from zborg.state.history import History
from zborg.steps.context import Context, StepRun

R = TypeVar("R", bound=Result)

PAST = timedelta(days=14)
"""How far back a usual night is looked for: what stays small for half of it becomes usual."""


def check_room(dataset: Dataset, storage: Storage) -> None:
    """A backup that cannot end is not begun: a repository without room cannot even be listed.

    What ZFS calls available heeds the pool, the quota and refquota of the dataset and of all above it, and
    what is reserved for others.
    """
    if dataset.available < storage.min_free:
        left, wanted = size(dataset.available), size(storage.min_free)
        raise ZborgError(
            f"{dataset.name} has {left} left, less than min_free = {wanted}; nothing was sent",
            remedy(
                command("zfs", "list", "-o", "space,quota,refquota", dataset.name),
                first='README, "When the storage is full", says how to make room; this shows who uses it:',
            ),
        )


def earlier_results(context: Context, kind: str, subject: str, results: type[R]) -> list[R]:
    """Those of the last 90 days' good outcomes about a subject, by the history.

    None where it cannot be read: it is for statistics, and a run that is recorded reports what is wrong.
    """
    since = context.clock() - timedelta(days=unusual.DAYS)
    try:
        found = History(context.config.state_dir / "history.db").outcomes(kind, subject, since)
    except ZborgError:
        return []
    good = (one.outcome.result for one in found if one.outcome.status.good)
    return [one for one in good if isinstance(one, results)]


def freeze_if_unusual(context: Context, host: str, words: Sequence[str]) -> None:
    """Keep its snapshots where the configuration asks for it: they may be all that is left of good nights."""
    if words and context.config.freeze_on_anomaly and host not in context.frozen.now():
        context.frozen.put(Freeze(host, f"unusual: {'; '.join(words)}", context.clock()))


@dataclass(frozen=True)
class Checks:
    """The good backups of the last two weeks, by host."""

    context: Context
    earlier: Mapping[str, Sequence[Outcome]]

    @classmethod
    def gather(cls, run: StepRun) -> Checks:
        """From the run files."""
        outcomes = run.context.runs.outcomes_since("backup", run.started - PAST)
        good = {host: [one for one in some if one.status.good] for host, some in outcomes.items()}
        return cls(run.context, good)

    def judged(self, host: Host, outcome: Outcome) -> Outcome:
        """The outcome of one backup, less good if its archive is not plausible or the clocks differ."""
        if not outcome.status.good:
            return outcome
        made = backup_of(outcome.result)
        earlier = [backup_of(one.result) for one in self.earlier.get(host.name, ())]
        found = doubt(host.name, made, earlier, min_files=host.min_files, shrink=host.shrink)
        skew = clocks.apart(host.name, *made.clocks) if len(made.clocks) == 2 else ""
        nights = earlier_results(self.context, "host", host.name, HostBackup)
        odd = unusual.unusual(unusual.BACKUPS, made, nights)
        freeze_if_unusual(self.context, host.name, odd)
        parts = [found.message if found else "", *odd, skew]
        if not any(parts):
            return outcome
        status = Status.FAILED if found and found.certain else Status.WARNING
        words = "; ".join(filter(None, parts))
        message = "; ".join(filter(None, [words, outcome.message]))
        look = command("zborg", "history", host.name)
        remedy = found.remedy if found else look if odd else clocks.REMEDY
        return replace(
            outcome, status=status, message=message, remedy=remedy, result=made.replace(doubt=words)
        )


def clock_warning(whose: str, there: datetime, here: datetime) -> list[Outcome]:
    """At most one: of a machine whose clock, read just now, is far from ours."""
    words = clocks.apart(whose, there, here)
    return [Outcome("clock", whose, Status.WARNING, words, clocks.REMEDY)] if words else []


def ask_clock(whose: str, zfs: Zfs, here: Clock) -> list[Outcome]:
    """The same, after asking, by one command.

    No finding for one that cannot be asked: a target that may receive and no more gives no time, and what
    cannot be reached the step itself reports.
    """
    try:
        there = zfs.clock()
    except ZborgError:
        return []
    return clock_warning(whose, there, here())
