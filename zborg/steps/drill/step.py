"""drill: each host reads a sample of its own backup again, and compares it with what it noted at backup time.

The server lends a snapshot, here or fetched from a target, and gets numbers. It names the archive and nothing
else: which files are read only the host knows, and the key never leaves it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice

from zborg.borg.log import BorgLog, count
from zborg.borg.verdict import judge
from zborg.errors import Interrupted, UsageError, ZborgError
from zborg.interrupt import cancelled
from zborg.model import Host, Outcome, Report, Speaker, Status
from zborg.model.events import Finished, Started
from zborg.model.ledger.drilled import Drilled
from zborg.model.results import DrilledHost, backup_of
from zborg.model.text.agent_conf import DEFAULT
from zborg.model.text.remedy import command, remedy
from zborg.planning.drill.choose import Choice, Made, choose
from zborg.planning.drill.due import tonight
from zborg.planning.drill.judge import Allowed, Counts, allowed, verdict
from zborg.planning.hosts.agent_version import answer_of, enrol
from zborg.state.frozen import Freeze
from zborg.state.runs import ended
from zborg.steps.context import StepRun, outcome_of, recording, select_hosts
from zborg.steps.drill.last import KIND, drills_of
from zborg.steps.ledger.begun import is_begun
from zborg.steps.ledger.store import record
from zborg.steps.restore.fetch import at_hand, failed
from zborg.steps.restore.interrupted import restore_lock
from zborg.steps.restore.source import STORAGE, Place, Source, clone, place_of

_FAR = 400  # backups that are looked through for those that a host has a sample of


@dataclass(frozen=True)
class Request:
    """The hosts, none named: all; and whose copy they read."""

    hosts: Sequence[str] = ()
    source: Source = STORAGE


def drill(run: StepRun, request: Request = Request()) -> Report:  # noqa: B008  # frozen
    """Every named host, none named: all. Raises UsageError for an unknown host, target or key."""
    hosts = select_hosts(run.context.config, request.hosts)
    for host in hosts:
        place_of(run.context, host.name, request.source)
    return _drill(run, [(host, request.source) for host in hosts])


def nightly(run: StepRun) -> Report:
    """Tonight's share, as a part of the night; nothing is recorded when there is none."""
    config = run.context.config
    by_name = {host.name: host for host in config.hosts}
    found = drills_of(config, run.context.runs)
    keys = {target.name: target.read_identity for target in config.targets if target.read_identity}
    turns = tonight(found.pasts, list(keys), config.drill_every, run.started, found.share)
    if not turns:
        return replace(run.report([]), command=KIND)
    return _drill(
        run.part(KIND), [(by_name[name], Source(where, keys.get(where, ""))) for name, where in turns]
    )


@recording
def _drill(run: StepRun, work: Sequence[tuple[Host, Source]]) -> Report:
    if run.dry_run:
        return run.planned(
            f"lend {host.name} the newest snapshot{_where(source)} of which it has a sample"
            for host, source in work
        )
    return run.report([_Drill(run, host, source).outcome() for host, source in work])


def _where(source: Source) -> str:
    return f" on {source.target}" if source.target else ""


