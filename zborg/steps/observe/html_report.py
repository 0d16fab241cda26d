"""report: what the history has of many days, as a page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime, time, timedelta
from pathlib import Path
from stat import S_IMODE
from typing import Any

from zborg import atomic
from zborg.config import Config
from zborg.errors import Exit, ZborgError
from zborg.model import News, Notifier, Outcome, Report, Status
from zborg.model.figures import CompactionFigures, Figures, HostFigures, PoolFigures, TargetFigures
from zborg.model.results import HostProof, PoolForecast, PoolUse, TargetLag, Trend
from zborg.model.text import os_errors
from zborg.model.text.units import counted, size, span
from zborg.planning.observe.figures import Recorded, figures
from zborg.reporting.notify import message
from zborg.state.escrow.sealed import Escrow
from zborg.state.history import History
from zborg.state.ledger.ledger import known
from zborg.state.runs import new_run
from zborg.steps.compact.known import compactions
from zborg.steps.context import inspect
from zborg.steps.escrow.overdue import outcomes as unproved
from zborg.steps.inventory import vanished
from zborg.steps.ledger.begun import folder_of
from zborg.steps.observe.notify import deliver, nobody

COMMAND = "report"


def gathered(past: History, config: Config, days: int, now: datetime) -> Figures:
    """What there is to show of today and the days before it, `days` in all. Raises as History."""
    here = now.astimezone()
    first = here.date() - timedelta(days=days - 1)
    since = datetime.combine(first, time()).astimezone()
    escrow = Escrow(config.state_dir / "escrow")
    names = [host.name for host in config.hosts]
    return figures(
        Recorded(
            first=first,
            last=here.date(),
            hosts=past.outcomes("host", since=since),
            datasets=past.outcomes("dataset", since=since),
            replicas=past.outcomes("replica", since=since),
            pools=past.outcomes("pool", since=since),
            verified=past.outcomes("verify", since=since),
            ledger=known(folder_of(config)),
            compactions=compactions(config),
            names=names,
            root=config.storage.dataset,
            targets={target.name: target.dataset for target in config.targets},
            sealed=frozenset(name for name in names if escrow.sealed_for(name)),
        )
    )


def planned(config: Config, now: datetime, lines: Sequence[str], *, mail: bool) -> Report:
    """The report of a dry run."""
    plan = (*lines, *(["send it by the notifiers of [notify]"] if mail else []))
    return Report(COMMAND, new_run(now), config.name, now, now, Status.OK, Exit.OK, (), plan)


def written(place: Path, html: str) -> Outcome:
    """A new file is its owner's alone, for it names hosts and what fails there; an older one keeps its mode.

    Readers see the old page or the new one. Raises ZborgError.
    """
    try:
        mode = S_IMODE(place.stat().st_mode) if place.exists() else atomic.FOR_OWNER
        atomic.write(place, html, mode)
    except OSError as error:
        raise ZborgError(*os_errors.describe(error, str(place), "cannot be written")) from error
    return Outcome("file", str(place), Status.OK, size(len(html.encode())))


def report(found: Figures, config: Config, now: datetime, outcomes: Sequence[Outcome]) -> Report:
    """The same in a few numbers. It only shows: whatever the nights came to, this is exit 0."""
    space = {one.name: one for one in found.compactions}
    shown = (
        *vanished(config),
        *unproved(config, now),
        *(_host(one, space.get(one.name)) for one in found.hosts),
        *map(_pool, found.pools),
        *(_target(one) for one in found.targets if one.behind),
        *outcomes,
    )
    return Report(COMMAND, new_run(now), config.name, now, now, Status.OK, Exit.OK, shown)


def _host(one: HostFigures, space: CompactionFigures | None) -> Outcome:
    trend: dict[str, Any] = vars(one.trend)
    result = HostProof(
        **trend,
        sealed=one.proof.sealed,
        last_good=one.proof.backup,
        snapshot=one.proof.snapshot,
        restored=one.proof.restore,
        verified=one.proof.verified,
        copies=one.proof.copies,
        freed=space.freed if space else None,
        gain=space.gain if space else None,
        held_until=space.held_until if space else None,
    )
    return Outcome("host", one.name, Status.OK, "; ".join(_words(one.trend)), result=result)


def _words(trend: Trend) -> Iterator[str]:
    yield f"{trend.good} of {counted(trend.of, 'backup')} good"
    if trend.usual_new_bytes is not None and trend.usual_seconds is not None:
        yield f"usually {size(trend.usual_new_bytes)} new in {span(trend.usual_seconds)}"


def _pool(one: PoolFigures) -> Outcome:
    used = one.used[-1][1]
    result = PoolUse(size=one.size, used=used)
    words = f"{used / one.size:.0%} of {size(one.size)} used"
    if one.forecast:
        full = one.forecast.full
        a_day = one.forecast.bytes_a_day
        result = PoolForecast(size=one.size, used=used, bytes_a_day=a_day, full=full)
        words += f", full about {full}" if full else ", not full for years"
    return Outcome("pool", one.name, Status.OK, words, result=result)


def _target(one: TargetFigures) -> Outcome:
    worst, now = max(days for _, days in one.behind), one.behind[-1][1]
    words = f"{counted(now, 'day')} behind, {counted(worst, 'day')} at worst"
    return Outcome("target", one.name, Status.OK, words, result=TargetLag(days_behind=now, worst=worst))


# --- sending ----------------------------------------------------------------------------------------------


def send(notifiers: Sequence[Notifier], made: Report, status: Report, html: str, config: Config) -> Report:
    """`status` to every notifier, with the page attached where that can be. Any failure is a failure (4).

    Attached, because mail readers drop what a page has of plots and style, and cut what is long.
    """
    mail = message(replace(status, command=COMMAND), (), config.notify.subject)
    mail = replace(mail, news=frozenset({News.REPORT}), attached=html)
    outcomes = deliver(notifiers, [mail], config.notify.timeout) or [nobody(config)]
    worst, code = inspect(outcomes)
    return replace(made, outcomes=(*made.outcomes, *outcomes), status=worst, exit=code)
