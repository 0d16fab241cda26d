"""One host's backup: its verbs in turn.

A host is good only if the server saw a new commit in this run, never by the client's word alone.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from zborg.borg.agent import HostReport
from zborg.borg.log import BorgLog, lock_is_held, statistics
from zborg.borg.storage.confine import confine
from zborg.borg.storage.litter import SNAPDIR, clear_litter
from zborg.borg.storage.repository import (
    KNOWN_FORMS,
    begun_and_confined,
    entries,
    last_transactions,
    left_by_init,
    serving,
)
from zborg.borg.verdict import judge
from zborg.errors import CommandFailed, Conflict, Stalled, TimedOut, Unreachable, ZborgError
from zborg.model import Host, Outcome, Speaker, Status
from zborg.model.events import Progress
from zborg.model.ledger.sessions import Purpose, Session
from zborg.model.results import HostBackup, backup_of
from zborg.model.text.remedy import command, on
from zborg.model.text.units import to_second
from zborg.planning.hosts.agent_version import answer_of, shell_prints
from zborg.state.locks import Lock
from zborg.steps.backup.in_the_way import in_the_way, other_form
from zborg.steps.backup.retry import Tries
from zborg.steps.backup.walls import UNKNOWN
from zborg.steps.backup.witness import HostCheckpoint
from zborg.steps.context import StepRun, refuse_to_replace

_BETWEEN = 0.2  # seconds between two events of progress of a host
_CREATE = 3  # words of `create` without a checkpoint
_PURPOSES = {"init": Purpose.INIT, "prune": Purpose.PRUNE}


def archive_name(host: Host, at: datetime) -> str:
    """web1-2026-02-12T144933Z."""
    return f"{host.name}-{at:%Y-%m-%dT%H%M%SZ}"


@dataclass
class HostRun:
    """init when there is no repository, then create; prune when that is due."""

    run: StepRun
    host: Host
    lock: Lock
    home: str  # the mountpoint of its dataset
    checkpoint: HostCheckpoint = field(default_factory=HostCheckpoint)
    tries: Tries = field(init=False)
    _confined: bool = field(default=False, init=False)  # in this try already
    _before: int = field(default=0, init=False)  # the last commit that the server saw before this try
    _seen: int = field(default=0, init=False)  # the last commit that the server saw

    def __post_init__(self) -> None:
        self.tries = Tries(self.run, self.host)

    def execute(self) -> Outcome:
        """Raises ZborgError when it did not come to an outcome of borg's."""
        return self.tries.persistently(self._once)

    def _once(self, tried: int) -> Outcome:
        made = self.prepare()
        return made if made and made.status.bad else self.archive("create", tried)

    def prepare(self) -> Outcome | None:
        """Make the repository if there is none. None: it is there."""
        # Most have one: what says so confines it as well, in one command.
        found = begun_and_confined(self.run.context.storage.runner, self.home, self._account)
        self._before = self._met(found.last)
        self._confined = self._before > 0
        self._check_form(found.version)
        if self._before or not self._is_new():
            return None
        outcome = self._verb("init", self.host.name)
        self._before = self._last()
        return replace(outcome, message=f"init: {outcome.message}") if outcome.status.bad else outcome

    def archive(self, verb: str, tried: int = 1) -> Outcome:
        """After prepare(): a new archive by this verb, good only if the server saw its commit."""
        if not self._confined:  # nothing that was ever backed up is served before this
            owned = confine(self.run.context.storage.runner, [self.home], self._account)[self.home]
            self._check_form(owned.version)
        # The last try may have made its archive: every try has a name of its own.
        name = archive_name(self.host, self.run.started if tried == 1 else self.run.context.clock())
        given = self._checkpoint() if verb == "create" else ()
        made = self._proven(self._verb(verb, self.host.name, name, *given), name)
        return made.noting(witness=self.checkpoint.noted) if verb == "create" else made

    def _checkpoint(self) -> tuple[str, ...]:
        """What the host is given of the ledger. That its agent cannot be asked is no reason to fail."""
        if self.checkpoint.to_ask:
            try:
                self._told()
            except Unreachable:
                raise
            except ZborgError as error:
                self.tries.warn(f"what its agent keeps of the ledger is not known: {error.message}")
        return self.checkpoint.words()

    # --- is there a repository, and whose ---

    def _last(self, *, ended: bool = True) -> int:
        """The last commit that the server sees. A session that was not ended, ends with it.

        Not one that failed (`ended` False): a `borg serve` that was killed may have committed without a line
        in its log.
        """
        seen = last_transactions(self.run.context.storage.runner, [self.home]).get(self.home, 0)
        return self._met(seen, ended=ended)

    def _check_form(self, version: int) -> None:
        if version not in KNOWN_FORMS:
            raise other_form(self.run.context, self.host, self.home, version)

    def _met(self, seen: int, *, ended: bool = True) -> int:
        self._seen = seen
        if ended:
            self.run.context.sessions.end(self.host.name, seen)
        return seen

    def _told(self) -> list[str]:
        answer = self.run.context.tunnel.ask(self.host, "version").splitlines()
        self.checkpoint.hear(answer)
        return answer

    def _is_new(self) -> bool:
        """Whether the repository is to be made. No commit was ever seen here; Conflict if that is odd.

        What an init left that was killed is cleared, but only if the host was never seen good and says
        itself that it has no repository, and the dataset holds no more than an init writes.
        """
        answer = self._told()
        self._check_name(answer)
        storage, unknown = self.run.context.storage.runner, "initialised no" in answer
        found = self._found(entries(storage, self.home))
        if "config" in found and not unknown:
            return False  # killed between its init and its first commit
        refuse_to_replace(self.run.context, self.host)
        if found and not (unknown and left_by_init(storage, self.home, found)):
            raise in_the_way(self.run.context, self.host, self.home, found)
        if found:
            storage.run(["rm", "-rf", "--", *(f"{self.home}/{name}" for name in found)])
        return True

    def _found(self, names: Sequence[str]) -> Sequence[str]:
        """What lies in the dataset besides litter, which would keep borg from making a repository there."""
        storage = self.run.context.storage.runner
        if not names:
            return names
        if SNAPDIR in names:
            self.run.context.storage.zfs.hide_snapshots(self._dataset)
        clear_litter(storage, self.home)
        return entries(storage, self.home)

    @property
    def _dataset(self) -> str:
        return self.run.context.config.storage.dataset_of(self.host.name)

    def _check_name(self, answer: Sequence[str]) -> None:
        """A table that was renamed in zborg.toml alone would begin a second history."""
        own = next((line.removeprefix("name ") for line in answer if line.startswith("name ")), "")
        if own != self.host.name:
            raise Conflict(
                f"zborg.toml says {self.host.name}, the host calls itself {own or 'nothing'}",
                f"rename the table to [hosts.{own}], or set name in the host's agent.conf",
            )

    # --- one verb ---

    def _verb(self, *words: str) -> Outcome:
        """Its outcome. A lock that nobody can hold any more is broken, and the verb tried once again."""
        status, log = self._say(*words)
        if words[_CREATE:] and self.checkpoint.refused(status, log):
            self.tries.warn("its agent is an older one now, and takes no checkpoint of the ledger")
            words = words[:_CREATE]
            status, log = self._say(*words)
        if lock_is_held(status, log):
            if owner := self._lock_owner():
                return replace(self._outcome(status, log), message=f"locked: {owner}", remedy="wait for it")
            self.tries.warn(
                "breaks a lock that is left in its repository or its cache: no borg runs here or there"
            )
            met, (status, log) = log.broken, self._say("break-lock", self.host.name)
            if status == 0:
                status, log = self._say(*words)
                log.broken = log.broken or met  # borg repairs what it may, and reports it once
                return _counted_before(self._outcome(status, log), "a left lock was broken")
        if words[_CREATE:] and log.ran:  # else it may have stopped before it took the word
            self._given(log)
        if log.report.signed:
            self.run.context.sessions.mark(self.host.name, Purpose.SIGN)
        if log.report.repaired(self.host.name) and status != 0:
            return self._again(log.report, words)
        return self._outcome(status, log)

    def _given(self, log: BorgLog) -> None:
        if why := log.report.no_witness:
            self.tries.warn(f"it keeps no checkpoint of the ledger: {why}")
        else:
            self.checkpoint.given()

    def _again(self, report: HostReport, words: Sequence[str]) -> Outcome:
        """The agent removed what was in borg's way: the verb is tried once more."""
        name, note = self.host.name, report.repaired(self.host.name)
        self.tries.warn(note)
        status, log = self._say(*words)
        outcome = _counted_before(self._outcome(status, log), note)
        if not outcome.status.good:
            return outcome
        answer = "; ".join(filter(None, (note, outcome.message)))
        look = on(name, "dmesg", command("rm", "-r", report.cache)) if report.cache else ""
        return replace(outcome, status=Status.WARNING, message=answer, remedy=outcome.remedy or look)

    def _lock_owner(self) -> str:
        """Who may hold borg's lock, in words; "" when nobody is left.

        We have the host's own kernel lock, so no other run of zborg serves this repository now.
        """
        answer = self._told()
        if "borg_runs yes" in answer:
            return f"a borg runs on {self.host.name}"
        if "borg_runs no" not in answer:
            return f"whether a borg runs on {self.host.name} its agent does not say"
        pids = ", ".join(map(str, serving(self.run.context.storage.runner, self.host.name, self._server())))
        return f"a borg serve of its repository runs on the storage, pid {pids}" if pids else ""

    @property
    def _account(self) -> str:
        return self.run.context.config.storage.account_of(self.host)

    def _server(self) -> str:
        """As whom `borg serve` runs for it."""
        storage = self.run.context.storage.runner
        return self._account or str(confine(storage, [self.home], look=True)[self.home].uid)

    def _say(self, *words: str) -> tuple[int, BorgLog]:
        name, run = self.host.name, self.run
        purpose = _PURPOSES.get(words[0], Purpose.BACKUP)
        run.context.sessions.begin(name, Session(purpose, run.id, run.context.clock(), self._seen))
        log = BorgLog(name, self.run.context.config.storage.dataset_of(name))

        shown = 0.0

        def listen(speaker: Speaker, lines: Sequence[str]) -> None:
            nonlocal shown
            # borg counts five times a second, a host that means harm a hundred thousand times.
            if (counts := log.feed_lines(lines, speaker)) and (now := time.monotonic()) - shown >= _BETWEEN:
                shown = now
                self.run.context.emit(Progress(self.host.name, **counts._asdict()))

        limited = self.tries.limited()
        try:
            return self.run.context.tunnel.verb(limited, words, listen, adopt=self.lock.adopt), log
        except TimedOut as error:
            raise self.tries.too_late() from error
        except Stalled as error:
            raise self.tries.stalled(error) from error

    def _outcome(self, status: int, log: BorgLog) -> Outcome:
        judged, message, remedy = judge(status, log)
        if log.garbled and judged is Status.FAILED:
            message, remedy = self._who_prints(message, remedy)
        wall = self.run.context.tunnel.wall(self.host.name)
        result = HostBackup(
            **statistics(log.json()),
            wall=wall.words if wall else UNKNOWN,
            clocks=tuple(map(to_second, log.clocks or ())),  # the host's and ours
            warnings=log.warnings.total,
            unread=log.warnings.unread,
            changed=log.warnings.changed,
        )
        if not judged.good:
            result = result.replace(log=tuple(log.last))
        return Outcome("host", self.host.name, judged, message, remedy, result)

    def _who_prints(self, message: str, remedy: str) -> tuple[str, str]:
        """borg serve only sees that something came before borg; an answer of the agent's shows what."""
        try:
            found = shell_prints(self.host.name, answer_of("\n".join(self._told())))
        except CommandFailed as error:
            return error.message, error.remedy
        return (found.message, found.remedy) if found else (message, remedy)

    def _proven(self, outcome: Outcome, archive: str) -> Outcome:
        after = self._last(ended=outcome.status.good)
        if not outcome.status.good:
            return outcome.noting(transaction=after)
        made = outcome.noting(archive=archive, transaction=after)
        if after <= self._before:
            message = "the host says good, but the server saw no commit in this run"
            return replace(made, status=Status.FAILED, message=message)
        if backup_of(made.result).files == 0:
            message, remedy = "the archive is empty", "look at the paths in /etc/zborg/agent.conf on the host"
            return replace(made, status=Status.FAILED, message=message, remedy=remedy)
        return made

    # --- the host's own retention ---

    def pruned(self, made: Outcome) -> Outcome:
        """After a good backup, which stays good unless damage or an alarm is met.

        That a host keeps all is noted too: to ask costs a connection, which need not be made every night.
        """
        when = to_second(self.run.started)
        try:
            if "prune yes" not in self._told():
                return made.noting(keeps_all=when, witness=self.checkpoint.noted)
            outcome = self._verb("prune", self.host.name)
            last = self._last(ended=outcome.status.good)
            after = made.noting(transaction=last, witness=self.checkpoint.noted)
        except ZborgError as error:
            return _with_warning(made, error.message, error.remedy)
        if outcome.status in (Status.CONFLICT, Status.DAMAGED):
            words = f"pruning: {outcome.message}"
            return replace(after, status=outcome.status, message=words, remedy=outcome.remedy)
        if not outcome.status.good:  # also when the host does not allow it now
            return _with_warning(after, outcome.message, outcome.remedy)
        return after.noting(pruned=when)


def _counted_before(outcome: Outcome, done: str) -> Outcome:
    """The host counts the first try, and may allow no other now: then nothing was done."""
    if outcome.status is not Status.SKIPPED:
        return outcome
    words = f"{done}; then {outcome.message}"
    return replace(outcome, status=Status.FAILED, message=words, remedy="the next run goes on")


def _with_warning(made: Outcome, message: str, remedy: str) -> Outcome:
    words = f"pruning: {message}" if message else "pruning failed"
    answer = "; ".join(filter(None, (made.message, words)))
    return replace(made, status=Status.WARNING, message=answer, remedy=made.remedy or remedy)
