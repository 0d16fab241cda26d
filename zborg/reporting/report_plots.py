"""Plots as SVG that stands in a page: no script, no style and no name of its own. Pure.

Drawn by pygal (pygal.org). What it adds for a file that stands alone is taken out: its stylesheet, which has
one theme, its script, and the texts of its tooltips. The page's stylesheet colours what is left.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

if TYPE_CHECKING:
    from markupsafe import Markup

Points = Sequence[tuple[date, float]]

_WIDTH, _HEIGHT, _LETTER = 420, 200, 12  # in units of the SVG, which is as wide as its place
_SVG = "{http://www.w3.org/2000/svg}"
_YEAR = 366  # days, from where on a label needs the year
_LONG = re.compile(r"(\.\d)\d+")
_BYTES = tuple(
    (1024.0**power, unit) for power, unit in enumerate(("bytes", "KiB", "MiB", "GiB", "TiB", "PiB"))
)
_SECONDS = ((1.0, "s"), (60.0, "min"), (3600.0, "h"), (86_400.0, "days"))


@dataclass(frozen=True, slots=True)
class Plot:
    """What is drawn, and its text for a reader who cannot see it. `key` is the page's own name of it."""

    key: str
    title: str
    words: str
    points: Points
    ahead: Points = ()  # a forecast, dashed
    unit: str = ""  # bytes, seconds, or what follows a number
    bars: bool = False


def svg(plot: Plot) -> Markup | None:
    """None: there is nothing to draw."""
    from markupsafe import Markup

    if not plot.points:
        return None
    scale, unit = _scale(plot)
    chart = _chart(plot, unit, max(value for _, value in (*plot.points, *plot.ahead)) / scale)
    for name, points in (("seen", plot.points), ("expected", plot.ahead)):
        if points and not plot.bars:
            chart.add(name, [(day, value / scale) for day, value in points])
    if plot.bars:
        chart.add("seen", [value / scale for _, value in plot.points])
    # Of ElementTree's own making: whatever the title says is escaped in it.
    return Markup(_bare(ElementTree.fromstring(chart.render()), plot))


def _chart(plot: Plot, unit: str, top: float) -> Any:
    """A chart without numbers yet, from 0 up: half of a truncated axis looks like a loss of half."""
    import pygal
    from pygal.style import Style

    options: dict[str, Any] = {
        "style": Style(label_font_size=_LETTER, major_label_font_size=_LETTER),
        "js": (),
        "show_legend": False,
        "width": _WIDTH,
        "height": _HEIGHT,
        "margin": 6,
        "min_scale": 2,
        "max_scale": 5,
        "range": (0, top * 1.05 or 1),
        "truncate_label": -1,
        "value_formatter": lambda value: f"{value:g} {unit}".strip(),
    }
    days = [day for day, _ in (*plot.points, *plot.ahead)]
    label = _label(days)
    if plot.bars:
        shown = {days[(len(days) - 1) * part // 6] for part in (1, 3, 5)}
        return pygal.Bar(x_labels=[label(day) if day in shown else "" for day in days], **options)
    dots = days[0] == days[-1]  # of one point no line can be drawn
    marks = _spread(days[0], days[-1])
    return pygal.DateLine(show_dots=dots, x_labels=marks, x_value_formatter=label, **options)


def _spread(first: date, last: date) -> list[date]:
    """Up to three days that stand well apart from each other and from the edges."""
    length = (last - first).days
    return sorted({first + timedelta(days=length * part // 6) for part in (1, 3, 5)})


def _label(days: Sequence[date]) -> Callable[[date], str]:
    long = (max(days) - min(days)).days > _YEAR
    return lambda day: f"{day:%Y-%m}" if long else f"{day:%m-%d}"


def _scale(plot: Plot) -> tuple[float, str]:
    """The largest unit of which the highest point has at least one."""
    units = {"bytes": _BYTES, "seconds": _SECONDS}.get(plot.unit, ((1.0, plot.unit),))
    top = max(value for _, value in (*plot.points, *plot.ahead))
    return next((one for one in reversed(units) if top >= one[0]), units[0])


def _bare(root: ElementTree.Element, plot: Plot) -> str:
    _strip(root)
    root.attrib = {
        "viewBox": root.attrib["viewBox"],
        "role": "img",
        "class": "plot",
        "aria-labelledby": f"{plot.key}-title {plot.key}-words",
    }
    for place, (tag, words) in enumerate((("title", plot.title), ("desc", plot.words))):
        label = ElementTree.Element(tag, {"id": f"{plot.key}-{'words' if place else tag}"})
        label.text = words
        root.insert(place, label)
    return ElementTree.tostring(root, encoding="unicode", short_empty_elements=True)


def _strip(element: ElementTree.Element) -> None:
    """Only what is drawn stays, with coordinates to a tenth."""
    element.tag = element.tag.removeprefix(_SVG)
    for key in element.attrib.keys() & {"d", "x", "y", "width", "height", "transform"}:
        element.set(key, _LONG.sub(r"\1", element.attrib[key]))
    for child in list(element):
        _strip(child)
        if _is_idle(child):
            element.remove(child)


def _is_idle(element: ElementTree.Element) -> bool:
    words = element.get("class", "").split()
    if element.tag == "g" and "guides" in words:  # a tick without its label
        return not "".join(element.itertext())
    bare = element.tag == "g" and not len(element)
    return bare or element.tag in ("defs", "title", "desc", "script") or "tooltip" in words
