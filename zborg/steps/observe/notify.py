"""Messages about a command's end: what is news, to whom, and what became of it. No command fails by it.

Every notifier has a thread of its own and all share one time limit, so that the next line of cron waits for
no dead server. A thread that is still at it then is left behind: it dies with the process.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import partial
from heapq import merge
from itertools import takewhile

from zborg.config import Config
from zborg.errors import ConfigError, Exit, NotSent, ZborgError
from zborg.interrupt import cancelled
from zborg.model import (
    ANNOUNCED,
    NOTIFYING,
    Message,
    News,
    Notifier,
    Notify,
    Outcome,
    Report,
    Status,
    utc_now,
)
from zborg.model.events import Reported
from zborg.model.results import Delivered
from zborg.reporting.notify import message, recovered
from zborg.reporting.notify_digest import WEEK, digest, is_due
from zborg.retry import retry
from zborg.state.runs import new_run
from zborg.steps.context import Context, StepRun, begin, inspect, outcome_of

_AGO = timedelta(days=35)  # how far back the last try of a subject is looked for
_WAITS = (2.0, 8.0)  # seconds before the second and the third try
_TRY = 20.0  # seconds for one try
_LOOK_EVERY = 0.2  # seconds between two looks at whether somebody wants to go


def announce(context: Context, command: str) -> None:
    """A command begins."""
    for one in context.notifiers:
        one.begins(command)


def notify_of(context: Context, report: Report) -> Report | None:
    """Send the message of a command that has ended. None: there is no notifier."""
    if not context.notifiers or report.command not in ANNOUNCED:
        return None
    again = recovered(report, _earlier(context, report))
    sent = _sent(context, message(report, again, context.config.notify.subject))
    if sent:
        context.emit(Reported(sent.command, report=sent))  # for the log
        context.runs.save(sent)
    return sent


def report_misconfigured(
    server: str, settings: Notify, notifiers: Sequence[Notifier], command: str, error: ConfigError
) -> Report | None:
    """Notify of a command that could not begin, by what can still be read of its configuration.

    Nothing is compared with earlier nights and nothing saved: the state directory is not known, or is what is
    wrong. None: nobody wanted the message.
    """
    now = utc_now()
    words = "; ".join((error.message, *(line.strip() for line in error.problems)))
    failed = Outcome("step", command, Status.FAILED, words, error.remedy)
    report = Report(command, new_run(now), server, now, now, Status.FAILED, error.exit, (failed,))
    for one in notifiers:
        one.begins(command)
    outcomes = deliver(notifiers, [message(report, (), settings.subject)], settings.timeout)
    return replace(report, command=NOTIFYING, outcomes=tuple(outcomes)) if outcomes else None


def try_all(run: StepRun) -> Report:
    """A message of no importance to every notifier. Any that does not get it is a failure (4)."""
    context = run.context
    if run.dry_run:
        return run.planned([f"send a test to {one.name}" for one in context.notifiers] or ["nobody"])
    words = f"a test from zborg on {context.config.name}: nothing has happened"
    sample = run.report([Outcome("test", "test", Status.OK, words)])
    one = replace(message(sample, (), context.config.notify.subject), news=frozenset({News.TEST}))
    outcomes = deliver(context.notifiers, [one], context.config.notify.timeout)
    return run.report(outcomes or [nobody(context.config)], rule=inspect)


def nobody(config: Config) -> Outcome:
    """The outcome of a test where there is no notifier."""
    words = f"{config.path} names no notifier"
    return Outcome("notifier", "notify", Status.FAILED, words, 'urls = ["mailtos://..."] under [notify]')


def _earlier(context: Context, report: Report) -> Iterator[Report]:
    """Older reports of the command, newest first; of a whole night with those of its steps.

    What was good again in a step that somebody ran by day was reported then.
    """
    since = report.started - _AGO
    commands = ANNOUNCED if report.command == "run" else (report.command,)
    streams = [map(partial(_as_in, report), context.runs.newest_first(command)) for command in commands]
    older = merge(*streams, key=lambda one: one.started, reverse=True)
    # A running backup saves itself again and again, and the steps of this night are this night.
    young = takewhile(lambda one: one.started > since, older)
    return (one for one in young if one.run != report.run and not _is_step_of(one, report))


def _as_in(report: Report, one: Report) -> Report:
    """A step's outcomes as a whole night names them."""
    if one.command == report.command:
        return one
    return replace(one, outcomes=tuple(each.noting(step=one.command) for each in one.outcomes))


def _is_step_of(one: Report, night: Report) -> bool:
    return one.command != night.command and one.started >= night.started


@dataclass(frozen=True)
class _Served:
    """One that has this week's digest already."""

    inner: Notifier

    @property
    def name(self) -> str:
        return self.inner.name

    def begins(self, command: str) -> None:
        self.inner.begins(command)

    def wants(self, message: Message) -> bool:
        return News.DIGEST not in message.news and self.inner.wants(message)

    def send(self, message: Message, timeout: float) -> str:
        return self.inner.send(message, timeout)


