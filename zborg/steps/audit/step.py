"""audit: read what is new in the last snapshot of each repository, judge it, write it into the ledger.

What it finds freezes the host's rotation and holds the last snapshot in which nothing was wrong. It reads
snapshots alone, as the user whose the repository is, who may read nothing else meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from zborg.borg.storage.reader import Look, Unreadable, look_at
from zborg.borg.storage.repository import configs
from zborg.errors import Interrupted, ZborgError
from zborg.interrupt import cancelled
from zborg.model import Dataset, Host, Outcome, Report, Snapshot, Status
from zborg.model.events import Finished, Started
from zborg.model.ledger.entries import Anomaly, Audited, Rule
from zborg.model.ledger.sealed import News
from zborg.model.ledger.sessions import Purpose
from zborg.model.text.remedy import command, on
from zborg.model.text.units import moment
from zborg.planning.audit.entry import Looked, entry
from zborg.planning.audit.rules import Known, judge
from zborg.state.ledger.compactions import CompactionRecords
from zborg.state.ledger.ledger import Ledger
from zborg.steps.audit.hold import freeze, is_open
from zborg.steps.audit.report import KIND, OPEN, Reporting, release
from zborg.steps.context import StepRun, missing, outcome_of, recording, select_hosts
from zborg.steps.ledger.begun import folder_of, is_begun
from zborg.steps.ledger.store import LOCK, NoLedger, opened
from zborg.steps.one_dataset import name_after

NO_REPOSITORY = "there is no repository of it yet"
_TOGETHER = 50  # hosts that one command looks at: what it finds is in the ledger before the next begins


@dataclass(frozen=True)
class _Case:
    """One host's snapshot that is to be looked at, and what was known before."""

    host: Host
    dataset: Dataset
    snapshot: Snapshot
    before: Audited | None

    @property
    def look(self) -> Look:
        """As the reader is asked."""
        if self.before is None:
            return Look("")
        return Look(
            "", self.before.last, self.before.prior, self.before.log.size, self.before.taken.timestamp()
        )


@recording
def audit(run: StepRun, names: Sequence[str] = ()) -> Report:
    """Every named host, none named: all. Raises UsageError for an unknown one."""
    return looked_at(run, names)


def looked_at(run: StepRun, names: Sequence[str] = ()) -> Report:
    """The same within another step, whose report it is a part of. Raises ZborgError."""
    context, root = run.context, run.context.config.storage.dataset
    hosts = select_hosts(context.config, names)
    if context.config.storage.received:
        words = f"{root} is received from another zborg, whose own audit is in the ledger that came with it"
        return run.report([Outcome("step", "audit", Status.SKIPPED, words)])
    datasets = {one.name: one for one in context.storage.zfs.datasets(root)}
    if not datasets:
        raise missing(context.storage.zfs, root, "", "zborg init")
    with context.locks.hold(LOCK):
        ledger = opened(context, datasets.values())
        newest = _newest(run)
        ready = [_case(run, host, datasets, newest, ledger) for host in hosts]
        cases = [one for one in ready if isinstance(one, _Case)]
        if run.dry_run:
            return run.planned(f"read what is new in {one.snapshot.full}" for one in cases)
        outcomes = [one for one in ready if isinstance(one, Outcome)]
        if cases:
            ledger.heal()
        for group in _groups(cases):
            outcomes += _Group(run, ledger, group).audited()
        if cases:
            _record(run, newest)
        notices = [
            Outcome("ledger", context.config.storage.ledger, Status.WARNING, text) for text in ledger.notices
        ]
    return run.report([*notices, *outcomes])


def nightly(run: StepRun) -> Report:
    """The same as a part of the night: where no ledger was begun yet it is left out, with a word."""
    if is_begun(run.context.config) or run.context.config.storage.received:
        return audit(run)
    none = NoLedger(str(folder_of(run.context.config)))
    return run.report([Outcome("step", "audit", Status.SKIPPED, none.message, none.remedy)])


def _newest(run: StepRun) -> dict[str, Snapshot]:
    """By dataset the newest snapshot that zborg took."""
    found = run.context.storage.zfs.snapshots(run.context.config.storage.dataset)
    return {one.dataset: one for one in found if one.name}  # the oldest first


def _case(
    run: StepRun, host: Host, datasets: Mapping[str, Dataset], newest: Mapping[str, Snapshot], ledger: Ledger
) -> _Case | Outcome:
    name = run.context.config.storage.dataset_of(host.name)
    dataset, snapshot = datasets.get(name), newest.get(name)
    if dataset is None or not dataset.mounted or not dataset.mountpoint:
        words = f"{name} is not mounted" if dataset else f"{name} does not exist"
        return Outcome(KIND, host.name, Status.SKIPPED, f"{words}: nothing is read")
    if snapshot is None:
        return Outcome(KIND, host.name, Status.SKIPPED, "there is no snapshot of it yet")
    try:
        killed = CompactionRecords(folder_of(run.context.config)).unfinished(host.name)
    except ZborgError as error:
        return outcome_of(KIND, host.name, error)
    if killed:
        undelete = command("zborg", "undelete", host.name)
        fix = undelete if killed == "undelete" else command("zborg", "compact", host.name)
        return Outcome(KIND, host.name, Status.WARNING, f"its `zborg {killed}` was interrupted", fix)
    sessions = run.context.sessions.of(host.name)
    is_new = any(one.purpose is Purpose.INIT for one in sessions)  # made in place of one that was set aside
    before = None if is_new else ledger.latest(host.name)
    if before and not before.config:  # there was nothing that could be read
        before = None
    if before and before.guid == snapshot.guid:
        words = f"no snapshot since {moment(before.taken)}, which was read"
        if is_open(run.context, before):
            return Outcome(KIND, host.name, Status.WARNING, f"{words}; {OPEN}", release(host.name))
        return Outcome(KIND, host.name, Status.OK, words)
    return _Case(host, dataset, snapshot, before)


