"""The report of `status` -> one screen of 80 columns, or one line for Nagios and its kin."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from zborg.model import Outcome, Report, Status
from zborg.model.results import HostState
from zborg.model.text.units import counted, duration, printable, size, span
from zborg.reporting.text import SUBJECT, Line, outcome_lines, summary

_NAME = 18  # of a host; a longer one pushes its own line to the right
_HEAD = ("age/limit", "size", "new", "took", "vs usual")  # of the last good backup
_WIDTHS = (10, 10, 10, 10, 8)
_WORDS = {
    Status.OK: ("OK", 0),
    Status.SKIPPED: ("OK", 0),
    Status.PENDING: ("OK", 0),
    Status.WARNING: ("WARNING", 1),
}
_FAR = 100  # times the usual duration, from where on the number says nothing
_OLD = 10  # times the limit, from where on an age is shown without it
_TOLD = 3  # subjects in the line for a monitor
_LONGEST = (
    200  # characters of what it says of each: NRPE cuts a line after 1,024, with the numbers at its end
)


def screen(report: Report) -> list[Line]:
    """Hosts as a table, below it those that need a look with their remedy, then all else."""
    hosts = [one for one in report.outcomes if one.kind == "host"]
    others = [one for one in report.outcomes if one.kind != "host"]
    width = min(max((len(one.subject) for one in others), default=0), SUBJECT)
    lines = list(_table(hosts))
    for one in hosts:
        if one.status is not Status.OK or _state(one).running:
            lines += outcome_lines(one, width)
    lines += [line for one in others for line in outcome_lines(one, width)]
    return [*lines, summary(report)]


def _table(hosts: Sequence[Outcome]) -> Iterator[Line]:
    if any(isinstance(one.result, HostState) for one in hosts):
        name = min(max(len(one.subject) for one in hosts), _NAME)
        yield Line(_row("host", "", name, _HEAD))
        for one in hosts:
            yield Line(_row(one.subject, one.status.value, name, _cells(one)), one.status, one.status.value)


def _row(subject: str, word: str, width: int, cells: Sequence[str]) -> str:
    columns = " ".join(f"{cell:>{w}}" for cell, w in zip(cells, _WIDTHS, strict=True))
    return f"{printable(subject):<{width}} {word:<8} {columns}".rstrip()


def _cells(host: Outcome) -> tuple[str, ...]:
    state = _state(host)
    last = _age(max(state.age, 0), state.max_age) if state.age is not None else "never"
    took = span(state.seconds).replace("minutes", "min") if state.seconds is not None else "-"
    return (last, _size(state.original_bytes), _size(state.new_bytes), took, _change(state))


def _state(host: Outcome) -> HostState:
    return host.result if isinstance(host.result, HostState) else HostState()


def _age(age: float, limit: float) -> str:
    """Of the limit, in the limit's unit: 10/26 h. What is far beyond it for itself."""
    if age >= _OLD * limit:
        return duration(age)
    number, unit = duration(limit).split()
    passed = int(age * int(number) / limit)
    return f"{passed or '<1'}/{number} {unit[0]}"


def _size(number: int | None) -> str:
    return size(number) if number is not None else "-"


def _change(state: HostState) -> str:
    """More or less than its usual duration, +12%; from twice as long on how many times that, 3.1x."""
    if not state.usual_seconds or state.seconds is None:
        return "-"
    times = state.seconds / state.usual_seconds
    if times >= 2:
        return f"{times:.1f}x" if times < _FAR else f"> {_FAR}x"
    return f"{round(100 * (times - 1)):+}%"


def one_line(report: Report) -> tuple[str, int]:
    """What Nagios reads, and its exit code: 0 all well, 1 worth a look, 2 not good."""
    word, code = _WORDS.get(report.status, ("CRITICAL", 2))
    worst = [one for one in report.outcomes if one.status.bad] or [
        one for one in report.outcomes if one.status is Status.WARNING
    ]
    parts = [f"{one.subject}: {_short(one.message)}" for one in worst[:_TOLD]]
    parts += [f"{len(worst) - _TOLD} more"] if len(worst) > _TOLD else []
    hosts = [one for one in report.outcomes if one.kind == "host"]
    good = sum(one.status.good for one in hosts)
    words = "; ".join(parts) or f"{counted(len(hosts), 'host')}, all steps in time"
    # A bar begins the numbers; what hosts say must not.
    return f"ZBORG {word} - {printable(words).replace('|', '/')} | hosts={len(hosts)} good={good}", code


def _short(words: str) -> str:
    return words if len(words) <= _LONGEST else f"{words[: _LONGEST - 3]}..."
