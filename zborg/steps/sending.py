"""What happens to one dataset of a replication.

Before a stream its snapshot is held and its base bookmarked; after it the target is asked what it
has, and only that becomes the base of the next one.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from zborg.errors import CommandFailed, Conflict, Interrupted, ZborgError
from zborg.interrupt import cancelled
from zborg.model import (
    P_RUN,
    P_STATE,
    P_TARGET,
    P_TRANSACTION,
    Dataset,
    Outcome,
    ResumeToken,
    Snapshot,
    Status,
    Target,
    Zfs,
)
from zborg.model.words import counted
from zborg.model.zfs import P_LABEL
from zborg.planning.replica import (
    Abandon,
    DatasetPlan,
    Divergence,
    Full,
    Increment,
    Link,
    Recorded,
    ReplicationPlan,
    Resume,
    Side,
    Tree,
    stale_bookmarks,
)
from zborg.planning.replication import modified, plan_all
from zborg.state.locks import Lock
from zborg.steps.context import Begun, missing
from zborg.steps.transfer import Limit, Meter, transfer
from zborg.zfs.argv import SEND_WORD
from zborg.zfs.words import says

_MARKS = (P_RUN, P_STATE, P_TRANSACTION, P_LABEL)  # of a snapshot, for whoever restores from the copy
_BOOKMARKS = 30  # of each dataset stay, however far all targets are: about a month to roll one back in


@dataclass(frozen=True)
class Ends:
    """The storage and one target."""

    begun: Begun
    target: Target
    far: Zfs

    @property
    def near(self) -> Zfs:
        return self.begun.context.zfs

    @property
    def root(self) -> str:
        return self.begun.context.config.storage.dataset

    @property
    def hold(self) -> str:
        """The tag says whose it is, why, and for whom."""
        return f"zborg:to:{self.target.name}"

    @property
    def limit(self) -> Limit | None:
        rate = self.target.bandwidth_limit
        return Limit(self.begun.context.local, rate) if rate else None

    @property
    def record(self) -> str:
        return P_TARGET + self.target.name

    def compare(self, name: str = "") -> Compared:
        """Both sides as they are now, and what is to happen; with a `name` of that dataset and its children.

        One listing of each kind per side, however many datasets there are.
        """
        here, there = (f"{root}/{name}" if name else root for root in (self.root, self.target.dataset))
        datasets, copies = self.near.datasets(here), self.far.datasets(there)
        if not name and not datasets:  # every copy would look as if its source had gone
            raise missing(self.near, here, "", "zborg init")
        if not name and not copies:
            raise self._missing()
        source = Tree.of(self.root, datasets, self.near.snapshots(here), self.near.bookmarks(here))
        copy = Tree.of(self.target.dataset, copies, self.far.snapshots(there))
        recorded = {
            self.name_of(one.name): one.properties[self.record]
            for one in datasets
            if self.record in one.properties
        }
        plan = plan_all(source, copy, recorded, self._tokens(copies), Link(self.target.name, SEND_WORD))
        return Compared(source, copy, plan, copies)

    def name_of(self, source: str) -> str:
        """A source's name below the root: what it is called on both sides."""
        return source.removeprefix(f"{self.root}/")

    def check_parent(self, target: str) -> None:
        """A new dataset needs a whole parent: with a child below it ZFS cannot give up the rest of a cut
        first stream, should that ever be needed."""
        parent = target.rpartition("/")[0]
        if parent == self.target.dataset:
            return
        found = next((one for one in self.far.datasets(parent) if one.name == parent), None)
        cut = found and found.resume_token and all(s.dataset != parent for s in self.far.snapshots(parent))
        if found is None or cut:
            raise ZborgError(
                f"not begun: {parent}, its parent, is not whole on {self.target.name} yet",
                "mend what is told of the parent; the next run goes on here",
            )

    def _missing(self) -> ZborgError:
        where = self.target.dataset
        remedy = (
            "on the target: zfs create -o mountpoint=none -o canmount=off -o readonly=on "
            f"-o volmode=none {where}"
        )
        return missing(self.far, where, f" on {self.target.name}", remedy)

    def _tokens(self, copies: Sequence[Dataset]) -> dict[str, ResumeToken]:
        """Tokens that can be read; the plan says what becomes of the others."""
        root = f"{self.target.dataset}/"
        found = {}
        for one in copies:
            if one.resume_token:
                with suppress(ZborgError):
                    found[one.name.removeprefix(root)] = self.near.decode(one.resume_token)
        return found


