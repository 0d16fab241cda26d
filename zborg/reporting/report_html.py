"""Figures -> one HTML page that needs nothing from elsewhere: no script, no image, no font. Pure.

The template is report.html, beside it report.css. Text of a host is escaped by the template engine,
and a policy in the page forbids the browser to load or to run anything at all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING

from zborg.model import Outcome, Report, Status
from zborg.model.figures import Backups, Day, Figures, HostFigures, PoolFigures, TargetFigures
from zborg.model.results import NOTHING, Walls
from zborg.model.text.units import counted, size, span
from zborg.model.wall import parse
from zborg.reporting.notify_html import clean
from zborg.reporting.report_plots import Plot, Points, svg

if TYPE_CHECKING:
    from jinja2 import Template

_QUIET = (Status.OK, Status.SKIPPED)
_TONES = dict.fromkeys(_QUIET, "good") | dict.fromkeys(
    (Status.WARNING, Status.PARTIAL, Status.BUSY), "partial"
)
WALLS = "borg serve"  # the subject of status's line on the walls; no host's name has a blank
_WEEK = 7
_BARS = 130  # at most, side by side in one plot


@dataclass(frozen=True, slots=True)
class _Month:
    """A leaf of the calendar: weeks from Monday on, None where another month is."""

    name: str
    weeks: Sequence[Sequence[Day | None]]


@dataclass(frozen=True, slots=True)
class _Host:
    key: str
    figures: HostFigures
    now: Outcome | None  # None: zborg.toml has no such host any more
    plots: Sequence[Plot]
    wall: str = ""  # around its last borg serve


@dataclass(frozen=True, slots=True)
class _Pool:
    figures: PoolFigures
    words: str
    plot: Plot


@dataclass(frozen=True, slots=True)
class _Target:
    figures: TargetFigures
    words: str
    plot: Plot


def html(figures: Figures, status: Report) -> str:
    """`status` is what `zborg status` says now: the page begins with what of it needs a look."""
    now = {one.subject: one for one in status.outcomes if one.kind in ("host", "vanished", "wall")}
    return _template().render(
        figures=figures,
        status=status,
        looks=[one for one in status.outcomes if one.status not in _QUIET],
        lead=_lead(figures, [one for one in now.values() if one.kind == "host"]),
        months=_months(figures.calendar),
        nights=list(_nights(figures.calendar)),
        hosts=[_host(f"host-{n}", one, now, figures) for n, one in enumerate(figures.hosts)],
        pools=[_pool(f"pool-{n}", one) for n, one in enumerate(figures.pools)],
        verify=_step(status, "verify"),
        compact=_step(status, "compact"),
        drill=_step(status, "drill"),
        targets=[_target(f"target-{n}", one) for n, one in enumerate(figures.targets)],
    )


def _step(status: Report, name: str) -> Outcome | None:
    return next((one for one in status.outcomes if (one.kind, one.subject) == ("step", name)), None)


@cache
def _template() -> Template:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("zborg.reporting", "."),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    environment.filters.update(size=size, span=span, instant=_instant, svg=svg)
    environment.filters["clean"] = lambda value: clean(str(value))
    environment.filters["tone"] = _tone
    return environment.get_template("report.html")


def _tone(status: Status) -> str:
    return _TONES.get(status, "failed")


def _instant(at: datetime | None) -> str:
    """In this machine's zone, as people read it."""
    return f"{at.astimezone():%Y-%m-%d %H:%M}" if at else "never"


def _lead(figures: Figures, hosts: Sequence[Outcome]) -> str:
    good = sum(one.status in _QUIET for one in hosts)
    nights = sum(day.word in ("good", "warned") for day in figures.calendar)
    parts = [f"{good} of {counted(len(hosts), 'host')} well now"] if hosts else []
    if figures.calendar:
        parts.append(f"{nights} of {counted(len(figures.calendar), 'night')} without a failed host")
    return "; ".join(parts)


# --- nights -----------------------------------------------------------------------------------------------


def _months(calendar: Iterable[Day]) -> list[_Month]:
    months: dict[str, list[Day]] = {}
    for day in calendar:
        months.setdefault(f"{day.day:%Y-%m}", []).append(day)
    return [_Month(name, _weeks({one.day: one for one in days})) for name, days in months.items()]


