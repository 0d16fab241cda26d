"""ZFS in ZFS's own words, and the protocol every adapter speaks."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from functools import lru_cache
from typing import TYPE_CHECKING, Protocol

from zborg.model.running import Child, Runner
from zborg.model.text.units import moment_of

if TYPE_CHECKING:  # 3 ms of each start
    from zborg.model.storage.mounting import Mounting

PREFIX = "zborg_"
_STAMP = "%Y-%m-%dT%H%M%SZ"
_NAME = re.compile(PREFIX + r"(\d{4})-(\d\d)-(\d\d)T(\d\d)(\d\d)(\d\d)Z", re.ASCII)
# User properties zborg writes on snapshots and datasets.
P_RUN = "zborg:run"
P_STATE = "zborg:state"
P_TRANSACTION = "zborg:transaction"
P_LABEL = "zborg:label"
LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")  # what people call a snapshot
P_ARRIVED = "zborg:arrived"  # on the off-site: when the snapshot came, by the off-site's own clock
P_ABANDON = "zborg:abandon"  # on an off-site's dataset: the guid whose cut stream its sender gave up
P_REPORT = "zborg:report"  # on an off-site's root: what its own zborg did last (planning/offsite)
P_TARGET = "zborg:target."  # + target name, on the source dataset: the source's and the base's guid


class State(StrEnum):
    """`zborg:state` of a snapshot: what the last backup of its host came to."""

    OK = "ok"
    FAILED = "failed"
    BUSY = "busy"


MARKS = {
    P_RUN: re.compile(r"[0-9]{8}T[0-9]{6}Z-[0-9a-f]{4}"),
    P_STATE: re.compile("|".join(State)),
    P_TRANSACTION: re.compile(r"[0-9]{1,20}"),
    P_LABEL: LABEL,
}
"""What zborg writes on a snapshot for a restore from its copy, and how it looks."""


@dataclass(frozen=True, slots=True, order=True)
class SnapshotName:
    """`zborg_2026-02-12T144933Z`. UTC, to the second, and no colon: borg reads a:b as host and path."""

    at: datetime

    def __str__(self) -> str:
        """The part after @."""
        return PREFIX + self.at.strftime(_STAMP)

    @classmethod
    def of(cls, moment: datetime) -> SnapshotName:
        """The name for an aware instant of any zone; what is less than a second is cut off."""
        return cls(moment.astimezone(UTC).replace(microsecond=0))

    @staticmethod
    def parse(text: str) -> SnapshotName | None:
        """The name, or None when zborg did not write it; proven by round trip."""
        return _parse_name(text)


@lru_cache(maxsize=1 << 14)  # a recursive snapshot has one name in every dataset
def _parse_name(text: str) -> SnapshotName | None:
    match = _NAME.fullmatch(text)
    if match is None:
        return None
    # Not strptime: with 100,000 snapshots that was most of the time of a plan.
    year, month, day, hour, minute, second = map(int, match.groups())
    try:
        name = SnapshotName(datetime(year, month, day, hour, minute, second, tzinfo=UTC))
    except ValueError:
        return None
    return name if str(name) == text else None


@dataclass(frozen=True, slots=True)
class Dataset:
    """A file system. `mountpoint` is None where ZFS says none, legacy or -."""

    name: str
    guid: str
    mounted: bool
    mountpoint: str | None
    used: int
    available: int
    resume_token: str | None = None
    written: int = 0  # bytes since its newest snapshot; all of it when there is none
    properties: Mapping[str, str] = field(default_factory=dict)  # zborg:* only, source local or received
    encrypted: bool = False  # by ZFS itself, whether its key is loaded or not


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A snapshot. guid is identity, createtxg is order; names and dates are for people."""

    dataset: str
    snapname: str  # the part after @, as ZFS calls it
    guid: str
    createtxg: int
    created: datetime
    used: int
    holds: int  # number of user references
    properties: Mapping[str, str] = field(default_factory=dict)  # zborg:* only
    clones: tuple[str, ...] = ()  # datasets; while there is one, the snapshot cannot be destroyed

    @property
    def name(self) -> SnapshotName | None:
        """None when zborg did not write it; who took the snapshot does not matter."""
        return SnapshotName.parse(self.snapname)

    @property
    def full(self) -> str:
        """dataset@name, as ZFS takes it."""
        return f"{self.dataset}@{self.snapname}"

    @property
    def state(self) -> State | None:
        """How the backup before it ended; None when it was never marked, and for words that are no state."""
        value = self.properties.get(P_STATE)
        return State(value) if value in list(State) else None

    @property
    def label(self) -> str:
        """What it was called when it was taken (`zborg snapshot --label`); "" when nothing."""
        value = self.properties.get(P_LABEL, "")
        return value if LABEL.fullmatch(value) else ""

    @property
    def marks(self) -> dict[str, str]:
        """Those that look as zborg's do: a sink takes no others, and would refuse all of them together."""
        found = {key: self.properties.get(key, "") for key in MARKS}
        return {key: value for key, value in found.items() if MARKS[key].fullmatch(value)}

    @property
    def arrived(self) -> datetime | None:
        """When it came, by the clock of the machine it came to; None where nobody wrote it down."""
        return moment_of(self.properties.get(P_ARRIVED))