@dataclass(frozen=True)
class Compared:
    """Both sides at one time, and what is to happen."""

    source: Tree
    copy: Tree
    plan: ReplicationPlan
    copies: Sequence[Dataset] = ()  # what was listed there


class Diverged(Conflict):
    """What was found when the dataset's turn came."""

    def __init__(self, divergence: Divergence) -> None:
        super().__init__(divergence.message, divergence.remedy)
        self.divergence = divergence


def send(ends: Ends, source: str, subject: str, lock: Lock) -> Outcome:
    """What a dataset whose turn has come needs. Planned once more, now that its lock is held: the others
    may have taken days, and a rotation may have destroyed what the first plan names."""
    now = ends.compare(ends.name_of(source))
    for conflict in now.plan.conflicts:
        if conflict.source.name == source:
            raise Diverged(conflict)
    for plan in now.plan.datasets:
        if plan.source == source:
            side = now.source.side(ends.name_of(source))
            return _Sending(ends, side, plan, subject, lock).run() if plan.steps else idle(subject, plan)
    raise ZborgError(
        f"{source} is gone since this run began", "zborg replicate --dry-run shows what is there"
    )


def idle(subject: str, plan: DatasetPlan) -> Outcome:
    """Nothing to do. Where there is no snapshot that is not called good."""
    if plan.empty:
        return Outcome("replica", subject, Status.SKIPPED, "no snapshot yet", "zborg snapshot")
    return Outcome("replica", subject, Status.OK, "up to date", data={"streams": 0, "bytes": 0})


