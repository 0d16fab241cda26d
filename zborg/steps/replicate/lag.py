"""How far a target is behind, by what the last runs have saved: nobody is asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from zborg.model import Target
from zborg.model.results import backup_of
from zborg.model.text.units import counted, duration, size
from zborg.state.recorded.moment import Moment
from zborg.steps.run_queries import Sent, Taken, last_sent, last_taken


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


def lag_of(runs: Moment, root: str, target: Target, now: datetime) -> Lag | None:
    """`root` is that of the datasets on the storage. None when no snapshot is known."""
    taken = last_taken(runs, root)
    if taken is None:
        return None
    sent = last_sent(runs, target.name, target.dataset, list(taken.names))
    late = [name for name in taken.names if not _is_sent(name, sent.get(name), taken)]
    ages = [(now - sent[name].report.finished).total_seconds() if name in sent else None for name in late]
    known = [age for age in ages if age is not None]
    longest = None if len(known) < len(ages) else max(known, default=0.0)
    since = {name: sent[name].report.finished for name in late if name in sent}
    return Lag(tuple(late), longest, _written(runs, since))


def _is_sent(name: str, sent: Sent | None, taken: Taken) -> bool:
    """By the snapshot's name, or because the copy was up to date in a run that began later."""
    return sent is not None and (
        sent.result.snapshot == taken.names[name] or sent.report.started >= taken.report.finished
    )


def _written(runs: Moment, since: Mapping[str, datetime]) -> int:
    if not since:
        return 0
    backups = runs.hosts_since("backup", min(since.values()))
    numbers = [backup_of(one.result).new_bytes or 0 for name in since for _, one in backups.get(name, ())]
    return sum(number for number in numbers if number > 0)
