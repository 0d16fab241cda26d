"""What a backup is checked against besides borg's word: room before it, the usual numbers after it.

No command is run for it; the past is read once per run, so that 200 hosts cost what one costs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

from zborg.errors import ZborgError
from zborg.model import Dataset, Host, Outcome, Status, Storage
from zborg.model.words import size
from zborg.planning.plausible import doubt
from zborg.steps.context import Begun

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
            f"zfs list -o space,quota,refquota {dataset.name}; README, When the storage is full",
        )


@dataclass(frozen=True)
class Checks:
    """The good backups of the last two weeks, by host."""

    earlier: Mapping[str, Sequence[Outcome]]

    @classmethod
    def gather(cls, begun: Begun) -> Checks:
        outcomes = begun.context.runs.outcomes_since("backup", begun.started - PAST)
        return cls({host: [one for one in some if one.status.good] for host, some in outcomes.items()})

    def judged(self, host: Host, outcome: Outcome) -> Outcome:
        """The outcome of one backup, less good if its archive is not plausible."""
        if not outcome.status.good:
            return outcome
        earlier = [one.data for one in self.earlier.get(host.name, ())]
        found = doubt(host.name, outcome.data, earlier, min_files=host.min_files, shrink=host.shrink)
        if found is None:
            return outcome
        status = Status.FAILED if found.certain else Status.WARNING
        message = "; ".join(filter(None, (found.message, outcome.message)))
        data = {**outcome.data, "doubt": found.message}
        return replace(outcome, status=status, message=message, remedy=found.remedy, data=data)
