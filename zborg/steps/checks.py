"""What a step is checked against besides borg's and ZFS's word: room before it, usual numbers and clocks.

For a backup no command is run for it; the past is read once per run, so that 200 hosts cost what one costs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from zborg.errors import ZborgError
from zborg.model import Clock, Dataset, Host, Outcome, Status, Storage, Zfs
from zborg.model.results import backup_of
from zborg.model.text.remedy import command, remedy
from zborg.model.text.units import size
from zborg.planning import clocks
from zborg.planning.backup.plausible import doubt
from zborg.steps.context import StepRun

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


@dataclass(frozen=True)
class Checks:
    """The good backups of the last two weeks, by host."""

    earlier: Mapping[str, Sequence[Outcome]]

    @classmethod
    def gather(cls, run: StepRun) -> Checks:
        """From the run files."""
        outcomes = run.context.runs.outcomes_since("backup", run.started - PAST)
        return cls({host: [one for one in some if one.status.good] for host, some in outcomes.items()})

    def judged(self, host: Host, outcome: Outcome) -> Outcome:
        """The outcome of one backup, less good if its archive is not plausible or the clocks differ."""
        if not outcome.status.good:
            return outcome
        made = backup_of(outcome.result)
        earlier = [backup_of(one.result) for one in self.earlier.get(host.name, ())]
        found = doubt(host.name, made, earlier, min_files=host.min_files, shrink=host.shrink)
        skew = clocks.apart(host.name, *made.clocks) if len(made.clocks) == 2 else ""
        parts = [found.message if found else "", skew]
        if not any(parts):
            return outcome
        status = Status.FAILED if found and found.certain else Status.WARNING
        words = "; ".join(filter(None, parts))
        message = "; ".join(filter(None, [words, outcome.message]))
        remedy = found.remedy if found else clocks.REMEDY
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
