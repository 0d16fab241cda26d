"""What happens to one dataset of a replication.

Before a stream its snapshot is held and its base bookmarked; after it the target is asked what it
has, and only that becomes the base of the next one.
"""

from __future__ import annotations

from zborg.errors import (
    CommandFailed,
    Conflict,
    HasChildren,
    Interrupted,
    SinkRefused,
    TimedOut,
    Unreachable,
    ZborgError,
)
from zborg.interrupt import cancelled
from zborg.model import P_TARGET, Child, Outcome, Snapshot, Status, Stream
from zborg.model.results import Replicated
from zborg.model.storage.refusal import Refusal, StreamRefused
from zborg.model.text.remedy import command, on, remedy
from zborg.model.text.units import counted
from zborg.planning.replicate.actions import Abandon, DatasetPlan, Divergence, Full, Increment, Mark, Resume
from zborg.planning.replicate.facts import Pair, Recorded, Side, stale_bookmarks
from zborg.planning.replicate.plan import modified
from zborg.planning.replicate.refusals import Copy, remedy_of
from zborg.state.locks import Lock
from zborg.steps.replicate.endpoints import Comparison, ReplicationPair
from zborg.steps.replicate.stream import Meter, transfer

_BOOKMARKS = 30  # of each dataset stay, however far all targets are: about a month to roll one back in


class Diverged(Conflict):
    """What was found when the dataset's turn came."""

    def __init__(self, divergence: Divergence) -> None:
        super().__init__(divergence.message, divergence.remedy)
        self.divergence = divergence


def send(pair: ReplicationPair, seen: Comparison, plan: DatasetPlan, subject: str, lock: Lock) -> Outcome:
    """What a dataset whose turn has come needs, now that its lock is held.

    What was seen when the run began may have changed: a rotation destroys, and the others may have taken
    days. A listing of each dataset would cost more than what is sent on a usual night, so the two sides are
    compared again only when that is long ago, or when ZFS refuses: it goes by guids, and forces nothing.
    """
    sending = _Sending(pair, seen, plan, subject, lock)
    if not seen.fresh:
        return _afresh(sending)
    try:
        return sending.execute()
    except (TimedOut, Unreachable):
        raise
    except CommandFailed as refused:
        return _afresh(sending, refused)


def _afresh(sending: _Sending, refused: CommandFailed | None = None) -> Outcome:
    """Go on by what both sides are now. A refusal stands where they are as the plan had them, and where a
    stream was cut: that is for the next run."""
    source, now = sending.plan.source, sending.compare()
    for conflict in now.plan.conflicts:
        if conflict.source.name == source:
            raise Diverged(conflict) from refused
    for plan in now.plan.datasets:
        if plan.source == source:
            cut = any(isinstance(step, Resume | Abandon) for step in plan.steps)
            if refused and (cut or list(map(str, plan.steps)) == list(map(str, sending.left))):
                raise refused
            if not plan.steps:
                return idle(sending.subject, plan)
            sending.renew(now, plan)
            return sending.execute()
    raise ZborgError(f"{source} is gone since this run began", "zborg replicate --dry-run") from refused


def idle(subject: str, plan: DatasetPlan) -> Outcome:
    """Nothing to do. Where there is no snapshot that is not called good."""
    if plan.empty:
        return Outcome("replica", subject, Status.SKIPPED, "no snapshot yet", "zborg snapshot")
    return Outcome("replica", subject, Status.OK, "up to date", result=Replicated(streams=0, bytes=0))


