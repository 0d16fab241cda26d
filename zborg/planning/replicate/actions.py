"""What a plan of replication consists of: the steps of each dataset, and conflicts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from zborg.model import Bookmark, ResumeToken, Snapshot, Stream
from zborg.model.text.units import counted, size
from zborg.planning.replicate.facts import Side

SHOWN = 100  # datasets only the target has: it can list any number, and each report is stored


@dataclass(frozen=True, slots=True)
class Resume:
    """Finish the stream that was cut; `snapshot` is what it brings."""

    token: ResumeToken
    snapshot: Snapshot

    @property
    def stream(self) -> Stream:
        """What `Zfs.send` takes."""
        return Stream(self.snapshot.full, token=self.token.token, raw=self.token.raw)

    def __str__(self) -> str:
        return f"resume {self.snapshot.full} ({size(self.token.received)} already there)"


@dataclass(frozen=True, slots=True)
class Abandon:
    """Give up a cut stream that can never be finished (`zfs receive -A`, once). None: size not known.

    Of a first full stream that takes the unfinished dataset with it; never a finished snapshot.
    """

    reason: str
    lost_bytes: int | None

    def __str__(self) -> str:
        lost = "an unknown amount" if self.lost_bytes is None else size(self.lost_bytes)
        return f"abandon the cut stream, {lost} lost: {self.reason}"


@dataclass(frozen=True, slots=True)
class Full:
    """Send one snapshot whole, to a dataset that does not exist yet."""

    snapshot: Snapshot
    raw: bool = False

    @property
    def stream(self) -> Stream:
        """What `Zfs.send` takes."""
        return Stream(self.snapshot.full, raw=self.raw)

    def __str__(self) -> str:
        return f"send {self.snapshot.full} in full{_how(self.raw)}"


@dataclass(frozen=True, slots=True)
class Increment:
    """Send what changed between `base` and `snapshot`."""

    base: Snapshot | Bookmark
    snapshot: Snapshot
    raw: bool = False

    @property
    def stream(self) -> Stream:
        """What `Zfs.send` takes."""
        return Stream(self.snapshot.full, base=self.base.full, raw=self.raw)

    def __str__(self) -> str:
        return f"send {self.snapshot.full} from {self.base.full}{_how(self.raw)}"


def _how(raw: bool) -> str:
    return ", raw" if raw else ""


@dataclass(frozen=True, slots=True)
class Mark:
    """Set what is missing on the target's newest snapshot: the run that sent it was ended before it did so.

    Before anything is sent, for a sink lets nobody mark a snapshot that is not the newest.
    """

    snapshot: Snapshot  # the target's
    properties: Mapping[str, str]

    def __str__(self) -> str:
        return f"mark {self.snapshot.full}, which has no {', '.join(self.properties)}"


Step = Resume | Abandon | Full | Increment | Mark


@dataclass(frozen=True, slots=True)
class DatasetPlan:
    """The steps for one dataset, in order; none when the copy is up to date, or there is nothing to copy."""

    source: str
    target: str
    steps: tuple[Step, ...]
    empty: bool = False  # neither side has a snapshot that could be a backup

    def lines(self) -> tuple[str, ...]:
        """For people: the two datasets, then a line for each step."""
        if not self.steps:
            return (f"{self.source} -> {self.target}: {'no snapshot yet' if self.empty else 'up to date'}",)
        return (f"{self.source} -> {self.target}:", *(f"  {step}" for step in self.steps))


class Kind(StrEnum):
    """Why two sides cannot be brought together without losing something."""

    DIVERGED = "diverged"
    FOREIGN = "foreign-snapshots"
    MODIFIED = "modified"
    NO_COMMON_BASE = "no-common-base"
    SOURCE_RECREATED = "source-recreated"
    SOURCE_SHRUNK = "source-shrunk"
    FLAGS_CHANGED = "flags-changed"
    RECORD_UNREADABLE = "record-unreadable"


@dataclass(frozen=True, slots=True)
class Divergence:
    """A conflict that only a human may decide; nothing is touched until then."""

    kind: Kind
    source: Side
    target: Side
    message: str
    remedy: str

    def lines(self) -> tuple[str, ...]:
        """Both sides, what is wrong and what to do."""
        first, *rest = self.remedy.split("\n")
        return (
            f"{self.source.name} -> {self.target.name}: CONFLICT {self.kind}",
            f"  {self.message}",
            f"  source: {_describe(self.source)}",
            f"  target: {_describe(self.target)}",
            f"  remedy: {first}",
            *(f"    {line}" for line in rest),
        )


@dataclass(frozen=True, slots=True)
class ReplicationPlan:
    """What one target is to receive; `gone` are its datasets that the source no longer has."""

    datasets: tuple[DatasetPlan, ...]
    conflicts: tuple[Divergence, ...]
    gone: tuple[str, ...]

    @property
    def more_gone(self) -> int:
        """How many are not shown one by one."""
        return max(len(self.gone) - SHOWN, 0)

    def lines(self) -> tuple[str, ...]:
        """The plan for people, as --dry-run shows it."""
        return tuple(self._lines())

    def _lines(self) -> Iterator[str]:
        for plan in self.datasets:
            yield from plan.lines()
        for conflict in self.conflicts:
            yield from conflict.lines()
        for name in self.gone[:SHOWN]:
            yield f"{name}: no longer on the source; kept"
        if self.more_gone:
            yield f"{self.more_gone} more: no longer on the source; kept"


def _describe(side: Side) -> str:
    if side.dataset is None:
        return "does not exist"
    text = f"dataset guid {side.dataset.guid}, {counted(len(side.snapshots), 'snapshot')}"
    if side.newest:
        text += f", newest @{side.newest.snapname} (guid {side.newest.guid})"
    return text + (f", {counted(len(side.bookmarks), 'bookmark')}" if side.bookmarks else "")
