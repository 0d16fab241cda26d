"""Whether a night's numbers are far from what a host's nights usually are.

Ransomware shows as a night that adds far more than any before, of data that no longer compresses; a lost
mount as one with few files. Compared by median and median absolute deviation, which single odd nights do not
move.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Generic, TypeVar

from zborg.model.results import AuditedHost, HostBackup
from zborg.model.text.units import counted, size, span

T = TypeVar("T")
DAYS = 90  # that are looked back
_NIGHTS = 10  # fewer make no range
_FAR = 7.4  # median absolute deviations: five standard deviations of what is normally distributed
_HALF = 0.5  # of the median: what is always the same may differ by so much
_BEYOND = 1.2  # times what was met twice before: what happens on each first of the month is usual


@dataclass(frozen=True, slots=True)
class Range:
    """What is usual, both ends included."""

    low: float
    high: float

    def has(self, value: float) -> bool:
        """Whether this is usual."""
        return self.low <= value <= self.high


def usual(values: Sequence[float], *, least: float) -> Range | None:
    """The range of these nights, `least` wide on either side; None for too few.

    What was met twice within `values` is usual: whatever comes once a month stays so.
    """
    if len(values) < _NIGHTS:
        return None
    middle = median(values)
    deviation = median(abs(value - middle) for value in values)
    spread = max(_FAR * deviation, _HALF * middle, least)
    known = sorted(values)
    low, high = min(middle - spread, known[1] / _BEYOND), max(middle + spread, known[-2] * _BEYOND)
    return Range(max(low, 0), high)


@dataclass(frozen=True, slots=True)
class Measure(Generic[T]):
    """One number of a night. `low`: too little of it is unusual, too."""

    number: Callable[[T], float | None]
    words: Callable[[float], str]
    what: str
    least: float
    low: bool = False


_MIB = 1 << 20
BACKUPS: tuple[Measure[HostBackup], ...] = (
    Measure(lambda one: one.new_bytes, size, "it added", 256 * _MIB),
    Measure(lambda one: one.files, lambda n: counted(int(n), "file"), "it holds", 1000, low=True),
    Measure(lambda one: one.seconds, span, "it took", 600),
    Measure(lambda one: _density(one), lambda n: f"{n:.0%}", "its data compressed to", 0.15),
)
"""What borg counted on the host."""

AUDITS: tuple[Measure[AuditedHost], ...] = (
    Measure(lambda one: one.bytes, size, "the repository grew by", 256 * _MIB),
    Measure(lambda one: one.transactions, lambda n: counted(int(n), "transaction"), "it got", 20),
)
"""What the server saw of the repository, whatever the host says."""


def _density(one: HostBackup) -> float | None:
    """What is left of a byte: encrypted data does not compress."""
    if not one.original_bytes or one.compressed_bytes is None:
        return None
    return one.compressed_bytes / one.original_bytes


def unusual(measures: Sequence[Measure[T]], night: T, earlier: Sequence[T]) -> tuple[str, ...]:
    """What is far from usual, for a person: the value and the range beside it."""
    return tuple(_unusual(measures, night, earlier))


def _unusual(measures: Sequence[Measure[T]], night: T, earlier: Sequence[T]) -> Iterator[str]:
    for measure in measures:
        value = measure.number(night)
        known = [number for one in earlier if (number := measure.number(one)) is not None]
        found = usual(known, least=measure.least)
        if value is None or found is None or found.has(value) or not measure.low and value < found.low:
            continue
        between = f"{measure.words(found.low)} to {measure.words(found.high)}"
        yield f"{measure.what} {measure.words(value)} (usually {between})"