class _Sending:
    """One dataset's steps in order."""

    def __init__(
        self, pair: ReplicationPair, seen: Comparison, plan: DatasetPlan, subject: str, lock: Lock
    ) -> None:
        self.pair, self.subject, self.lock = pair, subject, lock
        self.near, self.far = pair.near, pair.far
        self.sent, self.lost, self.streams, self.base = 0, 0, 0, ""
        self.unmarked: ZborgError | None = None
        self.renew(seen, plan)

    def renew(self, seen: Comparison, plan: DatasetPlan) -> None:
        """Go on with this plan instead, which was made of what was seen."""
        source = seen.source.side(self.pair.name_of(plan.source))
        self.taken = frozenset(one.name for one in seen.copies)
        assert source.dataset is not None  # plans are made for datasets that exist
        self.side, self.plan, self.dataset = source, plan, source.dataset
        self.left = list(plan.steps)
        # Snapshots that may carry our hold, oldest first: whatever an earlier run left is let go too.
        self.standing = [s for s in source.snapshots if s.holds]
        self.held = [s.full for s in self.standing]

    def compare(self) -> Comparison:
        return self.pair.compare(self.pair.name_of(self.dataset.name))

    def execute(self) -> Outcome:
        while self.left:
            step = self.left[0]
            if cancelled.is_set():
                raise Interrupted(f"interrupted after {counted(self.streams, 'stream')}")
            if isinstance(step, Abandon):
                self._abandon(step)
            elif isinstance(step, Mark):
                self._make_good(step)
            else:
                self._stream(step)
            del self.left[0]
        self._forget_old_bookmarks()
        if self.unmarked:
            raise self.unmarked
        newest = self.plan.steps[-1]
        reached = newest.snapshot.snapname if not isinstance(newest, Abandon) else "nothing newer"
        words = f"now at {reached}, {counted(self.streams, 'stream')}"
        if self.lost:
            words += f"; a cut stream of {self.lost} bytes had to be given up"
        result = Replicated(streams=self.streams, bytes=self.sent, lost_bytes=self.lost, snapshot=reached)
        return Outcome("replica", self.subject, Status.OK, words, result=result)

    def _abandon(self, step: Abandon) -> None:
        try:
            self.far.abort_receive(self.plan.target)
        except CommandFailed as error:
            if isinstance(error, SinkRefused):
                raise ZborgError(
                    f"the cut stream of {self.plan.target} can never be finished ({step.reason}), and a "
                    "sink lets no sender give one up",
                    remedy(
                        command("zborg", "rotate"),
                        first=f"it is noted on {self.pair.target.name}, whose own zborg gives it up by:",
                    ),
                ) from error
            if not isinstance(error, HasChildren):
                raise
            raise ZborgError(
                f"the cut first stream of {self.plan.target} cannot be given up: datasets are below it",
                on(
                    self.pair.target.name,
                    *(command("zfs", "rename", "-u", name, aside) for name, aside in self._below()),
                ),
            ) from error
        self.lost = step.lost_bytes or 0

    def _below(self) -> list[tuple[str, str]]:
        """The datasets right below the copy, each with a name beside it."""
        copy = self.plan.target
        names = [one.name.removeprefix(f"{copy}/") for one in self.far.datasets(copy) if one.name != copy]
        return [(f"{copy}/{name}", f"{copy}-{name}-aside") for name in names if "/" not in name]

    def _stream(self, step: Resume | Full | Increment) -> None:
        snapshot = step.snapshot
        if isinstance(step, Full):
            self.pair.check_parent(self.plan.target)
        if not self.base and self.pair.record not in self.dataset.properties:
            self._remember(None)  # whose dataset it was that the first stream began with
        if snapshot.full not in self.pair.held:
            self.near.hold(self.pair.hold, snapshot.full)
        self.held = [*(name for name in self.held if name != snapshot.full), snapshot.full]
        self._let_pass(step)
        self._transfer(step)
        self._confirm(snapshot)
        self._advance(snapshot)
        self._mark(snapshot)

    def _let_pass(self, step: Resume | Full | Increment) -> None:
        """Only what is sent and what it builds on need our hold, whatever this stream comes to. Else a target
        that never confirms one would have another snapshot held here every night, and no limit for that."""
        since = step.token.from_guid if isinstance(step, Resume) else None
        base = self.side.find(since) if since else None
        if isinstance(step, Increment):
            base = step.base
        needed = {step.snapshot.full, base.full if base else ""}
        # Of those that are newer each is held again in its turn.
        older = {s.full for s in self.standing if s.createtxg < step.snapshot.createtxg} - needed
        self.pair.free.extend(name for name in self.held if name in older)
        self.held = [name for name in self.held if name not in older]

    def _transfer(self, step: Resume | Full | Increment) -> None:
        meter = Meter(self.pair.run.context.emit, self.subject)
        try:
            transfer(
                lambda stdout: self._send(step.stream, stdout),
                lambda stdin: self.far.receive(self.plan.target, stdin),
                meter,
                self.lock.adopt,
                self.pair.limit,
            )
        except CommandFailed as error:
            raise self._refused(step, error) from error
        self.sent += meter.sent
        self.streams += 1

    def _send(self, stream: Stream, stdout: int) -> Child:
        """What the target asks for and ZFS here will not send: the partial receive there has to go."""
        try:
            return self.near.send(stream, stdout)
        except Conflict as error:
            abort = command("zfs", "receive", "-A", self.plan.target)
            raise Conflict(error.message, on(self.pair.target.name, abort)) from error

    def _refused(self, step: Resume | Full | Increment, error: CommandFailed) -> ZborgError:
        """The same failure with its reason and what to do about it, where the target's ZFS gave one."""
        if not isinstance(error, StreamRefused):
            return error
        if error.refusal is Refusal.MODIFIED:
            return Diverged(self._modified())
        target = self.pair.target
        user = target.endpoint.user
        aside = Pair(self.side, Side(self.plan.target), taken=self.taken).aside
        copy = Copy(target.name, target.dataset, self.plan.target, aside, user, step.stream.raw)
        words = f"{target.name} did not take the stream: {error.refusal}"
        return CommandFailed(error.argv, error.status, error.stderr, words, remedy_of(error.refusal, copy))

    def _modified(self) -> Divergence:
        """Both sides as they are now: streams of this run may have arrived before."""
        name, now = self.pair.name_of(self.dataset.name), self.compare()
        return modified(now.source.side(name), now.copy.side(name), self.pair.target.name)

    def _copy(self, snapshot: Snapshot) -> str:
        return f"{self.plan.target}@{snapshot.snapname}"

    def _confirm(self, snapshot: Snapshot) -> None:
        """Only what the target says it has is a base: a resumed stream brings an older snapshot."""
        found = self.far.guid(self._copy(snapshot))
        if found != snapshot.guid:
            raise ZborgError(
                f"after the stream of @{snapshot.snapname} (guid {snapshot.guid}) the target shows "
                + (f"guid {found} under that name" if found else "no such snapshot"),
                remedy("zborg replicate", first="both sides are compared afresh by:"),
            )

    def _mark(self, snapshot: Snapshot) -> None:
        """No stream brings properties (send -p would bring all of them): the off-site is sent what counts."""
        if snapshot.marks:
            self.far.set([self._copy(snapshot)], snapshot.marks)

    def _make_good(self, step: Mark) -> None:
        """Sent at the end only: a copy without marks is better than none."""
        try:
            self.far.set([step.snapshot.full], step.properties)
        except CommandFailed as error:
            self.unmarked = ZborgError(f"{step} and could not get it: {error.message}", error.remedy)

    def _advance(self, snapshot: Snapshot) -> None:
        """The new base: bookmarked, held and recorded before the old one is let go. The last step's goes
        with those of the other datasets."""
        self.near.bookmark(snapshot.full, snapshot.snapname)
        self._remember(snapshot.guid)
        self.base = snapshot.guid
        old, self.held = self.held[:-1], self.held[-1:]
        if len(self.left) == 1:
            self.pair.free.extend(old)
        elif old:
            self.near.release(self.pair.hold, *old)

    def _remember(self, base: str | None) -> None:
        record = Recorded(self.dataset.guid, base, self.pair.link.word(self.dataset))
        self.near.set([self.dataset.name], {self.pair.record: str(record)})

    def _forget_old_bookmarks(self) -> None:
        """One more every night for ever: those that are older than any target's base may go."""
        records = {key: v for key, v in self.dataset.properties.items() if key.startswith(P_TARGET)}
        records.pop(self.pair.record, None)
        try:
            others = [Recorded.parse(value).base for value in records.values()]
        except ValueError:
            return  # the run for that target ends in a conflict that says so
        if not self.base:
            return
        bases = [self.base, *(base for base in others if base)]
        for bookmark in stale_bookmarks(self.side, bases, keep=_BOOKMARKS):
            self.near.destroy_bookmark(bookmark.full)