@dataclass
class _Drill:
    """One host's."""

    run: StepRun
    host: Host
    source: Source

    def outcome(self) -> Outcome:
        """Whatever happens to one, the others have their turn."""
        emit, name = self.run.context.emit, self.host.name
        if cancelled.is_set():
            return outcome_of(KIND, name, Interrupted("not drilled: interrupted"))
        emit(Started(name, "reads a sample of its backup again"))
        try:
            outcome = self._outcome()
        except Exception as error:
            outcome = outcome_of(KIND, name, error)
        if self.source.target and not isinstance(outcome.result, DrilledHost):
            outcome = replace(
                outcome, result=DrilledHost(**outcome.result.shared(), target=self.source.target)
            )
        emit(Finished(name, outcome.message, outcome.status))
        return outcome

    def _outcome(self) -> Outcome:
        if self.host.reverse:
            return self._skipped("it has no agent: its own borgmatic could try a restore")
        agent = allowed(answer_of(self.run.context.tunnel.ask(self.host, "version")))
        if refused := self._refused(agent):
            return refused
        place = place_of(self.run.context, self.host.name, self.source)
        try:
            choice = choose(place.snapshots(), self._made(), agent.sampled)
        except UsageError as error:  # no snapshot yet
            return self._skipped(error.message, error.remedy)
        except ZborgError as error:
            return replace(failed(place, error), kind=KIND)
        if choice is None:
            words = f"no good snapshot{place.where} ends with an archive of which it has a sample"
            return self._skipped(words, remedy(command("zborg", "backup", self.host.name), "zborg snapshot"))
        return self._read(place, choice)

    def _refused(self, agent: Allowed) -> Outcome | None:
        name = self.host.name
        if not agent.known:
            return self._skipped("its agent is from before there were drills", enrol(self.host))
        if not agent.drills:
            first = f"on {name}, as root, a line drill = yes in this file allows them:"
            return self._skipped("it allows no drill", remedy(command("cat", DEFAULT), first=first))
        if not agent.sampled:
            words = "it has no sample yet: its next backup takes one"
            return self._skipped(words, command("zborg", "backup", name))
        return None

    def _skipped(self, words: str, fix: str = "") -> Outcome:
        return Outcome(KIND, self.host.name, Status.SKIPPED, words, fix)

    def _made(self) -> list[Made]:
        found = []
        for report in islice(self.run.context.runs.newest_first("backup"), _FAR):
            for one in report.outcomes:
                if one.kind == "host" and one.subject == self.host.name and one.status.good:
                    made = backup_of(one.result)
                    found.append(Made(ended(report, one), made.archive, made.original_bytes or 0))
        return found

    def _read(self, place: Place, choice: Choice) -> Outcome:
        """Lent as `restore serve` lends it; the clone goes with it, whatever happens."""
        run, log = self.run, BorgLog(self.host.name)
        words = ("drill", self.host.name, choice.made.archive)

        def listen(speaker: Speaker, lines: Sequence[str]) -> None:
            log.feed_lines(lines, speaker)

        try:
            with (
                run.context.locks.hold(restore_lock(self.host.name)) as lock,
                at_hand(run, place, choice.snapshot, lock, serve=True) as (near, copy),
                clone(run, near, copy, served=True),
            ):
                tunnel = run.context.tunnel
                status = tunnel.verb(self.host, words, listen, scratch=run.id, adopt=lock.adopt)
        except ZborgError as error:
            return replace(failed(place, error), kind=KIND)
        return self._judged(choice, status, log)

    def _judged(self, choice: Choice, status: int, log: BorgLog) -> Outcome:
        counts = _counts(log)
        judged, words, fix = judge(status, log)
        level, message = verdict(judged, words, counts, choice.made.bytes)
        if level is Status.DAMAGED:
            fix = command("zborg", "verify", self.host.name)
        outcome = Outcome(KIND, self.host.name, level, message, fix)
        if not (level.good or level is Status.DAMAGED):
            return outcome
        self._keep(choice, level, counts)
        return replace(outcome, result=self._result(choice, counts))

    def _result(self, choice: Choice, counts: Counts) -> DrilledHost:
        return DrilledHost(
            snapshot=choice.snapshot.full,
            taken=choice.snapshot.created,
            target=self.source.target,
            archive=choice.made.archive,
            matched=counts.files,
            bytes=counts.bytes,
            mismatched=counts.mismatched + counts.unfinished,
            sampled=counts.sampled,
            population=counts.population,
            took=counts.seconds,
            rate=counts.rate and round(counts.rate, 1),
            whole_seconds=(whole := counts.whole(choice.made.bytes)) and round(whole, 1),
        )

    def _keep(self, choice: Choice, level: Status, counts: Counts) -> None:
        """In the ledger; and nothing that somebody may need is rotated until a person has looked."""
        context, name = self.run.context, self.host.name
        whole = level is not Status.DAMAGED
        if not whole and name not in context.frozen.now():
            reason = f"drill: the host could not read its backup again, in {choice.snapshot.full}"
            context.frozen.put(Freeze(name, reason, context.clock()))
        if is_begun(context.config):
            entry = Drilled(
                host=name,
                run=self.run.id,
                at=context.clock(),
                snapshot=choice.snapshot.snapname,
                guid=choice.snapshot.guid,
                source=self.source.target,
                archive=choice.made.archive,
                files=counts.files,
                bytes=counts.bytes,
                mismatched=counts.mismatched + counts.unfinished,
                seconds=counts.seconds,
                whole=whole,
            )
            record(context, [entry])


def _counts(log: BorgLog) -> Counts:
    """What the host answered; it may say anything."""
    found = log.json()
    return Counts(
        files=count(found, "files"),
        bytes=count(found, "bytes"),
        mismatched=count(found, "mismatched"),
        unfinished=count(found, "unfinished"),
        sampled=count(found, "sampled"),
        population=count(found, "population"),
        canary=found.get("canary") == "yes",
        seconds=count(found, "seconds"),
    )
