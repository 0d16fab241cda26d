"""The end of a compaction: what is alive is compared, and the ledger gets its entry.

It needs the host's lock. A run that was killed left a record, and whatever comes to the host next (a backup,
another compaction) settles it first: nothing may be written to the repository before that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from zborg.borg.rollback.rollback import roll_back
from zborg.borg.storage.repository import configs
from zborg.errors import Damage
from zborg.model import Host, Outcome, Snapshot, Status
from zborg.model.events import Warned
from zborg.model.ledger import entries
from zborg.model.ledger.compacted import Compacted, State, compacted_from
from zborg.model.ledger.entries import AUDIT, Audited
from zborg.model.ledger.sealed import News
from zborg.model.results import CompactedHost
from zborg.model.text.remedy import command, remedy
from zborg.model.text.units import size
from zborg.planning.audit.entry import Looked, entry
from zborg.planning.audit.rules import Known
from zborg.planning.compact.compare import differences
from zborg.planning.rotate.hold_tags import is_over
from zborg.state.frozen import Freeze
from zborg.state.ledger.compactions import Begun, Quarantined
from zborg.steps.compact.facts import Subject, records_of, subject_of
from zborg.steps.context import StepRun
from zborg.steps.ledger.begun import may_be_compacting
from zborg.steps.ledger.store import LOCK
from zborg.steps.one_dataset import newest_of, take

KIND = "compact"
_LONGEST = 300  # characters of a reason


def settle(run: StepRun, host: Host) -> Outcome | None:
    """Finish a compaction of this host that was killed; None when there is none. Raises ZborgError.

    The caller has the host's lock. One look at a file when there is nothing to do.
    """
    context = run.context
    if not may_be_compacting(context.config, host.name):
        return None
    begun = records_of(context).of(host.name).begun
    if begun is None:
        return None
    context.emit(Warned(host.name, "a compaction of its repository was interrupted, and is finished first"))
    return Ending(run, subject_of(context, host), begun).outcome()


@dataclass(frozen=True)
class Ending:
    """Of one compaction, of this run or of one that was killed."""

    run: StepRun
    subject: Subject
    begun: Begun

    @property
    def _name(self) -> str:
        return self.subject.host.name

    def outcome(self) -> Outcome:
        """Raises ZborgError when it cannot be ended now: the record stays."""
        self.subject.refuse_if_at_work()
        with self.run.context.locks.hold(LOCK):
            history = self.subject.opened().history()[self._name]
        audits = [entries.audited(one) for one in history if one.kind == AUDIT]
        if any(compacted_from(one) == self.begun.guid for one in history):  # killed behind its entry
            return self._closed(0, audits[-1])
        before = next((one for one in reversed(audits) if one.guid == self.begun.guid), None)
        if before is None:
            return self._forgotten()
        snapshot, news, differs = self._looked(before)
        if not differs:
            return self._recorded(before, snapshot, news, "")
        self._freeze(differs[0])
        self._roll_back(before)
        snapshot, news, left = self._looked(before)
        if left:
            held = f"{self.subject.dataset.name}@{self.begun.snapshot}"
            raise Damage(
                f"its compaction changed what is alive ({differs[0]}), and could not be undone: {left[0]}",
                remedy(
                    command("zborg", "undelete", self._name, "--at", self.begun.snapshot),
                    first=f"{held} is held, and has all of it:",
                ),
            )
        return self._recorded(before, snapshot, news, differs[0])

    def _forgotten(self) -> Outcome:
        """A ledger that was begun anew knows nothing of the snapshot before: nothing can be compared."""
        held = f"{self.subject.dataset.name}@{self.begun.snapshot}"
        words = f"its compaction cannot be compared with {held}, which the ledger does not know any more"
        self._freeze(words)
        closed = self._closed(0, None)
        fix = remedy(
            command("zborg", "audit", self._name),
            command("zborg", "rotate", "--release", self._name),
            first="its rotation is frozen, and that snapshot held; look into it; then:",
        )
        return Outcome(KIND, self._name, Status.DAMAGED, words, fix, closed.result)

    def _freeze(self, words: str) -> None:
        context = self.run.context
        context.frozen.put(Freeze(self._name, f"compact: {words}"[:_LONGEST], context.clock()))

    def _looked(self, before: Audited) -> tuple[Snapshot, News, Sequence[str]]:
        """A snapshot of now, and what differs in it from what was alive before."""
        context, subject = self.run.context, self.subject
        snapshot = take(context, subject.dataset, newest_of(context, subject.dataset.name))
        news = subject.look(snapshot, before)
        with context.locks.hold(LOCK):
            digests = subject.opened().digests(self._name, [one.name for one in news.touched])
        known = Known(before, context.sessions.of(self._name), digests, context.clock())
        return snapshot, news, differences(self.begun.living, news, known)

    def _roll_back(self, before: Audited) -> None:
        context, subject = self.run.context, self.subject
        found = context.storage.zfs.snapshots(subject.dataset.name)
        whole = next((one for one in found if one.guid == self.begun.guid), None)
        if whole is None:
            raise Damage(
                f"its compaction changed what is alive, and the snapshot {self.begun.snapshot} is gone",
                command("zborg", "restore", "list", self._name),
            )
        place = context.storage.zfs.contents(whole, subject.home)
        roll_back(
            context.storage.runner,
            subject.home,
            place,
            before.last,
            -1 if before.nonce is None else before.nonce,
        )

    def _recorded(self, before: Audited, snapshot: Snapshot, news: News, undone: str) -> Outcome:
        context, name = self.run.context, self._name
        now, home = context.clock(), self.subject.home
        repository = configs(context.storage.runner, [home])[home].id
        sessions = context.sessions.of(name)
        audited = entry(
            Looked(name, self.run.id, now, snapshot, repository, before, sessions, before.clean), news, ()
        )
        living = news.living or self.begun.living
        compacted = Compacted(
            name,
            self.run.id,
            now,
            State(before.snapshot, before.guid, before.last, before.sealed, self.begun.living),
            State(audited.snapshot, audited.guid, audited.last, audited.sealed, living),
            undone,
        )
        with context.locks.hold(LOCK):
            self.subject.opened().append([compacted, audited])
        context.sessions.forget(name, audited.last)
        closed = self._closed(before.bytes, audited)
        return self._undone(closed, undone) if undone else closed

    def _closed(self, was: int, audited: Audited | None) -> Outcome:
        """The record says that it has ended; what it freed is held for the time of the quarantine."""
        context, name = self.run.context, self._name
        records, now = records_of(context), context.clock()
        held = records.of(name).held
        over = [one for one in held if is_over(one.until.date(), now) or not context.config.quarantine]
        let_go(self.run, over)
        left = [one for one in held if one not in over]
        freed = max(was - audited.bytes, 0) if audited else 0
        records.ended(name, freed, now, left)
        result = CompactedHost(
            before=self.begun.snapshot,
            after=audited.snapshot if audited else "",
            bytes=audited.bytes if audited else 0,
            freed=freed,
            held_until=left[-1].until if left else None,
        )
        words = f"{size(freed)} of {size(was)} freed"
        if left:
            words += f"; {left[-1].snapshot} has all of it and is held until {left[-1].until:%Y-%m-%d}"
        return Outcome(KIND, name, Status.OK, words, result=result)

    def _undone(self, closed: Outcome, undone: str) -> Outcome:
        words = f"borg compact changed what is alive: {undone}; the repository is again what it was before"
        fix = remedy(
            command("zborg", "audit", self._name),
            command("zborg", "rotate", "--release", self._name),
            first="its rotation is frozen; look at borg and the disks of the storage; the last releases it:",
        )
        return Outcome(KIND, self._name, Status.DAMAGED, words, fix, closed.result)


def let_go(run: StepRun, over: Sequence[Quarantined]) -> None:
    """Snapshots whose quarantine has ended: rotation may remove them."""
    for one in over:
        run.context.storage.zfs.release(one.tag, one.snapshot)
