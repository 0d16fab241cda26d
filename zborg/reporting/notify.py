"""Report -> Message: whether it is news and of what kind, and its text. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from string import Template

from zborg.model import Message, News, Outcome, Report, Status
from zborg.model.text.units import moment, printable, span
from zborg.reporting.notify_html import Block, Page, clean, html, tone_of
from zborg.reporting.text import numbers, outcome_lines, render, sides_of

_LONGEST_SUBJECT = 200  # characters
_QUIET = (Status.OK, Status.SKIPPED, Status.PENDING)
_NEWS = {
    Status.OK: News.SUCCESS,
    Status.SKIPPED: News.SUCCESS,
    Status.PENDING: News.SUCCESS,
    Status.WARNING: News.WARNING,
    Status.PARTIAL: News.PARTIAL,
}
_SAYS_NOTHING = (Status.SKIPPED, Status.BUSY)  # of the subject itself


# --- what it is -------------------------------------------------------------------------------------------


def recovered(report: Report, earlier: Iterable[Report]) -> tuple[str, ...]:
    """What is good now and was not when it was last tried.

    `earlier` are reports of the same command, newest first; of a whole night also those of
    its steps. A cron line may name one host only, so each subject is compared with its own last try.
    """
    good = {_key(one): one.subject for one in report.outcomes if one.status.good}
    found: list[str] = []
    is_first = True
    for before in earlier:
        if is_first and before.command == report.command:
            is_first, found = False, [*found, *_begun_again(report, before)]
        for one in before.outcomes:
            if _key(one) in good and one.status not in _SAYS_NOTHING:
                subject = good.pop(_key(one))
                found += [subject] if one.status.bad else []
        if not good and not is_first:
            break
    return tuple(dict.fromkeys(found))


def _begun_again(report: Report, before: Report) -> list[str]:
    """Steps that could not even begin the last time, and did something good now."""
    busy = {_step(one) for one in report.outcomes if one.status.good}
    stuck = [one for one in before.outcomes if one.kind == "step" and one.status.bad]
    return [one.subject for one in stuck if _step(one) in busy]


def _key(outcome: Outcome) -> tuple[object, str, str]:
    return outcome.result.step, outcome.kind, outcome.subject


def news_of(report: Report, again: Sequence[str]) -> frozenset[News]:
    """What kinds of news a report is; `again`: the subjects that are good again."""
    kinds = {_NEWS.get(report.status, News.FAILURE)}
    return frozenset(kinds | {News.RECOVERY} if again else kinds)


@dataclass(frozen=True, slots=True)
class Counts:
    """How many subjects; partial ones did not succeed."""

    succeeded: int
    failed: int
    skipped: int

    @property
    def total(self) -> int:
        """All subjects that were to be done."""
        return self.succeeded + self.failed + self.skipped

    def __str__(self) -> str:
        return f"{self.succeeded} good, {self.failed} failed, {self.skipped} skipped"


def counts(report: Report) -> Counts:
    """Of a whole night its hosts count, and what failed besides: thirty good rotations say nothing more."""
    hosts = any(_step(one) == "backup" for one in report.outcomes)
    statuses = [one.status for one in report.outcomes if not hosts or _step(one) == "backup" or _is_bad(one)]
    bad = sum(status.bad or status is Status.PARTIAL for status in statuses)
    skipped = statuses.count(Status.SKIPPED) + statuses.count(Status.PENDING)
    return Counts(len(statuses) - bad - skipped, bad, skipped)


def _is_bad(outcome: Outcome) -> bool:
    return outcome.status.bad or outcome.status is Status.PARTIAL


def _step(outcome: Outcome) -> str:
    return outcome.result.step


# --- its text ---------------------------------------------------------------------------------------------


def message(report: Report, again: Sequence[str], subject: str) -> Message:
    """`again` is what recovered, `subject` the template that zborg.toml has."""
    news = news_of(report, again)
    line = subject_line(report, again, subject)
    looks = [one for one in report.outcomes if one.status not in _QUIET]
    text = clean("\n\n".join(_paragraphs(report, again, looks)))
    page = Page(
        title=f"{report.command} on {report.server}: {status_word(report, again)}",
        tone=tone_of(report.status),
        lead=lead(report),
        again=again,
        looks=[_block(one) for one in looks],
        whole=whole(report),
    )
    return Message(news, line, f"{text}\n", html(page), report)


def _block(outcome: Outcome) -> Block:
    words = "; ".join(filter(None, (outcome.message, numbers(outcome))))
    lines = [*sides_of(outcome), *log_of(outcome)]
    return Block(_step(outcome), outcome.subject, outcome.status, words, outcome.remedy, lines)


def subject_line(report: Report, again: Sequence[str], template: str) -> str:
    """One line, whatever text other machines sent."""
    number = counts(report)
    words = {
        "STATUS": status_word(report, again),
        "SUCCEEDED": str(number.succeeded),
        "FAILED": str(number.failed),
        "SKIPPED": str(number.skipped),
        "TOTAL": str(number.total),
        "RUNTIME": _runtime(report),
        "SERVER": report.server,
        "COMMAND": report.command,
    }
    return " ".join(printable(Template(template).safe_substitute(words)).split())[:_LONGEST_SUBJECT]


def status_word(report: Report, again: Sequence[str]) -> str:
    """The report's status; a good one that ends a failure has recovered."""
    return "recovered" if again and report.status in (Status.OK, Status.WARNING) else report.status.value


def lead(report: Report) -> str:
    """The numbers in a sentence."""
    return f"{counts(report)}; {_runtime(report)}, from {moment(report.started)}"


def _runtime(report: Report) -> str:
    return span((report.finished - report.started).total_seconds())


def _paragraphs(report: Report, again: Sequence[str], looks: Sequence[Outcome]) -> Iterable[str]:
    yield f"{report.command} on {report.server}: {status_word(report, again)}\n{lead(report)}"
    if again:
        yield f"good again: {printable(', '.join(again))}"
    yield from ("\n".join(_look(one)) for one in looks)
    yield whole(report)


def whole(report: Report) -> str:
    """As `zborg` prints it, without colours."""
    return "\n".join(line.text for line in render(report))


def _look(outcome: Outcome) -> Iterable[str]:
    """One outcome that needs a look, with the last lines of its log."""
    if step := _step(outcome):
        yield f"{printable(step)}:"
    yield from (line.text for line in outcome_lines(outcome, len(outcome.subject)))
    yield from (f"    | {line}" for line in log_of(outcome))


def log_of(outcome: Outcome) -> list[str]:
    """The last lines of the host's output, or none: they come from files and from other machines."""
    log = outcome.result.log
    return [printable(str(line)) for line in log]