class _Sending:
    """One dataset's steps in order."""

    def __init__(self, ends: Ends, source: Side, plan: DatasetPlan, subject: str, lock: Lock) -> None:
        self.ends, self.side, self.plan, self.subject, self.lock = ends, source, plan, subject, lock
        self.near, self.far = ends.near, ends.far
        assert self.side.dataset is not None  # plans are made for datasets that exist
        self.dataset, self.base = self.side.dataset, ""
        self.sent, self.lost, self.streams = 0, 0, 0
        # Snapshots that may carry our hold, oldest first: whatever an earlier run left is let go too.
        self.held = [s.full for s in self.side.snapshots if s.holds]

    def run(self) -> Outcome:
        for step in self.plan.steps:
            if cancelled.is_set():
                raise Interrupted(f"interrupted after {counted(self.streams, 'stream')}")
            if isinstance(step, Abandon):
                self._abandon(step)
            else:
                self._stream(step)
        self._forget_old_bookmarks()
        newest = self.plan.steps[-1]
        reached = newest.snapshot.raw if not isinstance(newest, Abandon) else "nothing newer"
        words = f"now at {reached}, {counted(self.streams, 'stream')}"
        if self.lost:
            words += f"; a cut stream of {self.lost} bytes had to be given up"
        data = {"streams": self.streams, "bytes": self.sent, "lost_bytes": self.lost, "snapshot": reached}
        return Outcome("replica", self.subject, Status.OK, words, data=data)

    def _abandon(self, step: Abandon) -> None:
        try:
            self.far.abort_receive(self.plan.target)
        except CommandFailed as error:
            if says(error, "refused by the sink"):
                raise ZborgError(
                    f"the cut stream of {self.plan.target} can never be finished ({step.reason}), and a "
                    "sink lets no sender give one up",
                    "it is noted there: the off-site's own `zborg rotate` gives it up, and then the next "
                    "run goes on",
                ) from error
            if not says(error, "dataset already exists"):  # what ZFS says of children
                raise
            raise ZborgError(
                f"the cut first stream of {self.plan.target} cannot be given up: datasets are below it",
                "on the target: zfs rename each of them to a place beside it, then zborg replicate again",
            ) from error
        self.lost = step.lost_bytes or 0

    def _stream(self, step: Resume | Full | Increment) -> None:
        snapshot = step.snapshot
        if isinstance(step, Full):
            self.ends.check_parent(self.plan.target)
        if not self.base and self.ends.record not in self.dataset.properties:
            self._remember(None)  # whose dataset it was that the first stream began with
        self.near.hold(self.ends.hold, snapshot.full)
        self.held = [*(name for name in self.held if name != snapshot.full), snapshot.full]
        self._transfer(step)
        arrived = self._confirm(snapshot)
        self._advance(snapshot)
        self._mark(snapshot, arrived)

    def _transfer(self, step: Resume | Full | Increment) -> None:
        meter = Meter(self.ends.begun.context.emit, self.subject)
        try:
            transfer(
                lambda stdout: self.near.send(step.stream, stdout),
                lambda stdin: self.far.receive(self.plan.target, stdin),
                meter,
                self.lock.adopt,
                self.ends.limit,
            )
        except CommandFailed as error:
            if says(error, "has been modified"):
                raise Diverged(self._modified()) from error
            raise
        self.sent += meter.sent
        self.streams += 1

    def _modified(self) -> Divergence:
        """Both sides as they are now: streams of this run may have arrived before."""
        name = self.ends.name_of(self.dataset.name)
        now = self.ends.compare(name)
        return modified(now.source.side(name), now.copy.side(name))

    def _confirm(self, snapshot: Snapshot) -> Snapshot:
        """Only what the target says it has is a base: a resumed stream brings an older snapshot."""
        there = [s for s in self.far.snapshots(self.plan.target) if s.dataset == self.plan.target]
        newest = max(there, key=lambda s: s.createtxg, default=None)
        if newest is None or newest.guid != snapshot.guid:
            shown = f"@{newest.raw} (guid {newest.guid})" if newest else "no snapshot"
            raise ZborgError(
                f"after the stream of @{snapshot.raw} (guid {snapshot.guid}) the target shows {shown}",
                "run zborg replicate again; it compares both sides afresh",
            )
        return newest

    def _mark(self, snapshot: Snapshot, arrived: Snapshot) -> None:
        """No stream brings properties (send -p would bring all of them): the off-site is told what counts."""
        known = {key: snapshot.properties[key] for key in _MARKS if key in snapshot.properties}
        if new := {key: value for key, value in known.items() if key not in arrived.properties}:
            self.far.set([arrived.full], new)

    def _advance(self, snapshot: Snapshot) -> None:
        """The new base: bookmarked, held and recorded before the old one is let go."""
        self.near.bookmark(snapshot.full, snapshot.raw)
        self._remember(snapshot.guid)
        self.base = snapshot.guid
        while len(self.held) > 1:
            self.near.release(self.ends.hold, self.held.pop(0))

    def _remember(self, base: str | None) -> None:
        record = Recorded(self.dataset.guid, base, SEND_WORD)
        self.near.set([self.dataset.name], {self.ends.record: str(record)})

    def _forget_old_bookmarks(self) -> None:
        """One more every night for ever: those that are older than any target's base may go."""
        records = {key: v for key, v in self.dataset.properties.items() if key.startswith(P_TARGET)}
        records.pop(self.ends.record, None)
        try:
            others = [Recorded.parse(value).base for value in records.values()]
        except ValueError:
            return  # the run for that target ends in a conflict that says so
        if not self.base:
            return
        bases = [self.base, *(base for base in others if base)]
        for bookmark in stale_bookmarks(self.side, bases, keep=_BOOKMARKS):
            self.near.destroy_bookmark(bookmark.full)
