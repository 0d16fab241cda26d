"""crontab(5) as Vixie cron and Debian's read it: what a line starts and when, or why it is passed over. Pure.

Debian's cron ignores a whole file for one bad line ("Syntax error, this crontab file will be ignored" in its
log; cronie skips that line alone), and one whose last line has no newline (cron(8)). What only cronie (`~`)
or FreeBSD (`@every_minute`) know is an error here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import pairwise

NEVER = 36500  # days
_PATH = "/usr/bin:/bin"  # of a job, unless the file sets it
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
# name, lowest, highest, names from the lowest on
_FIELDS = (
    ("minute", 0, 59, ()),
    ("hour", 0, 23, ()),
    ("day of month", 1, 31, ()),
    ("month", 1, 12, _MONTHS),
    ("day of week", 0, 7, _DAYS),
)
_NICKNAMES = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_REBOOT = "@reboot"
_SETTING = re.compile(r"""\s*("[^"]*"|'[^']*'|[^\s="']+)\s*=\s*(.*?)\s*""")
_PART = re.compile(r"(?P<first>\*|\w+)(?:-(?P<last>\w+))?(?:/(?P<step>\d+))?")
_FIRST_DAY, _CYCLE = date(2023, 1, 1), 28 * 365 + 7  # days; then the calendar repeats, weekdays and all


@dataclass(frozen=True, slots=True)
class Times:
    """On which days; the hour is nobody's concern here."""

    days: frozenset[int] | None  # of the month; None: any (cron's `*`)
    months: frozenset[int]
    weekdays: frozenset[int] | None  # 0 is Sunday

    def on(self, day: date) -> bool:
        """Where both days are restricted, either is enough (crontab(5))."""
        if day.month not in self.months:
            return False
        weekday = day.isoweekday() % 7
        if self.days is not None and self.weekdays is not None:
            return day.day in self.days or weekday in self.weekdays
        return (self.days is None or day.day in self.days) and (
            self.weekdays is None or weekday in self.weekdays
        )

    def gap(self) -> int:
        """The most days from one start to the next; NEVER for a day that no calendar has."""
        days = [one for one in map(_day, range(_CYCLE)) if self.on(one)]
        if not days:
            return NEVER
        again = [*days, days[0] + timedelta(days=_CYCLE)]
        return max((after - before).days for before, after in pairwise(again))


def _day(number: int) -> date:
    return _FIRST_DAY + timedelta(days=number)


@dataclass(frozen=True, slots=True)
class Job:
    """One line that starts something. `times` None: at a reboot."""

    number: int
    times: Times | None
    user: str  # "" in a user's own crontab
    command: str  # up to an unescaped %, from which on it is the job's stdin
    path: str
    settings: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Bad:
    """A line that is neither a job nor a setting."""

    number: int
    why: str
    text: str


def parse(text: str, *, system: bool) -> tuple[Job | Bad, ...]:
    """Every line but comments and settings. `system`: a user's name stands before the command."""
    return tuple(_lines(text, system=system))


def _lines(text: str, *, system: bool) -> Iterator[Job | Bad]:
    settings: dict[str, str] = {}
    for number, line in enumerate(text.split("\n"), 1):
        stripped = line.strip(" \t")
        if not stripped or stripped.startswith("#"):
            continue
        if setting := _SETTING.fullmatch(stripped):
            settings[_unquoted(setting[1])] = _unquoted(setting[2])
            continue
        try:
            yield _job(number, stripped, settings, system=system)
        except ValueError as error:
            yield Bad(number, str(error), stripped)


def _unquoted(word: str) -> str:
    return word[1:-1] if len(word) > 1 and word[0] == word[-1] and word[0] in "\"'" else word


def _job(number: int, line: str, settings: dict[str, str], *, system: bool) -> Job:
    """Raises ValueError with the reason."""
    times, rest = _times(line)
    user = ""
    if system:
        user, _, rest = _split(rest)
        if not rest:
            raise ValueError("a user's name and a command must follow the time")
    if not rest:
        raise ValueError("there is no command")
    command = re.sub(r"\\%", "%", re.split(r"(?<!\\)%", rest)[0]).strip()
    return Job(number, times, user, command, settings.get("PATH", _PATH), tuple(settings.items()))


def _split(text: str) -> tuple[str, str, str]:
    """The first word, and what follows it."""
    found = re.match(r"(\S*)([ \t]*)(.*)", text)
    assert found  # every line has that form
    return found[1], found[2], found[3]


def _times(line: str) -> tuple[Times | None, str]:
    first, _, rest = _split(line.removeprefix("-"))  # SUSE and cronie: not in the log
    if first == _REBOOT:
        return None, rest
    if first.startswith("@"):
        if first not in _NICKNAMES:
            raise ValueError(f"cron knows no {first}")
        return _of_fields(_NICKNAMES[first].split()), rest
    fields = [first]
    for _ in _FIELDS[1:]:
        word, _, rest = _split(rest)
        fields.append(word)
    return _of_fields(fields), rest


def _of_fields(fields: list[str]) -> Times:
    values = [_field(text, *field) for text, field in zip(fields, _FIELDS, strict=True)]
    days = None if fields[2].startswith("*") and "/" not in fields[2] else values[2]
    weekdays = frozenset(day % 7 for day in values[4])
    times = Times(days, values[3], None if fields[4].startswith("*") and "/" not in fields[4] else weekdays)
    if times.gap() == NEVER:
        raise ValueError(f"no year has that day: day of month {fields[2]}, month {fields[3]}")
    return times


def _field(text: str, name: str, low: int, high: int, names: tuple[str, ...]) -> frozenset[int]:
    found: set[int] = set()
    if not text:
        raise ValueError(f"there is no {name}: five times stand before the command")
    for part in text.split(","):
        matched = _PART.fullmatch(part)
        if not matched or (matched["step"] and matched["first"] != "*" and not matched["last"]):
            raise ValueError(f"{text!r} is no {name}")
        if matched["first"] == "*":
            first, last = low, high
            if matched["last"]:
                raise ValueError(f"{text!r} is no {name}")
        else:
            first = _number(matched["first"], name, low, high, names)
            last = _number(matched["last"], name, low, high, names) if matched["last"] else first
        step = int(matched["step"] or 1)
        if step < 1 or last < first:
            raise ValueError(f"{text!r} is no {name}: it names nothing")
        found.update(range(first, last + 1, step))
    return frozenset(found)


def _number(word: str, name: str, low: int, high: int, names: tuple[str, ...]) -> int:
    if word.lower() in names:
        return low + names.index(word.lower())
    if not word.isascii() or not word.isdigit() or len(word) > 4 or not low <= int(word) <= high:
        raise ValueError(f"{word!r} is no {name}: it is {low} to {high}")
    return int(word)


def is_read(name: str) -> bool:
    """Whether Debian's cron reads a file of that name in /etc/cron.d: run-parts(8) has the rule."""
    return bool(re.fullmatch(r"[A-Za-z0-9_-]+", name))