def _weeks(days: Mapping[date, Day]) -> list[list[Day | None]]:
    first, last = min(days), max(days)
    monday = first - timedelta(days=first.weekday())
    weeks = range(((last - monday).days // _WEEK) + 1)
    return [[days.get(monday + timedelta(days=_WEEK * n + m)) for m in range(_WEEK)] for n in weeks]


def _nights(calendar: Sequence[Day]) -> Iterator[Plot]:
    new = [(one.day, one.new_bytes) for one in calendar]
    took = [(one.day, one.seconds) for one in calendar if one.word != "none"]
    words = f"{counted(len(calendar), 'night')}; the numbers are in the table below"
    yield Plot("nights-new", "New data of all hosts per night", words, new, unit="bytes", bars=_few(new))
    yield Plot("nights-took", "Time in which backups ran", words, took, unit="seconds")


def _few(points: Points) -> bool:
    """Whether bars would stand apart."""
    return len(points) <= _BARS


# --- hosts ------------------------------------------------------------------------------------------------


def _host(key: str, one: HostFigures, now: Mapping[str, Outcome], figures: Figures) -> _Host:
    walls = now[WALLS].result if WALLS in now else NOTHING
    found = walls.walls.get(one.name, "") if isinstance(walls, Walls) else ""
    wall = str(parse(found)) if found else ""
    return _Host(key, one, now.get(one.name), list(_plots(key, one, figures)), wall)


def _plots(key: str, one: HostFigures, figures: Figures) -> Iterator[Plot]:
    """Three; what a day did not bring is no new data, and a gap in the other two."""
    name, rows = clean(one.name), one.backups
    per = "night" if figures.step == 1 else "week"
    known = any(row.new_bytes is not None for row in rows)
    new = [(row.day, row.new_bytes or 0) for row in rows] if known else []
    sizes, took = _points(rows, "original_bytes"), _points(rows, "seconds")
    yield Plot(f"{key}-size", "Size", _told(f"Size of {name}", sizes, size), sizes, unit="bytes")
    words = _told(f"New data of {name} per {per}", new, size)
    yield Plot(f"{key}-new", f"New data per {per}", words, new, unit="bytes", bars=True)
    yield Plot(f"{key}-took", "Duration", _told(f"Duration for {name}", took, span), took, unit="seconds")


def _points(rows: Iterable[Backups], key: str) -> Points:
    return [(row.day, value) for row in rows if (value := getattr(row, key)) is not None]


def _told(what: str, points: Points, words: Callable[[float], str]) -> str:
    if not points:
        return what
    values = [value for _, value in points]
    span_ = f"from {points[0][0]} to {points[-1][0]}"
    ends = f"{words(min(values))} at least, {words(max(values))} at most, {words(values[-1])} last"
    return f"{what} {span_}: {ends}"


# --- pools and targets ------------------------------------------------------------------------------------


def _pool(key: str, one: PoolFigures) -> _Pool:
    share = [(day, 100 * used / one.size) for day, used in one.used]
    ahead = [(day, 100 * used / one.size) for day, used in one.forecast.line] if one.forecast else []
    words = _fill(one)
    plot = Plot(key, f"How full {clean(one.name)} is", words, share, ahead, unit="%")
    return _Pool(one, words, plot)


def _fill(one: PoolFigures) -> str:
    now = f"{one.used[-1][1] / one.size:.0%} of {size(one.size)} used"
    if one.forecast is None:
        return f"{now}; too few days to say when it will be full"
    if one.forecast.full is None:
        return f"{now}; at this pace it will not be full in the next five years"
    a_day = f"{size(one.forecast.bytes_a_day)} more each day"
    return f"{now}; {a_day}: at this pace it will be full about {one.forecast.full}"


def _target(key: str, one: TargetFigures) -> _Target:
    if not one.behind:
        return _Target(one, "nothing was sent in these days", Plot(key, "", "", ()))
    worst, now = max(days for _, days in one.behind), one.behind[-1][1]
    words = f"{counted(now, 'day')} behind; at worst it was {counted(worst, 'day')}"
    title = f"Days that {clean(one.name)} was behind"
    return _Target(one, words, Plot(key, title, words, one.behind, unit="days", bars=_few(one.behind)))
