"""Lines of `status` about steps that may be given some hosts only: each host by its own last outcome.

What `zborg audit web1` came to says nothing of web2, of which an earlier run may have found something.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Any

from zborg.config import Config
from zborg.model import Outcome, Status
from zborg.model.results import NOTHING, CompactState
from zborg.model.text.units import duration
from zborg.state.recorded.moment import Moment
from zborg.state.runs import Runs
from zborg.steps.compact.known import compactions, summed
from zborg.steps.inventory import known_hosts_of
from zborg.steps.observe.last_run import Limit, facts, shown
from zborg.steps.run_queries import OfEach, newest_of_each

_FINE = (Status.OK, Status.SKIPPED)
_FEW = 5  # names in one line

Earlier = Mapping[str, tuple[datetime, Outcome]]
"""By host its last outcome, and when that ended."""


def first_of(config: Config, runs: Runs, name: str) -> datetime | None:
    """When a host was first configured; where that is not known, since when the server is in use."""
    known = known_hosts_of(config).get(name)
    return known.first if known and known.first else runs.since()


def audited(config: Config, runs: Moment, now: datetime, first: datetime | None) -> list[Outcome]:
    """The last audit, and the last one of each host that it did not look at."""
    limit = Limit(config.snapshot_max_age, first)
    found = _of_each(config, runs, "audit")
    if found is None:
        return shown("audit", None, limit, now)
    earlier = _aged(found.earlier, now)
    not_begun = all(one.kind == "step" for one in found.outcomes)
    together = [*found.outcomes, *([] if not_begun else earlier)]
    step, *odd = shown("audit", (found.report, together), limit, now)
    if not_begun:
        odd += [one for one in earlier if one.status not in _FINE]
    return [_overdue(step, found.earlier, limit, now), *odd]


def _overdue(
    step: Outcome, earlier: Mapping[str, tuple[datetime, Outcome]], limit: Limit, now: datetime
) -> Outcome:
    """The step's line: it is overdue when one host's last is too long ago, however young the others are."""
    late = [name for name, (at, _) in earlier.items() if (now - at).total_seconds() > limit.seconds]
    if not late or step.status.bad:
        return step
    words = f"overdue: {_some(late)}; {step.message}"
    return replace(step, status=Status.FAILED, message=words, remedy="zborg audit")


def compacted(config: Config, runs: Moment, now: datetime) -> Iterator[Outcome]:
    """What compactions freed, what is held, what could be given back, and each host's that did not go well.

    Nothing before there was any of it.
    """
    found = _of_each(config, runs, "compact")
    if sums := summed(compactions(config)):
        words, numbers = sums
        ran: dict[str, Any] = vars(facts(found.report)) if found else {}
        ago = f"{duration((now - found.report.finished).total_seconds())} ago: " if found else ""
        result = CompactState(
            **ran,
            held=numbers.held,
            held_until=numbers.held_until,
            freed=numbers.freed,
            gain=numbers.gain,
        )
        yield Outcome("step", "compact", Status.OK, f"{ago}{words}", result=result)
    for one in (*found.outcomes, *_aged(found.earlier, now)) if found else ():
        if one.status not in _FINE:
            yield replace(one, kind="compact", result=NOTHING)


def _of_each(config: Config, runs: Moment, command: str) -> OfEach | None:
    names = [host.name for host in config.hosts]
    return newest_of_each(runs, command, names, partial(first_of, config, runs))


def _aged(earlier: Earlier, now: datetime) -> list[Outcome]:
    """With the time since then before the words: the line above is of a later run."""
    return [
        replace(
            one, message=f"{duration(max((now - at).total_seconds(), 0))} ago: {one.message}", result=NOTHING
        )
        for at, one in earlier.values()
    ]


def _some(names: Collection[str]) -> str:
    return ", ".join([*sorted(names)[:_FEW], *(["and more"] if len(names) > _FEW else [])])
