"""All that is done for one host within one deadline, and tried again after a connection error."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from math import ceil

from zborg.errors import Interrupted, Stalled, TimedOut, Unreachable, ZborgError
from zborg.interrupt import cancelled
from zborg.model import Host, Outcome, Status
from zborg.model.events import Waiting, Warned
from zborg.model.results import backup_of
from zborg.model.storage.zfs import SUSPENDED
from zborg.model.text.remedy import command, on, remedy
from zborg.model.text.units import duration, span
from zborg.planning.backup.schedule import backoff
from zborg.steps.context import StepRun


def pause(run: StepRun, host: Host, seconds: float) -> None:
    """Wait before a connection. Raises Interrupted as soon as zborg is asked to stop."""
    if seconds > 0:
        run.context.emit(Waiting(host.name, seconds=seconds))
    if cancelled.wait(seconds):
        raise Interrupted("interrupted")


@dataclass
class Tries:
    """The host's `timeout` runs from here on."""

    run: StepRun
    host: Host
    _began: float = field(default_factory=time.monotonic)

    def limited(self) -> Host:
        """The host with the time that is left as its timeout. Raises TimedOut when there is none."""
        if (left := self._left()) <= 0:
            raise self.too_late()
        return replace(self.host, timeout=ceil(left))

    def too_late(self) -> TimedOut:
        """The error of a host whose time is used up."""
        words = f"not finished within {duration(self.host.timeout)}"
        advice = f"look at the host, or raise timeout of {self.host.name}"
        return TimedOut((self.host.name,), -1, "", words, advice)

    def stalled(self, error: Stalled) -> Stalled:
        """With what to look at, on the machine that was silent.

        A host that waits for a suspended pool is as silent as a frozen one: so the pool is asked.
        """
        storage = self.run.context.config.storage
        pool = storage.dataset.split("/")[0]
        where = "the storage" if storage.endpoint else "this machine"
        if self._is_suspended(pool):
            took = duration(self.host.stalled_after)
            error.message = f"no progress for {took}: the pool {pool} of {where} is suspended"
            error.by_storage = True
            error.remedy = remedy(
                command("zpool", "status", "-v", pool),
                command("zpool", "clear", pool),
                first=f"on {where}, as root, bring its devices back; the second line lets the pool go on:",
            )
        elif error.by_storage:
            look = (command("zpool", "status", "-v", pool), command("ps", "-eo", "pid,stat,wchan,args"))
            error.remedy = on(where, *look)
        else:
            look = (command("ps", "-eo", "pid,stat,wchan,args"), command("tail", "/var/lib/zborg/hooks.log"))
            error.remedy = on(self.host.name, *look)
        return error

    def _is_suspended(self, pool: str) -> bool:
        try:
            return self.run.context.storage.zfs.pool(pool).health == SUSPENDED
        except ZborgError as error:  # the backup failed in any case: this would only have explained it
            self.warn(f"whether {pool} is suspended could not be seen: {error.message}")
            return False

    def warn(self, words: str) -> None:
        """Emit a warning about the host."""
        self.run.context.emit(Warned(self.host.name, words))

    def persistently(self, once: Callable[[int], Outcome]) -> Outcome:
        """Call `once` with the number of the try until it comes to an outcome.

        A connection that was lost in the middle counts too: borg goes on from its last checkpoint.
        """
        tried, lost = 0, None
        while True:
            tried += 1
            wait = backoff(tried, random.random())
            last = tried > self.run.context.config.retries or wait > self._left()
            try:
                outcome = once(tried)
                if lost and outcome.status is Status.SKIPPED:
                    raise _used_up(lost, outcome.message)
                # Busy after a cut is our own verb: the host's sshd has not noticed yet that we are gone.
                if last or tried == 1 or outcome.status is not Status.BUSY:
                    return _numbered(outcome, tried)
                reason = outcome.message
            except Unreachable as error:
                if error is lost:
                    raise
                if last and tried > 1:
                    error.message += f" (tried {tried} times)"
                if last or not error.retryable:
                    raise
                reason, lost = error.message, error
            self.warn(f"{reason}; again in {span(wait)}")
            pause(self.run, self.host, wait)

    def _left(self) -> float:
        return self._began + self.host.timeout - time.monotonic()


def _used_up(lost: Unreachable, words: str) -> Unreachable:
    """The host counts the try that was lost, and allows no other now: then nothing was done tonight."""
    lost.message += f"; then {words}"
    return lost


def _numbered(outcome: Outcome, tried: int) -> Outcome:
    return outcome if tried == 1 else replace(outcome, result=backup_of(outcome.result).replace(tries=tried))
