"""replicate: the snapshots a target lacks, oldest first, one stream per snapshot, never forced.

Before a stream its snapshot is held and its base bookmarked; after it the target is asked what it
has, and only that becomes the base of the next one.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from zborg.errors import CommandFailed, ZborgError
from zborg.model import P_TARGET, Dataset, Event, Outcome, Report, ResumeToken, Snapshot, Status, Target, Zfs
from zborg.model.words import counted
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
    Tree,
    stale_bookmarks,
)
from zborg.planning.replication import plan_all
from zborg.state.locks import Lock
from zborg.steps.context import Begun, Context, attempt, missing, outcome_of, select_targets
from zborg.streams import chain, pump
from zborg.zfs.argv import SEND_WORD
from zborg.zfs.parse import progress, size

# A first full stream over a slow line takes days; a dead line is noticed by ssh's keepalives.
_LONGEST = 14 * 86400.0
# After the sender's end the pipe, ssh's buffers and the receiver's queue still hold data, and the last
# transaction group is to come: hours on a slow line or a busy pool.
_ARRIVING = 6 * 3600.0
_AGAIN = "run zborg replicate again: what arrived is kept"
_BOOKMARKS = 30  # of each dataset stay, however far all targets are: about a month to roll one back in


def replicate(context: Context, names: Sequence[str] = (), *, dry_run: bool = False) -> Report:
    """Bring the selected targets up to date. Raises UsageError before anything starts."""
    targets = select_targets(context.config, names)
    return attempt(
        context, "replicate", partial(_replicate, targets=targets, dry_run=dry_run), dry_run=dry_run
    )


def _replicate(begun: Begun, *, targets: Sequence[Target], dry_run: bool) -> Report:
    plans: list[str] = []
    outcomes: list[Outcome] = []
    for target in targets:
        try:
            # One run per target: a second one's plan would be old before its turn came.
            with begun.context.locks.hold(f"target-{target.name}"):
                gathered = _gather(begun, target)
                plans += gathered.plan.lines()
                if not dry_run:
                    outcomes += _execute(gathered)
        except ZborgError as error:
            outcomes.append(outcome_of("target", target.name, error))
    if not targets:
        outcomes.append(Outcome("target", "targets", Status.SKIPPED, "none in zborg.toml"))
    return begun.report(outcomes, plans)


@dataclass(frozen=True)
class _Gathered:
    """One target: both ends, and what is to happen."""

    begun: Begun
    target: Target
    far: Zfs
    source: Tree
    plan: ReplicationPlan

    @property
    def hold(self) -> str:
        """The tag says whose it is, why, and for whom."""
        return f"zborg:to:{self.target.name}"

    @property
    def record(self) -> str:
        return P_TARGET + self.target.name


def _gather(begun: Begun, target: Target) -> _Gathered:
    """One listing of each kind per side, however many datasets there are."""
    near, far, root = begun.context.zfs, begun.context.zfs_of(target), begun.context.config.storage.dataset
    there = far.datasets(target.dataset)
    if not there:
        raise missing(
            far,
            target.dataset,
            f" on {target.name}",
            "on the target: zfs create -o mountpoint=none -o canmount=off -o readonly=on "
            f"-o volmode=none {target.dataset}",
        )
    here = near.datasets(root)
    source = Tree.of(root, here, near.snapshots(root), near.bookmarks(root))
    copy = Tree.of(target.dataset, there, far.snapshots(target.dataset))
    key = P_TARGET + target.name
    recorded = {_below(root, d): d.properties[key] for d in here if key in d.properties}
    plan = plan_all(source, copy, recorded, _tokens(near, target, there), _link(target))
    return _Gathered(begun, target, far, source, plan)


def _link(target: Target) -> Link:
    return Link(target.name, SEND_WORD)


def _below(root: str, dataset: Dataset) -> str:
    return dataset.name.removeprefix(f"{root}/")


def _tokens(near: Zfs, target: Target, there: Sequence[Dataset]) -> dict[str, ResumeToken]:
    """Tokens that can be read; the plan says what becomes of the others."""
    found = {}
    for dataset in there:
        if dataset.resume_token:
            try:
                found[_below(target.dataset, dataset)] = near.decode(dataset.resume_token)
            except ZborgError:
                continue
    return found


def _execute(gathered: _Gathered) -> Iterator[Outcome]:
    for conflict in gathered.plan.conflicts:
        yield _conflict(gathered, conflict)
    for name in gathered.plan.kept:
        subject = f"{gathered.target.name}:{name}"
        yield Outcome(
            "replica", subject, Status.WARNING, "is no longer on the source; kept", f"zfs list {name}"
        )
    for plan in gathered.plan.datasets:
        yield _one(gathered, plan)


def _conflict(gathered: _Gathered, conflict: Divergence) -> Outcome:
    """Both sides, in full: whoever decides needs to see them."""
    return Outcome(
        "replica",
        f"{gathered.target.name}:{conflict.target.name}",
        Status.CONFLICT,
        f"{conflict.kind.value}: {conflict.message}; nothing was touched",
        conflict.remedy,
        {"conflict": conflict.kind.value, "sides": conflict.lines()[2:4]},
    )


def _one(gathered: _Gathered, plan: DatasetPlan) -> Outcome:
    context, subject = gathered.begun.context, f"{gathered.target.name}:{plan.target}"
    if not plan.steps:
        return Outcome("replica", subject, Status.OK, "up to date", data={"streams": 0, "bytes": 0})
    context.emit(Event("started", subject))
    try:
        with context.locks.hold(f"dataset-{plan.source.replace('/', ':')}") as lock:
            outcome = _Sending(gathered, plan, subject, lock).run()
    except ZborgError as error:
        outcome = outcome_of("replica", subject, error)
    context.emit(Event("finished", subject, outcome.message))
    return outcome


class _Sending:
    """One dataset's steps in order."""

    def __init__(self, gathered: _Gathered, plan: DatasetPlan, subject: str, lock: Lock) -> None:
        self.gathered, self.plan, self.subject, self.lock = gathered, plan, subject, lock
        self.near, self.far = gathered.begun.context.zfs, gathered.far
        self.side = gathered.source.side(plan.source.removeprefix(f"{gathered.source.root}/"))
        assert self.side.dataset is not None  # plans are made for datasets that exist
        self.dataset, self.base = self.side.dataset, ""
        self.sent, self.lost, self.streams = 0, 0, 0
        # Snapshots that may carry our hold, oldest first: whatever an earlier run left is let go too.
        self.held = [s.full for s in self.side.snapshots if s.holds]

    def run(self) -> Outcome:
        if self.gathered.record not in self.dataset.properties:
            self._remember(None)  # whose dataset it was that the first stream began with
        for step in self.plan.steps:
            if isinstance(step, Abandon):
                self.far.abort_receive(self.plan.target)
                self.lost = step.lost_bytes or 0
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

    def _stream(self, step: Resume | Full | Increment) -> None:
        snapshot = step.snapshot
        self.near.hold(self.gathered.hold, snapshot.full)
        self.held = [*(name for name in self.held if name != snapshot.full), snapshot.full]
        self._transfer(step)
        self._confirm(snapshot)
        self._advance(snapshot)

    def _transfer(self, step: Resume | Full | Increment) -> None:
        meter = _Meter(self.gathered.begun, self.subject)
        said: dict[str, list[str]] = {"send": [], "receive": []}

        def listen(who: str, line: str) -> None:
            if who != "send" or not meter.feed(line):
                said[who] = [*said[who][-10:], line]

        source, sink = chain(
            lambda stdout: self.near.send(step.stream, stdout),
            lambda stdin: self.far.receive(self.plan.target, stdin),
        )
        pair = {"send": source, "receive": sink}
        statuses = pump(pair, listen, timeout=_LONGEST, adopt=self.lock.adopt, after={"send": _ARRIVING})
        # A short stream ends before its first line of progress: then what was announced is all we know.
        self.sent += max(meter.bytes, meter.total)
        self.streams += 1
        for who in ("receive", "send"):  # a receive that refuses breaks the sender's pipe
            if statuses[who]:
                raise _failure(who, statuses[who], "\n".join(said[who]))

    def _confirm(self, snapshot: Snapshot) -> None:
        """Only what the target says it has is a base: a resumed stream brings an older snapshot."""
        there = [s for s in self.far.snapshots(self.plan.target) if s.dataset == self.plan.target]
        newest = max(there, key=lambda s: s.createtxg, default=None)
        if newest is None or newest.guid != snapshot.guid:
            shown = f"@{newest.raw} (guid {newest.guid})" if newest else "no snapshot"
            raise ZborgError(
                f"after the stream of @{snapshot.raw} (guid {snapshot.guid}) the target shows {shown}",
                "run zborg replicate again; it compares both sides afresh",
            )

    def _advance(self, snapshot: Snapshot) -> None:
        """The new base: bookmarked, held and recorded before the old one is let go."""
        self.near.bookmark(snapshot.full, snapshot.raw)
        self._remember(snapshot.guid)
        self.base = snapshot.guid
        while len(self.held) > 1:
            self.near.release(self.gathered.hold, self.held.pop(0))

    def _remember(self, base: str | None) -> None:
        record = Recorded(self.dataset.guid, base, SEND_WORD)
        self.near.set([self.dataset.name], {self.gathered.record: str(record)})

    def _forget_old_bookmarks(self) -> None:
        """One more every night for ever: those that are older than any target's base may go."""
        records = {key: v for key, v in self.dataset.properties.items() if key.startswith(P_TARGET)}
        records.pop(self.gathered.record, None)
        try:
            others = [Recorded.parse(value).base for value in records.values()]
        except ValueError:
            return  # the run for that target ends in a conflict that says so
        if not self.base:
            return
        bases = [self.base, *(base for base in others if base)]
        for bookmark in stale_bookmarks(self.side, bases, keep=_BOOKMARKS):
            self.near.destroy_bookmark(bookmark.full)


