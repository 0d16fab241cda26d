"""A host's backup, and what status, history and report make of a host's backups."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from zborg.model.results.base import Result


class HostBackup(Result):
    """One host's backup: borg's numbers, and what the server saw of it."""

    _always = frozenset({"log"})

    files: int | None = None  # in the archive
    original_bytes: int | None = None  # in the archive, as on the host
    compressed_bytes: int | None = None  # the same, compressed
    new_bytes: int | None = None  # added to the repository
    seconds: float | None = None  # that borg took
    wall: str = ""  # around its `borg serve`; `unknown`: the storage's zborg is older
    clocks: tuple[datetime, ...] = ()  # the host's and the server's
    warnings: int = 0  # of borg
    unread: int = 0  # files that could not be read
    changed: int = 0  # files that changed while they were read
    archive: str = ""  # its name
    transaction: int | None = None  # the repository's last commit, as the server sees it
    tries: int = 1  # connections until it came to this
    doubt: str = ""  # why the archive is not believed
    pruned: datetime | None = None  # when the host pruned, in this run
    keeps_all: datetime | None = None  # when the host answered that it prunes nothing
    witness: int | None = None  # entries under the checkpoint that it was given; -1: its agent keeps none
    finished: datetime | None = None  # when the work on this host ended


def backup_of(result: Result) -> HostBackup:
    """A backup's facts; of an outcome that has none, such as a host that was not reached, an empty one."""
    return result if isinstance(result, HostBackup) else HostBackup(**result.shared())


class HostState(HostBackup):
    """A host in `status`: its last good backup against its max_age. No numbers when a later try was bad."""

    _always = frozenset({"log", "max_age"})

    max_age: int = 0  # its last good backup may be so old
    usual_seconds: float | None = None  # median of a week
    usual_new_bytes: float | None = None  # median of a week
    last_good: datetime | None = None  # when its last good backup ended
    age: int | None = None  # seconds since then
    running: str = ""  # since when a backup of it is at work


class RecordedBackup(HostBackup):
    """One backup of a host in `history`."""

    run: str = ""  # the run that made it
    ended: datetime | None = None  # when it ended
    ended_here: str = ""  # in the server's own time zone


class Trend(Result):
    """What a host's backups have in common."""

    _always = frozenset({"good", "of"})

    good: int = 0  # backups
    of: int = 0  # backups
    usual_seconds: float | None = None  # median of the good ones
    usual_new_bytes: float | None = None  # median of the good ones
    since: datetime | None = None  # when the first good one ended
    original_bytes: int | None = None  # of the last good one
    growth: float | None = None  # a share of the first good one's size


class HostProof(Trend):
    """A host in `report`: its trend, and when something last showed that it could be restored."""

    _always = frozenset({"good", "of", "sealed", "copies"})

    sealed: bool = False  # its key lies here for the custodians
    last_good: datetime | None = None  # its last good backup
    snapshot: datetime | None = None  # the last of a good backup
    restored: datetime | None = None  # its last good restore
    verified: datetime | None = None  # when it was last read whole, and was as the ledger has it
    copies: Mapping[str, datetime | None] = {}  # by target the last good replication
    freed: int | None = None  # bytes, by its last compaction; null: none was looked at yet
    gain: int | None = None  # bytes that a compaction would give back, as it was last looked at
    held_until: datetime | None = None  # when the quarantine of its last compaction ends


class Night(Result):
    """All backups that began on one day."""

    good: int  # hosts
    bad: Mapping[str, str]  # by host its status
    original_bytes: int  # of all good ones
    new_bytes: int  # of all good ones
    seconds: float  # in which any was at work


class Walls(Result):
    """By host the words of the wall around its last `borg serve`; each host is a key."""

    _by_name = "walls"

    walls: Mapping[str, str]  # what stood around its `borg serve`