def _groups(cases: Sequence[_Case]) -> Iterator[Sequence[_Case]]:
    """Who is new alone: all of its repository is read, which takes hours. The others together."""
    for case in cases:
        if case.before is None:
            yield [case]
    known = [case for case in cases if case.before is not None]
    for first in range(0, len(known), _TOGETHER):
        yield known[first : first + _TOGETHER]


@dataclass(frozen=True)
class _Group:
    """Hosts that are read by one command, and whose entries get one checkpoint."""

    run: StepRun
    ledger: Ledger
    cases: Sequence[_Case]

    def audited(self) -> list[Outcome]:
        """One outcome for each."""
        emit, new = self.run.context.emit, self.cases[0].before is None
        if cancelled.is_set():
            return [
                outcome_of(KIND, one.host.name, Interrupted("not read: interrupted")) for one in self.cases
            ]
        if new:
            emit(Started(self.cases[0].host.name, "all of its repository is read: it is new to the ledger"))
        try:
            outcomes = self._entries()
        except Exception as error:  # a bug in what reads one host must not end the audit of the others
            outcomes = [outcome_of(KIND, one.host.name, error) for one in self.cases]
        if new:
            emit(Finished(outcomes[0].subject, outcomes[0].message, outcomes[0].status))
        return outcomes

    def _entries(self) -> list[Outcome]:
        storage = self.run.context.storage.runner
        answers = look_at(storage, [self._look(one) for one in self.cases])
        ids = configs(storage, [one.dataset.mountpoint or "" for one in self.cases])
        seen = list(zip(self.cases, answers, strict=True))
        made = [
            self._entry(case, answer, ids[case.dataset.mountpoint or ""].id)
            for case, answer in seen
            if _unseen(case, answer) is None
        ]
        unseen = [one for case, answer in seen if (one := _unseen(case, answer))]
        if not made:
            return unseen
        for audited, _ in made:
            freeze(
                self.run.context, audited
            )  # first: killed behind this, nothing is rotated that somebody may need
        self.ledger.append([audited for audited, _ in made])
        for audited, _ in made:
            self.run.context.sessions.forget(audited.host, audited.last)
        reporting = Reporting(self.run, self.ledger, self.cases[0].before is None)
        return [*unseen, *(reporting.outcome(audited, news) for audited, news in made)]

    def _look(self, case: _Case, *, whole: bool = False) -> Look:
        place = self.run.context.storage.zfs.contents(case.snapshot, case.dataset.mountpoint or "")
        return replace(Look("") if whole else case.look, path=place)

    def _entry(self, case: _Case, answer: News | Unreadable, repository: str) -> tuple[Audited, News | None]:
        run, before, name = self.run, case.before, case.host.name
        sessions, now = run.context.sessions.of(name), run.context.clock()
        released = not (before and is_open(run.context, before))
        looked = Looked(name, run.id, now, case.snapshot, repository, before, sessions, released)
        if isinstance(answer, Unreadable):
            unread = Anomaly(Rule.UNREADABLE, f"it cannot be read: {answer.reason}")
            return entry(looked, None, (unread,)), None
        digests = self.ledger.digests(name, [one.name for one in answer.touched])
        found = judge(answer, Known(before, sessions, digests, now))
        if before and any(one.rule in (Rule.WENT_BACK, Rule.GONE) for one in found):
            # What is there now is the past that the next look is compared with: all of it is recorded.
            again = look_at(run.context.storage.runner, [self._look(case, whole=True)])[0]
            answer = again if isinstance(again, News) else answer
        return entry(looked, answer, found), answer


def _unseen(case: _Case, answer: News | Unreadable) -> Outcome | None:
    """Of a repository of which nothing was looked at; None when something was.

    A host that was never backed up has nothing in its dataset. A directory that cannot be opened is the
    machine's fault and no finding about the host.
    """
    name = case.host.name
    if isinstance(answer, Unreadable) and not answer.begun:
        look = command("ls", "-l", f"{case.dataset.mountpoint}/.zfs/snapshot")
        return Outcome(
            KIND, name, Status.FAILED, f"it was not read: {answer.reason}", on("the storage", look)
        )
    if case.before is None and isinstance(answer, News) and answer.is_empty:
        return Outcome(KIND, name, Status.SKIPPED, NO_REPOSITORY)
    return None


def _record(run: StepRun, newest: Mapping[str, Snapshot]) -> None:
    """A snapshot of the ledger alone: so tonight's copies off-site have tonight's entries."""
    context, name = run.context, run.context.config.storage.ledger
    if now := name_after(context, newest[name].name if name in newest else None):  # else tomorrow's has them
        context.storage.zfs.snapshot(name, str(now), {})