@dataclass(frozen=True, slots=True)
class Bookmark:
    """What remains of a snapshot once it is destroyed: enough to send the next increment."""

    dataset: str
    bookname: str  # the part after #
    guid: str
    createtxg: int

    @property
    def full(self) -> str:
        """dataset#name, as ZFS takes it."""
        return f"{self.dataset}#{self.bookname}"


@dataclass(frozen=True, slots=True)
class Hold:
    """A user reference that keeps a snapshot from being destroyed."""

    snapshot: str  # dataset@name
    tag: str
    since: datetime


@dataclass(frozen=True, slots=True)
class ResumeToken:
    """What a resume token says of itself (`zfs send -nvt TOKEN`)."""

    token: str
    to_name: str  # dataset@name on the source when the stream began
    to_guid: str
    from_guid: str | None
    received: int  # bytes already on the target
    raw: bool = False  # whether the rest comes raw


@dataclass(frozen=True, slots=True)
class Stream:
    """One `zfs send`: `snapshot` in full, or from `base` (dataset@name or dataset#bookmark), or a token.

    `raw`: the blocks of an encrypted dataset as they lie on disk; nobody needs its key.
    """

    snapshot: str
    base: str | None = None
    token: str | None = None
    raw: bool = False


class Scrub(StrEnum):
    """What a pool says of its scrubs. Different things a reader must not confuse."""

    NEVER = "never"
    RUNNING = "running"
    CANCELED = "canceled"
    FINISHED = "finished"
    HIDDEN = "hidden"  # behind a resilver or an error scrub: ZFS remembers one scan per pool


SUSPENDED = "SUSPENDED"
"""The health of a pool whose devices do not answer (zpoolprops(7), failmode=wait): who writes to it waits."""


@dataclass(frozen=True, slots=True)
class Pool:
    """A pool's health and last scrub. `errors`: the larger of the scrub's and the known data errors.

    `finished` is when the last scan ended, whole or not: also when a scrub was canceled or paused, or what
    hides it was done. No scrub can have ended later.
    """

    name: str
    health: str  # ONLINE, DEGRADED, FAULTED ... in ZFS's own words
    scrub: Scrub
    finished: datetime | None
    errors: int
    repaired: int
    done: float  # 0..1 while running
    size: int
    free: int
    device_errors: int = 0  # reads, writes and checksums that failed, of the worst device
    devices: tuple[str, ...] = ()  # those that are not well, in words: "sda FAULTED, 3 errors"
    damaged: tuple[str, ...] = ()  # files as zpool names them; a step may say which datasets they are in


