"""A week of reports -> one Message, in place of mail for each good night. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from zborg.errors import Exit
from zborg.model import Message, News, Outcome, Report, Status
from zborg.model.results import Week, backup_of
from zborg.model.text.units import counted, moment, printable, size
from zborg.reporting.notify_html import Page, clean, html, tone_of

WEEK = timedelta(days=7)
_SKEW = timedelta(minutes=5)  # or it was sent by a clock that was ahead, years perhaps
_NAME = 26  # characters; longer names push their own line only


def week_of(now: datetime) -> datetime:
    """When the ISO week of this instant began, in UTC."""
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    return midnight - timedelta(days=now.weekday())


def is_due(now: datetime, sent: datetime | None) -> bool:
    """One a week, with the first command that ends in it; the first of all at once."""
    return sent is None or not week_of(now) <= sent <= now + _SKEW


@dataclass(frozen=True, slots=True)
class Row:
    """One host's, dataset's or pool's week."""

    step: str
    subject: str
    good: int
    bad: int
    new_bytes: int
    last: Outcome

    @property
    def status(self) -> Status:
        """Bad is what ended badly; what was bad once and is good again is worth a look."""
        if self.last.status.bad or not self.bad:
            return self.last.status
        return Status.WARNING


def rows(reports: Iterable[Report]) -> list[Row]:
    """Per step and subject, in the order of their last report; `reports` are newest first."""
    found: dict[tuple[str, str], Row] = {}
    for report in reports:
        for one in report.outcomes:
            if one.status in (Status.SKIPPED, Status.BUSY):  # they say nothing of the subject itself
                continue
            key = report.command, one.subject
            known = found.setdefault(key, Row(*key, 0, 0, 0, one))
            found[key] = replace(
                known,
                good=known.good + one.status.good,
                bad=known.bad + (not one.status.good),
                new_bytes=known.new_bytes + _bytes(one),
            )
    return list(found.values())


def _bytes(outcome: Outcome) -> int:
    return (backup_of(outcome.result).new_bytes or 0) if outcome.status.good else 0


def digest(reports: Sequence[Report], server: str, since: datetime, now: datetime) -> Message:
    """Of the steps' reports of the week before `now`, newest first."""
    found = rows(reports)
    bad = [row for row in found if row.status.bad]
    doubtful = any(row.status is not Status.OK for row in found)
    status = Status.FAILED if bad else Status.WARNING if doubtful else Status.OK
    hosts = [row for row in found if row.step == "backup"]
    good = sum(row.status.good for row in hosts)
    title = f"week on {server}: {status.value}, {good} of {counted(len(hosts), 'host')} good"
    lead = f"from {moment(since)} to {moment(now)}"
    table = "\n".join(_lines(found))
    week = Report("digest", "", server, since, now, status, Exit.OK, tuple(_outcomes(found)))
    page = html(Page(title, tone_of(status), lead, table))
    text = clean(f"{title}\n{lead}\n\n{table}\n")
    return Message(frozenset({News.DIGEST}), f"[{server}] {title}", text, page, week)


def _lines(found: Sequence[Row]) -> Iterable[str]:
    """Backups host by host; of every other step one line, and those of its subjects that are not good."""
    steps = dict.fromkeys(row.step for row in found)
    for step in steps:
        mine = [row for row in found if row.step == step]
        if step == "backup":
            yield f"{'host':<{_NAME}}  good  bad         new  now"
            yield from map(_line, mine)
            yield ""
    for step in steps:
        if step != "backup":
            mine = [row for row in found if row.step == step]
            odd = [row for row in mine if row.status not in (Status.OK, Status.SKIPPED)]
            yield f"{step}: {len(mine) - len(odd)} of {len(mine)} good"
            yield from (f"  {printable(row.subject)}: {_now(row)}" for row in odd)


def _line(row: Row) -> str:
    new = size(row.new_bytes) if row.new_bytes else "-"
    return f"{printable(row.subject):<{_NAME}}  {row.good:>4}  {row.bad:>3}  {new:>10}  {_now(row)}".rstrip()


def _now(row: Row) -> str:
    words = printable(row.last.message)
    return (
        f"{row.last.status.value}: {words}" if words and not row.last.status.good else row.last.status.value
    )


def _outcomes(found: Sequence[Row]) -> Iterable[Outcome]:
    for row in found:
        week = Week(step=row.step, good=row.good, bad=row.bad, new_bytes=row.new_bytes)
        yield replace(row.last, result=week)