def _served(context: Context) -> list[Notifier]:
    """Who was away when the digest was sent gets it with a later command; the others have it once."""
    now = context.clock()
    sent = takewhile(lambda one: one.started > now - 2 * WEEK, context.runs.newest_first(NOTIFYING))
    this_week = (one for report in sent if not is_due(now, report.started) for one in report.outcomes)
    had = {one.subject for one in this_week if one.status.good and _was(News.DIGEST, one)}
    return [_Served(one) if one.name in had else one for one in context.notifiers]


def _was(news: News, outcome: Outcome) -> bool:
    return isinstance(outcome.result, Delivered) and news in outcome.result.news


def _digest(context: Context) -> Message:
    now = context.clock()
    return digest(list(_of_week(context)), context.config.name, now - WEEK, now)


def _of_week(context: Context) -> Iterator[Report]:
    """The steps' own reports: those of `run` repeat them."""
    since = context.clock() - WEEK
    for command in ANNOUNCED:
        if command != "run":
            yield from takewhile(lambda one: one.started > since, context.runs.newest_first(command))


def _sent(context: Context, one: Message) -> Report | None:
    run = begin(context, NOTIFYING)
    notifiers, messages = list(context.notifiers), [one]
    if context.config.notify.digest:
        notifiers = _served(context)
        like_it = replace(one, news=frozenset({News.DIGEST}))
        if any(each.wants(like_it) for each in notifiers):  # to make it a week of files is read
            messages.append(_digest(context))
    outcomes = deliver(notifiers, messages, context.config.notify.timeout)
    report = run.report(outcomes)
    lost = any(one.status.bad for one in outcomes)
    # A warning, whatever it was: backups do not depend on it.
    return replace(report, status=Status.WARNING if lost else Status.OK, exit=Exit.OK) if outcomes else None


# --- delivery ---------------------------------------------------------------------------------------------


@dataclass
class _Delivery:
    """What one notifier has to send."""

    notifier: Notifier
    messages: Sequence[Message]
    deadline: float  # of time.monotonic()
    outcomes: list[Outcome] = field(default_factory=list)

    def run(self) -> None:
        for one in self.messages:
            self.outcomes.append(self._persistently(one))

    def _persistently(self, one: Message) -> Outcome:
        result = Delivered(news=tuple(sorted(one.news)))
        waits = takewhile(lambda seconds: seconds < self._left(), _WAITS)
        try:
            # Not `cancelled.wait`: that a run was interrupted is news too.
            words = retry(partial(self._send, one), waits, _is_retryable, time.sleep)
            return Outcome("notifier", self.notifier.name, Status.OK, words, result=result)
        except Exception as error:
            return replace(outcome_of("notifier", self.notifier.name, error), result=result)

    def _send(self, one: Message) -> str:
        return self.notifier.send(one, max(min(_TRY, self._left()), 0.1))

    def _left(self) -> float:
        return self.deadline - time.monotonic()

    def ended(self, limit: float) -> list[Outcome]:
        """What became of it by now; what is not done was too slow."""
        late = self.messages[len(self.outcomes) :]
        words = f"not sent within {limit:g} s" if self._left() <= 0 else "not sent before the interruption"
        slow = Outcome("notifier", self.notifier.name, Status.FAILED, words, "zborg notify test")
        return [
            *self.outcomes,
            *(replace(slow, result=Delivered(news=tuple(sorted(one.news)))) for one in late),
        ]


def _is_retryable(error: Exception) -> bool:
    return isinstance(error, NotSent) and error.retryable


def deliver(notifiers: Iterable[Notifier], messages: Sequence[Message], limit: float) -> list[Outcome]:
    """Each message to all that want it, at once; an outcome for each, after `limit` seconds at the latest."""
    deadline = time.monotonic() + limit
    wanted = [(one, [each for each in messages if one.wants(each)]) for one in notifiers]
    deliveries = [_Delivery(one, each, deadline) for one, each in wanted if each]
    threads = [threading.Thread(target=delivery.run, daemon=True) for delivery in deliveries]
    for thread in threads:
        thread.start()
    _wait(threads, deadline)
    return [outcome for delivery in deliveries for outcome in delivery.ended(limit)]


def _wait(threads: Sequence[threading.Thread], deadline: float) -> None:
    """A signal that comes now ends the waiting; one that came before has ended the command already."""
    was_cancelled = cancelled.is_set()
    for thread in threads:
        while thread.is_alive() and time.monotonic() < deadline:
            thread.join(min(_LOOK_EVERY, max(deadline - time.monotonic(), 0)))
            if cancelled.is_set() and not was_cancelled:
                return


def warnings(report: Report | None) -> Iterator[ZborgError]:
    """What could not be sent, as warnings."""
    for one in report.outcomes if report else ():
        if not one.status.good:
            yield ZborgError(f"notify: {one.subject}: {one.message}", one.remedy)
