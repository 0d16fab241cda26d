"""A dataset and its copy: the facts a replication is planned from, and what the plan is made of.

Identity is the guid and nothing else; order is createtxg, which is local to one pool, so it is only
ever compared between snapshots and bookmarks of the same side.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count

from zborg.model import Bookmark, Dataset, ResumeToken, Snapshot, SnapshotName

PLAIN = "plain"
RAW = "raw"
"""The words for streams of a dataset as everybody may read it, and as it lies encrypted on disk."""


_RECORD = re.compile(r"source_guid=([0-9]{1,20}) base=([0-9]{1,20}|-) flags=([a-z0-9][a-z0-9+-]{0,62})")


@dataclass(frozen=True, slots=True)
class Recorded:
    """What `zborg:target.NAME` on the source dataset remembers of one target.

    It is written before the first stream, when `base` is still None, and after each one that arrived.
    """

    source_guid: str
    base: str | None
    flags: str = PLAIN

    def __str__(self) -> str:
        """The value of the property that remembers it; `parse` reads it back."""
        return f"source_guid={self.source_guid} base={self.base or '-'} flags={self.flags}"

    @classmethod
    def parse(cls, text: str) -> Recorded:
        """Exactly what `str` writes. Raises ValueError, which quotes the text, on anything else."""
        match = _RECORD.fullmatch(text)
        if match is None:
            raise ValueError(f"not a replication record: {text[:200]!r}")
        source_guid, base, flags = match.groups()
        return cls(source_guid, None if base == "-" else base, flags)


@dataclass(frozen=True, slots=True)
class Side:
    """One end of a replication. `name` is known even where the dataset does not exist."""

    name: str
    dataset: Dataset | None = None
    snapshots: tuple[Snapshot, ...] = ()
    bookmarks: tuple[Bookmark, ...] = ()

    @property
    def encrypted(self) -> bool:
        """By ZFS: what is sent from here is sent raw."""
        return self.dataset is not None and self.dataset.encrypted

    @property
    def ours(self) -> tuple[Snapshot, ...]:
        """The snapshots zborg named, oldest first."""
        return tuple(s for s in sorted(self.snapshots, key=_order) if s.name is not None)

    @property
    def newest(self) -> Snapshot | None:
        """The newest snapshot, no matter who took it: the only one an increment can build on."""
        return max(self.snapshots, key=_order, default=None)

    @property
    def anchors(self) -> tuple[Snapshot | Bookmark, ...]:
        """All that a stream sent from here can build on, snapshots first."""
        return self.snapshots + self.bookmarks

    def find(self, guid: str) -> Snapshot | Bookmark | None:
        """What an increment from `guid` can start at; a snapshot rather than a bookmark."""
        return next((anchor for anchor in self.anchors if anchor.guid == guid), None)


@dataclass(frozen=True, slots=True)
class Tree:
    """The datasets below one root, by their name below it. The root itself is never sent or received."""

    root: str
    sides: Mapping[str, Side]

    @classmethod
    def of(
        cls,
        root: str,
        datasets: Iterable[Dataset],
        snapshots: Iterable[Snapshot],
        bookmarks: Iterable[Bookmark] = (),
    ) -> Tree:
        """From what one listing of each kind below `root` returned."""
        by_snapshot: defaultdict[str, list[Snapshot]] = defaultdict(list)
        by_bookmark: defaultdict[str, list[Bookmark]] = defaultdict(list)
        for snapshot in snapshots:
            by_snapshot[snapshot.dataset].append(snapshot)
        for bookmark in bookmarks:
            by_bookmark[bookmark.dataset].append(bookmark)
        sides = {
            one.name.removeprefix(f"{root}/"): Side(
                one.name, one, tuple(by_snapshot[one.name]), tuple(by_bookmark[one.name])
            )
            for one in datasets
            if one.name.startswith(f"{root}/")
        }
        return cls(root, sides)

    def side(self, below: str) -> Side:
        """One dataset by its name below `root`; a Side without a dataset where there is none."""
        return self.sides.get(below) or Side(f"{self.root}/{below}")


@dataclass(frozen=True, slots=True)
class Pair:
    """All that is known of one dataset and its copy.

    `token` is None when the target has none, or when its token (`target.dataset.resume_token`) could
    not be decoded.
    """

    source: Side
    target: Side
    recorded: Recorded | None = None
    token: ResumeToken | None = None
    where: str = "the target"  # its name in zborg.toml
    taken: frozenset[str] = frozenset()  # names of datasets that are there

    @property
    def aside(self) -> str:
        """A free name beside the copy."""
        names = (f"{self.target.name}-aside{number or ''}" for number in count())
        return next(name for name in names if name not in self.taken)


@dataclass(frozen=True, slots=True)
class Link:
    """The target's name in zborg.toml, and the words for the streams it is sent."""

    name: str
    flags: str = PLAIN
    raw: str = RAW

    def word(self, dataset: Dataset) -> str:
        """What ZFS encrypts is sent raw, and nothing else is."""
        return self.raw if dataset.encrypted else self.flags


def marks(snapshot: Snapshot, copy: Snapshot) -> dict[str, str]:
    """What zborg knows of a snapshot and its copy does not have. A mark that differs is left as it is."""
    return {key: value for key, value in snapshot.marks.items() if key not in copy.properties}


def newest_common(source: Side, target: Side) -> Snapshot | None:
    """The target's newest snapshot that the source still has, as a snapshot or a bookmark."""
    known = {anchor.guid for anchor in source.anchors}
    return max((s for s in target.snapshots if s.guid in known), key=_order, default=None)


def after(snapshots: Sequence[Snapshot], base: Snapshot | Bookmark | None) -> tuple[Snapshot, ...]:
    """Those of one side that are newer than `base`; all when there is none."""
    return tuple(s for s in snapshots if base is None or s.createtxg > base.createtxg)


def stale_bookmarks(source: Side, bases: Iterable[str], keep: int) -> tuple[Bookmark, ...]:
    """zborg's bookmarks that no target can need as a base any more, oldest first.

    `bases` are the guids of every target's last base. Whatever is not older than the oldest of them
    stays, and so do the newest `keep`: a target that somebody rolled back wants an older base. A base
    that is not found proves nothing, so then all stay.
    """
    places = {anchor.guid: anchor.createtxg for anchor in source.anchors}
    wanted = set(bases)
    if not wanted or not wanted <= places.keys():
        return ()
    oldest = min(places[guid] for guid in wanted)
    ours = sorted((b for b in source.bookmarks if SnapshotName.parse(b.bookname)), key=_order)
    return tuple(bookmark for bookmark in ours[: max(len(ours) - keep, 0)] if bookmark.createtxg < oldest)


def _order(one: Snapshot | Bookmark) -> tuple[int, str]:
    return one.createtxg, one.guid
