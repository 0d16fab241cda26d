"""How far a target is behind, by what the last runs have saved: nobody is asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import islice

from zborg.model import Report, Target
from zborg.model.results import Replicated, SnapshotTaken, backup_of
from zborg.model.subjects import OnTarget, below
from zborg.model.text.units import counted, duration, size
from zborg.state.runs import Runs

_FAR = 60  # replications that are looked through for the last good one of each dataset


@dataclass(frozen=True, slots=True)
class Lag:
    """`seconds` since the last replication of the dataset that waits longest, None: it was never sent.

    `bytes` is what borg wrote since then into the repositories that wait, which is about what is to be sent.
    """

    datasets: tuple[str, ...] = ()
    seconds: float | None = 0.0
    bytes: int = 0

    def __str__(self) -> str:
        if not self.datasets:
            return "nothing behind"
        age = "never sent" if self.seconds is None else f"up to {duration(self.seconds)}"
        wait = f", about {size(self.bytes)}" if self.bytes else ""
        return f"{counted(len(self.datasets), 'dataset')} behind the newest snapshot, {age}{wait}"


def lag_of(runs: Runs, root: str, target: Target, now: datetime) -> Lag | None:
    """`root` is that of the datasets on the storage. None when no snapshot is known."""
    taken = next((one for one in runs.newest_first("snapshot") if _snapshots(one, root)), None)
    if taken is None:
        return None
    names = _snapshots(taken, root)
    sent = _sent(runs, target, names)
    late = [name for name in names if not _has(sent.get(name), taken, names[name])]
    ages = [(now - sent[name][0].finished).total_seconds() if name in sent else None for name in late]
    known = [age for age in ages if age is not None]
    longest = None if len(known) < len(ages) else max(known, default=0.0)
    return Lag(tuple(late), longest, _written(runs, {name: sent[name][0] for name in late if name in sent}))


def _snapshots(report: Report, root: str) -> dict[str, str]:
    """By a dataset's name below the root the snapshot that was taken of it."""
    found = {}
    for one in report.outcomes:
        if (
            isinstance(one.result, SnapshotTaken)
            and one.result.snapshot
            and (name := below(root, one.subject))
        ):
            found[name] = one.result.snapshot.partition("@")[2]
    return found


def _sent(runs: Runs, target: Target, wanted: Mapping[str, str]) -> dict[str, tuple[Report, Replicated]]:
    """By a dataset's name below the root the last replication that went well."""
    found: dict[str, tuple[Report, Replicated]] = {}
    for report in islice(runs.newest_first("replicate"), _FAR):
        for one in report.outcomes:
            copy = OnTarget.parse(one.subject)
            if one.status.good and isinstance(one.result, Replicated) and copy.target == target.name:
                found.setdefault(below(target.dataset, copy.name), (report, one.result))
        if found.keys() >= wanted.keys():
            break
    return found


def _has(sent: tuple[Report, Replicated] | None, taken: Report, snapname: str) -> bool:
    """By name, or because it was up to date in a run that began later."""
    return sent is not None and (sent[1].snapshot == snapname or sent[0].started >= taken.finished)


def _written(runs: Runs, since: Mapping[str, Report]) -> int:
    if not since:
        return 0
    backups = runs.outcomes_since("backup", min(one.finished for one in since.values()))
    numbers = [backup_of(one.result).new_bytes or 0 for name in since for one in backups.get(name, ())]
    return sum(number for number in numbers if number > 0)
