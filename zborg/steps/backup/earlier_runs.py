"""What earlier nights show of each host: how long its backup takes, and when it last pruned."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from zborg.model import Outcome
from zborg.model.results import backup_of
from zborg.planning.backup.schedule import typical
from zborg.state.runs import Runs

_NIGHTS, _DAY = timedelta(days=7), timedelta(days=1)
_FAR = timedelta(days=3660)  # an interval may be longer than there are years behind us
_LONGEST = 366 * 86400.0  # seconds; what claims more was never measured


@dataclass(frozen=True)
class Past:
    """By host; who has no history is not there."""

    seconds: Mapping[str, float]
    since: Mapping[str, datetime]  # the end of its last good backup; without one, of its first try
    pruned: Mapping[str, datetime]  # the start of the run in which it last did, or reported that it keeps all
    witness: Mapping[str, int]  # HostBackup.witness, where anything is known of it


def look_back(runs: Runs, now: datetime, prune_every: int, max_age: int = 0) -> Past:
    """Read once per run, at least `max_age` seconds and a day back. What is odd is passed over: history never
    stops a backup."""
    longest = max(_NIGHTS, timedelta(seconds=prune_every), timedelta(seconds=max_age) + _DAY)
    since = now - min(longest, _FAR)
    nights = runs.outcomes_since("backup", since)
    seconds = {name: _seconds(outcomes) for name, outcomes in nights.items()}
    pruned = {name: _pruned(outcomes) for name, outcomes in nights.items()}
    tried = {name: _since(outcomes) for name, outcomes in nights.items()}
    given = {name: _witness(outcomes) for name, outcomes in nights.items()}
    return Past(
        {name: typical(some) for name, some in seconds.items() if some},
        {name: at for name, at in tried.items() if at},
        {name: last for name, last in pruned.items() if last},
        {name: last for name, last in given.items() if last is not None},
    )


def _seconds(outcomes: Iterable[Outcome]) -> Sequence[float]:
    took = [backup_of(outcome.result).seconds for outcome in outcomes if outcome.status.good]
    return [float(one) for one in took if one is not None and 0 <= one <= _LONGEST]


def _since(outcomes: Sequence[Outcome]) -> datetime | None:
    ends = [(one.status.good, backup_of(one.result).finished) for one in outcomes]
    good = [at for is_good, at in ends if is_good and at]
    tried = [at for _, at in ends if at]
    return max(good) if good else min(tried, default=None)


def _pruned(outcomes: Iterable[Outcome]) -> datetime | None:
    found = [backup_of(outcome.result) for outcome in outcomes]
    return max((at for one in found for at in (one.pruned, one.keeps_all) if at), default=None)


def _witness(outcomes: Sequence[Outcome]) -> int | None:
    """The newest that is known."""
    known = [given for one in outcomes if (given := backup_of(one.result).witness) is not None]
    return known[0] if known else None
