"""What earlier nights tell about each host: how long its backup takes, and when it last pruned."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from zborg.model import Outcome
from zborg.model.words import moment_of
from zborg.planning.schedule import typical
from zborg.state.runs import Runs

_NIGHTS = timedelta(days=7)
_FAR = timedelta(days=3660)  # an interval may be longer than there are years behind us
_LONGEST = 366 * 86400.0  # seconds; what claims more was never measured


@dataclass(frozen=True)
class Past:
    """By host; who has no history is not there."""

    seconds: Mapping[str, float]
    pruned: Mapping[str, datetime]  # the start of the run in which it last did, or said that it keeps all


def look_back(runs: Runs, now: datetime, prune_every: int) -> Past:
    """Read once per run. What is odd is passed over: history never stops a backup."""
    since = now - min(max(_NIGHTS, timedelta(seconds=prune_every)), _FAR)
    nights = runs.outcomes_since("backup", since)
    seconds = {name: _seconds(outcomes) for name, outcomes in nights.items()}
    pruned = {name: _pruned(outcomes) for name, outcomes in nights.items()}
    return Past(
        {name: typical(some) for name, some in seconds.items() if some},
        {name: last for name, last in pruned.items() if last},
    )


def _seconds(outcomes: Iterable[Outcome]) -> Sequence[float]:
    told = [outcome.data.get("seconds") for outcome in outcomes if outcome.status.good]
    return [
        float(one)
        for one in told
        if isinstance(one, int | float) and not isinstance(one, bool) and 0 <= one <= _LONGEST
    ]


def _pruned(outcomes: Iterable[Outcome]) -> datetime | None:
    told = [moment_of(one.data.get(key)) for one in outcomes for key in ("pruned", "keeps_all")]
    return max((one for one in told if one), default=None)
