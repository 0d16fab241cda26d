"""Reads one host's repository in one snapshot: all digests, and what borg says; and where damage began."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from zborg.borg.storage.checker import BorgCheck, check
from zborg.borg.storage.reader import Look, Unreadable, digest, look_at
from zborg.errors import Interrupted, ZborgError
from zborg.model import Snapshot
from zborg.model.ledger.sealed import Digested, News
from zborg.planning.verify.bisect import newest_whole
from zborg.planning.verify.judge import Damaged
from zborg.steps.context import StepRun
from zborg.steps.restore.source import Place, clone

_MOST = 5  # damaged objects of which is looked for where they are whole


@dataclass(frozen=True)
class Read:
    """`seen`: the digests; `checked`: what borg reported, or why it could not be asked.

    `sound`: whether every entry's checksum fits, asked only when borg found errors.
    """

    seen: Digested | Unreadable
    checked: BorgCheck | ZborgError
    sound: bool = True


def read(run: StepRun, place: Place, snapshot: Snapshot, mounted: str, until: int) -> Read:
    """`mounted` is where its dataset is mounted, "" when it is not; `until` the last transaction on record.

    borg needs a clone, which it writes to: digests come first. The caller holds the lock of the host's
    restores. Raises ZborgError when nothing could be read.
    """
    storage = run.context.storage.runner
    with clone(run, place, snapshot) as home:
        path = place.zfs.contents(snapshot, mounted) if mounted else home
        seen = digest(storage, path, until=until)
        checked = _checked(run, place, home)
        sound = True
        if isinstance(checked, BorgCheck) and checked.status == 1 and isinstance(seen, Digested):
            (news,) = look_at(storage, [Look(path)])
            sound = isinstance(news, News) and not news.malformed
    return Read(seen, checked, sound)


def _checked(run: StepRun, place: Place, home: str) -> BorgCheck | ZborgError:
    settings = run.context.config.storage
    known = next((one for one in run.context.config.hosts if one.name == place.host), None)
    account = settings.account_of(known) if known else "root" if settings.user == "root" else ""
    try:
        return check(run.context.storage.runner, home, settings, account)
    except Interrupted:
        raise
    except ZborgError as error:
        return error


@dataclass
class Origins:
    """In which of a host's snapshots, older than the one that was read, damaged objects are still whole."""

    run: StepRun
    place: Place
    snapshots: Sequence[Snapshot]  # the oldest first
    mounted: str
    damaged: Sequence[Damaged]
    until: int  # the last transaction on record
    _whole: dict[str, frozenset[str]] = field(default_factory=dict)  # by guid the names of objects

    def newest(self) -> dict[str, Snapshot | None]:
        """By object, of the first few. Each snapshot is looked at once, and no more of them than need be."""
        return {one.name: self._of(one) for one in self._known}

    @property
    def _known(self) -> list[Damaged]:
        return [one for one in self.damaged if one.written is not None][:_MOST]

    def _of(self, one: Damaged) -> Snapshot | None:
        written = one.written
        having = [s for s in self.snapshots if written and s.created >= written.taken]
        place = newest_whole(len(having), lambda number: one.name in self._whole_in(having[number]))
        return None if place is None else having[place]

    def _whole_in(self, snapshot: Snapshot) -> frozenset[str]:
        if snapshot.guid not in self._whole:
            wanted = {one.name: one.written.object for one in self._known if one.written}
            with self._contents(snapshot) as path:
                seen = digest(self.run.context.storage.runner, path, list(wanted), self.until)
            objects = seen.objects if isinstance(seen, Digested) else ()
            self._whole[snapshot.guid] = frozenset(one.name for one in objects if wanted.get(one.name) == one)
        return self._whole[snapshot.guid]

    @contextmanager
    def _contents(self, snapshot: Snapshot) -> Iterator[str]:
        if self.mounted:
            yield self.place.zfs.contents(snapshot, self.mounted)
            return
        with clone(self.run, self.place, snapshot) as home:
            yield home


def words(damaged: Sequence[Damaged]) -> tuple[str, ...]:
    """Of the first of them, as results have it: the name, what is wrong, the digest that it had."""
    return tuple(
        f"{one.name} {one.fault} {one.written.object.digest}" if one.written else f"{one.name} {one.fault}"
        for one in damaged[:_MOST]
    )