def _failure(who: str, status: int, words: str) -> CommandFailed:
    if status == -signal.SIGTERM:
        why = f"zfs {who} was stopped: it went on for too long after the other end was gone"
        return CommandFailed(("zfs", who), status, words, why, f"zpool status there; then {_AGAIN}")
    return CommandFailed(("zfs", who), status, words, f"zfs {who} failed", _AGAIN)


class _Meter:
    """Progress from the sender's lines: bytes, rate, and what is left of the announced size."""

    def __init__(self, begun: Begun, subject: str) -> None:
        self._begun, self._subject = begun, subject
        self._started = time.monotonic()
        self.total, self.bytes = 0, 0

    def feed(self, line: str) -> bool:
        """Take a line; False when it was none of progress."""
        if line.startswith("size"):
            self.total = size(line)
            return True
        if (sent := progress(line)) is None:
            return line.startswith(("full\t", "incremental\t", "resume "))
        self.bytes = sent
        self._tell()
        return True

    def _tell(self) -> None:
        rate = self.bytes / max(time.monotonic() - self._started, 0.1)
        data = {"bytes": self.bytes, "rate": rate}
        if self.total:
            data |= {"total": self.total, "remaining": max(self.total - self.bytes, 0) / max(rate, 1)}
        self._begun.context.emit(Event("progress", self._subject, data=data))