class Zfs(Protocol):
    """ZFS on one machine. Every method may raise CommandFailed, Unreachable or TimedOut.

    Listing methods cost one or two commands however many datasets there are. `root` is a dataset; what
    is listed is that dataset and everything below it; a root that does not exist lists as (), and so
    does one on a pool that is not imported (ask `pool`). Names that ZFS does not allow, and answers that
    cannot be read, raise ZborgError.
    """

    def clock(self) -> datetime:
        """What time it is on that machine, to the second."""

    def datasets(self, root: str) -> tuple[Dataset, ...]:
        """File systems and volumes, with the properties that zborg set on them."""

    def snapshots(self, root: str) -> tuple[Snapshot, ...]:
        """All snapshots, oldest first (by createtxg) within each dataset."""

    def bookmarks(self, root: str) -> tuple[Bookmark, ...]:
        """All bookmarks, in no order that means anything."""

    def holds(self, snapshots: Sequence[str]) -> tuple[Hold, ...]:
        """Every hold on these snapshots (dataset@name), of zborg and of others."""

    def create(self, dataset: str, properties: Mapping[str, str]) -> None:
        """Create one dataset with these properties. CommandFailed when it is there, or its parent is not."""

    def remove(self, dataset: str, guid: str) -> None:
        """Destroy one file system with its files, if it has this guid and neither snapshots nor children.

        For what the same run has created. Gone counts as done; another guid is refused: ZborgError.
        """

    def mount(self, dataset: str) -> None:
        """Idempotent."""

    def mounting(self, dataset: str) -> Mounting:
        """What decides whether it is mounted, and where. One command."""

    def hide_snapshots(self, *datasets: str) -> None:
        """snapdir=hidden: what lists their directories finds no `.zfs` there. Idempotent."""

    def snapshot(self, root: str, snapname: str, properties: Mapping[str, str]) -> None:
        """Snapshot root and all below it in one transaction group; every snapshot gets `properties`."""

    def set(self, names: Sequence[str], properties: Mapping[str, str]) -> None:
        """Set user properties on all named datasets or snapshots, in one call."""

    def destroy(self, dataset: str, doomed: Mapping[str, str]) -> tuple[str, ...]:
        """Destroy these snapshots of one dataset, names (after the @) to guids; returns the names of those
        it destroyed, in that order. Never recursive, never forced.

        Left alone is what is gone, has another guid, a hold or a clone: it is looked at just before, and
        nothing else of the dataset is. Raises CommandFailed when one is being sent, or was taken into use
        at that very moment (it names the tags of a hold): then of those in the same command none is gone.
        """

    def freed(self, dataset: str, snapnames: Sequence[str]) -> int:
        """Bytes that destroying these together would free; destroys nothing. () frees nothing.

        Raises CommandFailed when none of them exists. More names than one command can take are asked for
        in parts: what two parts share is not counted then.
        """

    def guid(self, snapshot: str) -> str:
        """The guid of one snapshot, "" when there is none of that name. One command, no listing."""

    def hold(self, tag: str, *snapshots: str) -> None:
        """Idempotent. Raises CommandFailed when one cannot be held; the others are held all the same."""

    def release(self, tag: str, *snapshots: str) -> None:
        """Idempotent; a snapshot that is gone counts as released."""

    def bookmark(self, snapshot: str, bookname: str) -> None:
        """Idempotent when that bookmark already stands for that snapshot."""

    def destroy_bookmark(self, bookmark: str) -> None:
        """Gone counts as done."""

    def clone(self, snapshot: str, dataset: str) -> str:
        """Clone and mount; parents are made. Returns the mountpoint."""

    def destroy_clone(self, dataset: str) -> None:
        """Destroy POOL/zborg-scratch/RUN/HOST, and RUN with its last clone. Gone counts as done.

        Any other name, and a dataset that is not a clone, are refused: ZborgError.
        """

    def contents(self, snapshot: Snapshot, mountpoint: str) -> str:
        """The directory with the snapshot's files, its dataset being mounted there. Asks nobody."""

    def estimate(self, stream: Stream) -> int:
        """Bytes the stream will have (`zfs send -nP`)."""

    def decode(self, token: str) -> ResumeToken:
        """Whether its snapshot still exists or not. ZborgError for what is no token."""

    def abort_receive(self, dataset: str) -> None:
        """Forget a partial receive; of a first one the dataset goes too. Nothing there counts as done."""

    def send(self, stream: Stream, stdout: int) -> Child:
        """Start sending into the file descriptor; progress comes as lines (see zfs.parse.progress).

        With a token, `snapshot` is still required: Conflict unless the token asks for exactly that guid,
        and raw where the stream is to be raw. ZFS sends whatever in the pool has the token's guid, in
        the clear if the token wants it so, and the token is the target's word.
        """

    def receive(self, dataset: str, stdin: int) -> Child:
        """Start `receive -s -u`, never -F, from the file descriptor."""

    def pool(self, name: str) -> Pool:
        """State, use, devices and the last scrub of one pool. CommandFailed when it is not imported."""

    def scrub(self, pool: str) -> None:
        """Start one, and return at once; `pool` shows how far it is. CommandFailed when one runs already."""


@dataclass(frozen=True, slots=True)
class Machine:
    """Where a pool is: the storage, or a target."""

    runner: Runner  # plain commands there
    zfs: Zfs
