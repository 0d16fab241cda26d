"""A backup the way of 2020: the host's own borgmatic, through a port that leads back to the server's sshd.

Nothing is served from here and no repository is made: that is the host's business and the sshd's. What the
server can see for itself decides all the same: a host is good only if a new commit came in this run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from zborg.borg.borgmatic import BorgmaticOutput, judge
from zborg.borg.storage.confine import confine
from zborg.borg.storage.repository import last_transactions
from zborg.errors import ZborgError
from zborg.model import Host, Outcome, Speaker, Status
from zborg.model.ledger.sessions import Purpose, Session
from zborg.model.results import HostBackup
from zborg.model.wall import NONE
from zborg.state.locks import Lock
from zborg.steps.context import StepRun, refuse_to_replace

_LAST_LINES = 10  # that go with a failure


@dataclass
class ReverseBackup:
    """One host's forced command, and what it came to."""

    run: StepRun
    host: Host
    lock: Lock

    def execute(self, home: str) -> Outcome:
        """`home` is the mountpoint of the host's dataset. Raises ZborgError when there was no way."""
        context = self.run.context
        before = self._last(home)
        if not before:
            # borgmatic may be configured to make what is missing: not in place of a history that was lost.
            refuse_to_replace(context, self.host)
        if context.config.storage.wall == "require":
            raise ZborgError(
                f'wall = "require", and no wall can stand around the borg serve of {self.host.name}: '
                "the server's own sshd starts it",
                'give the host the agent (docs/agent.md), or take wall = "require" out of zborg.toml',
            )
        confine(context.storage.runner, [home], context.config.storage.account_of(self.host))
        started, output = context.clock(), BorgmaticOutput()

        def listen(speaker: Speaker, lines: Sequence[str]) -> None:
            for line in lines:
                output.feed(line, speaker)

        usual = Purpose.PRUNE if self.host.prunes else Purpose.BACKUP
        purpose = usual if before else Purpose.INIT
        context.sessions.begin(self.host.name, Session(purpose, self.run.id, started, before))
        status = context.tunnel.forced(self.host, listen, adopt=self.lock.adopt)
        judged, message, remedy = judge(status, output)
        seconds = (context.clock() - started).total_seconds()
        last = self._last(home)
        result = HostBackup(transaction=last, seconds=seconds, wall=NONE.words)
        if not judged.good:
            result = result.replace(log=tuple(output.lines[-_LAST_LINES:]))
        outcome = Outcome("host", self.host.name, judged, message, remedy, result)
        return outcome if last > before else self._unproven(outcome)

    def _last(self, home: str) -> int:
        last = last_transactions(self.run.context.storage.runner, [home]).get(home, 0)
        self.run.context.sessions.end(self.host.name, last)
        return last

    def _unproven(self, outcome: Outcome) -> Outcome:
        """No commit came: what borgmatic calls good is not."""
        if not outcome.status.good:
            return outcome
        dataset = self.run.context.config.storage.dataset_of(self.host.name)
        words = f"borgmatic says good, but no commit reached {dataset}"
        return replace(
            outcome,
            status=Status.FAILED,
            message="; ".join(filter(None, (words, outcome.message))),
            remedy="does its key on the server's sshd serve that dataset, append-only? (docs/reverse.md)",
        )
