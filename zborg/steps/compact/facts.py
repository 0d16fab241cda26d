"""What is known of one host's repository before it is compacted."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

from zborg.borg.storage.confine import confine
from zborg.borg.storage.reader import Look, Unreadable, look_at
from zborg.borg.storage.repository import serving
from zborg.errors import Busy, CommandFailed, ZborgError
from zborg.model import Dataset, Host, Snapshot
from zborg.model.ledger.entries import Audited
from zborg.model.ledger.sealed import Living, News
from zborg.model.text.remedy import command
from zborg.model.text.units import counted
from zborg.planning.compact.decide import Facts, next_try, unapproved
from zborg.state.ledger.compactions import CompactionRecords
from zborg.state.ledger.ledger import Ledger
from zborg.steps.context import Context, StepRun, missing
from zborg.steps.ledger.begun import folder_of
from zborg.steps.ledger.store import LOCK, opened

LONGEST = 86400.0  # seconds of a look at what is alive
_SHORT = 3600.0  # of one that nobody asked for


class LookFailed(ZborgError):
    """A repository could not be looked at, for which an hour may have gone by."""


@dataclass(frozen=True)
class Subject:
    """A host and its dataset, which is mounted."""

    context: Context
    host: Host
    dataset: Dataset

    @property
    def home(self) -> str:
        """Where the repository is, on the storage."""
        return self.dataset.mountpoint or ""

    def opened(self) -> Ledger:
        """The caller has the lock of it."""
        context = self.context
        return opened(context, context.storage.zfs.datasets(context.config.storage.ledger))

    def audited(self, snapshot: Snapshot) -> Audited:
        """The entry of this snapshot. Raises ZborgError when audit did not look at it yet."""
        found = self.opened().latest(self.host.name)
        if found is None or found.guid != snapshot.guid:
            raise ZborgError(
                f"{snapshot.full} was not audited yet", command("zborg", "audit", self.host.name)
            )
        return found

    def is_empty(self, snapshot: Snapshot) -> bool:
        """Whether there is no repository in it: its host was never backed up. Raises ZborgError."""
        with self.context.locks.hold(LOCK):
            if self.opened().latest(self.host.name) is not None:
                return False
        path = self.context.storage.zfs.contents(snapshot, self.home)
        (answer,) = look_at(self.context.storage.runner, [Look(path)], _SHORT)
        return isinstance(answer, News) and answer.is_empty

    def look(
        self,
        snapshot: Snapshot,
        before: Audited,
        lost: tuple[int, ...] = (),
        seconds: float = LONGEST,
    ) -> News:
        """What is new in the snapshot since `before`, and what is alive. Raises LookFailed, ZborgError."""
        path = self.context.storage.zfs.contents(snapshot, self.home)
        wanted = Look(path, before.last, before.prior, before.log.size, before.taken.timestamp(), lost)
        try:
            (answer,) = look_at(self.context.storage.runner, [wanted], seconds)
        except CommandFailed as error:
            if error.retryable:
                raise
            raise LookFailed(f"{snapshot.full} was not read: {error.message}", error.remedy) from error
        if isinstance(answer, Unreadable):
            raise LookFailed(
                f"{snapshot.full} cannot be read: {answer.reason}", command("zborg", "audit", self.host.name)
            )
        return answer

    def facts(self, snapshot: Snapshot, agreed: Collection[int], *, explicit: bool) -> Facts:
        """Of this snapshot, which was audited; `agreed`: transactions approved now. Raises ZborgError."""
        with self.context.locks.hold(LOCK):
            audited = self.audited(snapshot)
            history = self.opened().history()[self.host.name]
        pending = tuple(one for one in unapproved(history) if one.transaction not in agreed)
        weighed = (one.transaction for one in pending if not one.and_before)
        asked = tuple(sorted({one for one in weighed if one is not None}))
        patience = LONGEST if explicit else _SHORT
        living = self.look(snapshot, audited, asked, patience).living or Living(0, 0, "", -1)
        reserve = self.context.config.storage.min_free
        frozen = self.host.name in self.context.frozen.now()
        return Facts(audited, pending, living, self.dataset.available, reserve, explicit, frozen)

    def refuse_if_at_work(self) -> None:
        """Raises Busy while a borg of it runs on the storage: one whose connection was lost."""
        storage = self.context.storage.runner
        user = self.context.config.storage.account_of(self.host)
        user = user or str(confine(storage, [self.home], look=True)[self.home].uid)
        if pids := serving(storage, self.host.name, user, self.home):
            shown = ", ".join(map(str, pids))
            raise Busy(f"a borg of its repository still runs on the storage, pid {shown}", "wait for it")


def subject_of(context: Context, host: Host) -> Subject:
    """Raises ZborgError when its dataset is missing or not mounted."""
    name = context.config.storage.dataset_of(host.name)
    dataset = next((one for one in context.storage.zfs.datasets(name) if one.name == name), None)
    if dataset is None:
        raise missing(context.storage.zfs, name, "", command("zborg", "init", host.name))
    if not dataset.mounted or not dataset.mountpoint:
        raise ZborgError(f"the dataset {name} is not mounted", command("zfs", "mount", name))
    return Subject(context, host, dataset)


def records_of(context: Context) -> CompactionRecords:
    """What is known of compactions here."""
    return CompactionRecords(folder_of(context.config))


def put_off(context: Context, host: str, gain: int) -> None:
    """Nothing was worth it: the next look is one period from now. The caller has the host's lock."""
    records = records_of(context)
    put = replace(records.of(host), looked=context.clock(), gain=gain, failed=0, tried=None)
    records.put(host, put)


def tried_again(run: StepRun, host: str) -> str:
    """After a look of the night that failed: when it is tried again, in words; "" where that is not known."""
    context, records = run.context, records_of(run.context)
    try:
        with context.locks.hold(f"host-{host}"):
            record = records.of(host)
            records.put(host, replace(record, failed=record.failed + 1, tried=run.started))
    except ZborgError:
        return ""
    times = record.failed + 1
    at = next_try(times, run.started, context.config.compact_every)
    return f"; that was so {counted(times, 'time')} in turn, and is tried again from {at:%Y-%m-%d} on"
