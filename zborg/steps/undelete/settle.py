"""The end of an undelete, also of one that was killed: whatever comes to the host next finishes it first."""

from __future__ import annotations

from dataclasses import dataclass, replace

from zborg.borg.rollback.rollback import RolledBack, roll_back
from zborg.borg.storage.reader import Look, Unreadable, look_at
from zborg.errors import Damage, ZborgError
from zborg.model import Host, Outcome, Snapshot, Status
from zborg.model.events import Warned
from zborg.model.ledger import entries
from zborg.model.ledger.compacted import Undeleted
from zborg.model.ledger.entries import AUDIT, Audited
from zborg.model.ledger.sealed import News
from zborg.model.results import UndeletedHost
from zborg.model.text.remedy import command, remedy
from zborg.model.text.units import counted, size
from zborg.planning.audit.entry import Looked, entry
from zborg.planning.compact.compare import not_the_same
from zborg.state.ledger.compactions import Undeleting
from zborg.steps.compact.facts import Subject, records_of, subject_of
from zborg.steps.compact.settle import settle as settle_compaction
from zborg.steps.context import StepRun
from zborg.steps.ledger.begun import may_be_compacting
from zborg.steps.ledger.store import LOCK
from zborg.steps.one_dataset import newest_of, take

KIND = "undelete"
_ALL = 1 << 62  # transactions; what is rolled back counts them again
_STATE = "/var/lib/zborg"  # of the agent, on the host


def settle(run: StepRun, host: Host) -> list[Outcome]:
    """Finish what was killed while it worked on this host's repository. Raises ZborgError.

    The caller has the host's lock. One look at a file when there is nothing to do.
    """
    context = run.context
    if not may_be_compacting(context.config, host.name):
        return []
    done = [one for one in (settle_compaction(run, host),) if one]
    undeleting = records_of(context).of(host.name).undeleting
    if undeleting:
        context.emit(Warned(host.name, "an undelete of it was interrupted, and is finished first"))
        done.append(Ending(run, subject_of(context, host), undeleting).outcome())
    return done


def check(subject: Subject, point: Audited, snapshot: Snapshot, nonce: int = -1) -> News:
    """All of a snapshot against what was recorded up to `point`. Raises Damage for what is not the same."""
    context = subject.context
    place = context.storage.zfs.contents(snapshot, subject.home)
    (news,) = look_at(context.storage.runner, [Look(place)])
    if isinstance(news, Unreadable):
        raise ZborgError(f"{snapshot.full} cannot be read: {news.reason}")
    audits = _audits(subject)
    last = max((index for index, one in enumerate(audits) if one.guid == point.guid), default=-1)
    # By the records up to then: what was found since may have been recorded, too.
    recorded = {one.name: one.digest for entry in audits[: last + 1] for one in entry.objects}
    if differs := not_the_same(point, news, recorded, nonce):
        raise Damage(
            f"{snapshot.full} is not what was recorded: {'; '.join(differs)}",
            remedy(
                command("zborg", "restore", "list", subject.host.name),
                command("zborg", "ledger", "show", subject.host.name),
                first="an older snapshot (--at) or another copy may be whole:",
            ),
        )
    return news


def _audits(subject: Subject) -> list[Audited]:
    with subject.context.locks.hold(LOCK):
        history = subject.opened().history()[subject.host.name]
    return [entries.audited(one) for one in history if one.kind == AUDIT]


@dataclass(frozen=True)
class Ending:
    """Of one undelete, of this run or of one that was killed."""

    run: StepRun
    subject: Subject
    begun: Undeleting

    def outcome(self) -> Outcome:
        """Raises ZborgError when it cannot be ended now: the record stays, and nothing is served."""
        context, subject, name = self.run.context, self.subject, self.subject.host.name
        subject.refuse_if_at_work()
        audits = _audits(subject)
        if audits and audits[-1].run == self.begun.run:  # killed behind its entry
            return self._closed(audits[-1], RolledBack(0, 0, 0))
        point = next((one for one in reversed(audits) if one.guid == self.begun.guid), None)
        if point is None:
            raise ZborgError(
                "the ledger knows nothing of the snapshot that an undelete goes back to",
                remedy(
                    command("zborg", "ledger", "show", name),
                    first="name one that it knows with zborg undelete --at:",
                ),
            )
        nonce = max((one.nonce for one in audits if one.nonce is not None), default=-1)
        done = self._rolled_back(point, nonce)
        snapshot = take(context, subject.dataset, newest_of(context, subject.dataset.name))
        return self._recorded(point, snapshot, check(subject, point, snapshot, nonce), done)

    def _rolled_back(self, point: Audited, nonce: int) -> RolledBack:
        context, subject = self.run.context, self.subject
        there = context.storage.zfs.snapshots(subject.dataset.name)
        found = next((one for one in there if one.guid == self.begun.guid), None)
        if found is None:
            raise ZborgError(
                f"{subject.dataset.name}@{point.snapshot} is gone, in the middle of an undelete",
                command("zborg", "restore", "list", subject.host.name),
            )
        place = context.storage.zfs.contents(found, subject.home)
        return roll_back(context.storage.runner, subject.home, place, point.last, nonce)

    def _recorded(self, point: Audited, snapshot: Snapshot, news: News, done: RolledBack) -> Outcome:
        context, name = self.run.context, self.subject.host.name
        looked = Looked(
            name, self.begun.run, context.clock(), snapshot, point.repository, point, (), point.clean
        )
        audited = entry(looked, news, ())
        undeleted = Undeleted(
            name, self.begun.run, context.clock(), point.snapshot, point.guid, point.last, self.begun.aside
        )
        with context.locks.hold(LOCK):
            self.subject.opened().append([undeleted, audited])
        return self._closed(audited, done)

    def _closed(self, audited: Audited, done: RolledBack) -> Outcome:
        context, name = self.run.context, self.subject.host.name
        context.sessions.forget(name, _ALL)
        records = records_of(context)
        records.put(name, replace(records.of(name), undeleting=None))
        result = UndeletedHost(
            snapshot=audited.snapshot,
            transaction=audited.last,
            copied=done.copied,
            bytes=done.bytes,
            removed=done.removed,
            set_aside=self.begun.aside,
        )
        words = (
            f"its repository is again what it was at transaction {audited.last}: "
            f"{counted(done.removed, 'file')} removed, {counted(done.copied, 'file')} of {size(done.bytes)} "
            f"copied; what it was before is held as {self.begun.aside}"
        )
        memory = f"{_STATE}/borg/.config/borg/security/{audited.repository}/manifest-timestamp"
        fix = remedy(
            command("rm", "-f", f"{_STATE}/alarm", memory),
            command("rm", "-rf", f"{_STATE}/borg/.cache/borg/{audited.repository}"),
            command("zborg", "backup", name),
            *([command("zborg", "rotate", "--release", name)] if name in context.frozen.now() else []),
            first=f"{name} takes an older state for an attack. On {name}, as root, "
            "the first two agree to it; then here:",
        )
        return Outcome(KIND, name, Status.OK, words, fix, result)
