"""What an outcome knows besides its message: one class for each kind of outcome, `data` of the JSON form.

Sizes are bytes, durations seconds, moments aware datetimes. A fact that is not known has its class's default,
and no key in JSON. docs/json.md is made of these classes: the comment behind a field is its text there.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from typing import Any, ClassVar, dataclass_transform

from zborg.model.record import Record


@dataclass_transform(kw_only_default=True, frozen_default=True)
class _Fields(Record):
    """Type checkers read the fields of what is below it."""


class Result(_Fields):
    """What any outcome may have."""

    _by_name: ClassVar[str] = ""  # the field whose keys are those of the table: a name for each

    step: str = ""  # the night's step that it comes from
    dry_run: bool = False  # it says what would be, and belongs to the plan
    commands: tuple[str, ...] = ()  # what the reader may type
    log: tuple[str, ...] = ()  # the last lines of a failed command, the newest last
    traceback: str = ""  # of a bug

    def shared(self) -> dict[str, Any]:
        """What it knows that any result may."""
        return {name: value for name, value in vars(self).items() if name in Result._fields}


NOTHING = Result()


# --- hosts and their backups --------------------------------------------------------------------------------


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


class RecordedFinding(Result):
    """What audit, or the host as a witness of the ledger, has found, in `history`."""

    _always = frozenset({"run", "ended", "ended_here"})

    run: str = ""  # the run that found it
    ended: datetime | None = None  # when
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


class ListedHost(Result):
    """A host in `host list`."""

    address: str  # its `ssh`
    dataset: str  # on the storage
    last_good: datetime | None  # when its last good backup ended, null: never
    identity: str  # the server's key for it


class TestedHost(Result):
    """What a host's agent says of itself: its answers to `version`."""

    agent: str  # the agent's version
    borg: str  # borg's version there
    alarm: str  # yes: it refuses because of an alarm
    escrow: str  # yes: it seals its key for custodians
    initialised: str  # yes: it has a repository
    opens: str  # yes: its key opens the repository
    clock: datetime | None  # the host's, null: it did not say
    sealed: bool  # whether the key of the repository that is there now is in escrow
    witnessed: int | None = None  # entries of the ledger that it is a witness of


class RemovedHost(Result):
    """A host that `host remove` took out of the configuration."""

    _always = frozenset({"commands"})

    removed: str  # the drop-in's path


class Bundle(Result):
    """A script for a host's owner: where it was written, or itself."""

    output: str = ""  # the file
    script: str = ""  # itself, where no file was named


class Imported(Result):
    """A host that was taken over."""

    file: str  # its drop-in


class WellHosts(Result):
    """By host what doctor found well; each host is a key."""

    _by_name = "hosts"

    hosts: Mapping[str, str]  # what was found


# --- datasets and snapshots ---------------------------------------------------------------------------------


class SnapshotTaken(Result):
    """A dataset's snapshot."""

    snapshot: str | None  # its full name
    state: str | None  # of the host's backup: ok, failed, busy; null: there was none
    transaction: int | None = None  # the repository's last commit in it


class NoSnapshot(Result):
    """A snapshot that was not taken, for nothing changed."""

    snapshot: str | None  # null


class Labelled(Result):
    """A snapshot that got a label."""

    label: str  # the label


class Rotated(Result):
    """What rotation did with a dataset, or would do."""

    destroy: tuple[str, ...] = ()  # names that would be destroyed
    destroyed: tuple[str, ...] | None = None  # names
    freed: int | None = None  # that destroying them would free
    frozen: bool = False  # its snapshots are not rotated
    orphan: str = ""  # the name that no host has


class GivenUp(Result):
    """A cut stream that its sender gave up."""

    given_up: int  # bytes of it that had arrived


class Arrivals(Result):
    """What came to an off-site."""

    newest: Mapping[str, datetime | None]  # by dataset


class ListedSnapshot(Result):
    """A snapshot in `restore list`."""

    state: str | None  # of the host's backup: ok, failed, busy; null: there was none
    transaction: str | None  # the repository's last commit in it
    label: str | None  # null: none
    guid: str  # ZFS's
    used: int  # that it alone holds
    holds: int  # how many it has
    created: datetime  # when it was taken
    created_here: str  # in the server's own time zone
    files: int | None = None  # in the newest good archive in it
    original_bytes: int | None = None  # in the newest good archive in it


class HeldSnapshot(Result):
    """A hold that was placed or released."""

    tag: str  # of the hold


class ListedHold(HeldSnapshot):
    """A hold in `holds list`."""

    purpose: str  # what it is for
    label: str | None  # of its snapshot
    owner: str  # whose it is
    since: datetime  # when it was placed
    until: date | None  # its last day, null: for good
    stale: str  # why it is not needed any more, empty: it is


# --- targets and pools --------------------------------------------------------------------------------------


class Replicated(Result):
    """What was sent of one dataset."""

    streams: int  # how many were sent
    bytes: int  # in all
    lost_bytes: int | None = None  # of a cut stream that had to be given up
    snapshot: str = ""  # the newest that arrived


class Contradiction(Result):
    """A copy that contradicts its source."""

    conflict: str  # its kind
    sides: tuple[str, ...]  # both, a line each


class Verified(Result):
    """A dataset and its copy compared by `replicate --verify`; names of snapshots."""

    common: int  # how many both have
    unsent: tuple[str, ...]  # newer than the newest common one
    here: tuple[str, ...]  # that only the source has besides
    there: tuple[str, ...]  # that only the target has


class PoolState(Result):
    """A pool as it was seen."""

    health: str  # ZFS's word
    scrub: str  # never, running, finished, canceled, hidden (behind a resilver)
    scrub_finished: datetime | None  # null: the last did not finish
    scan_ended: datetime | None  # when the last scrub or resilver ended
    errors: int  # of data
    repaired: int  # by the last scrub
    device_errors: int  # of the device that has most
    devices: tuple[str, ...]  # that are not well
    damaged: tuple[str, ...]  # files, or hosts whose repositories are damaged
    size: int  # of the pool
    free: int  # of it


class PoolUse(Result):
    """A pool in `report`."""

    size: int  # of the pool
    used: int  # of it


class PoolForecast(PoolUse):
    """The same, where enough days are known."""

    bytes_a_day: float  # by which it grows
    full: date | None  # null: not in five years


class TargetLag(Result):
    """A target in `report`."""

    days_behind: int  # now
    worst: int  # days


class PublishedReport(Result):
    """What a target's own zborg has left there for its senders."""

    told: str  # as it stands there
    seen: datetime  # when it was read


# --- steps and the rest -------------------------------------------------------------------------------------


class StepState(Result):
    """A step in `status`: its last run."""

    run: str = ""  # its id
    finished: datetime | None = None  # when it ended
    exit: int | None = None  # its exit code


class TargetState(StepState):
    """A replication in `status`, and how far the target is behind."""

    behind: tuple[str, ...]  # datasets without the newest snapshot
    lag: float | None  # since the last good replication of the one that waits longest, null: never
    lag_bytes: int  # about


class Due(Result):
    """What was never done and is not late."""

    due: datetime  # by when it is to be done


class Frozen(Result):
    """A host whose snapshots are not rotated."""

    frozen: bool  # true


class KeyMade(Result):
    """A key of the server."""

    public: str  # its public half
    made: bool  # by this run; else it was there


class LogLines(Result):
    """The log of one run."""

    lines: tuple[str, ...]  # oldest first


class Delivered(Result):
    """A message to a notifier."""

    news: tuple[str, ...]  # kinds


class Week(Result):
    """One subject's week in a digest."""

    _always = frozenset({"step"})

    good: int  # how often
    bad: int  # how often
    new_bytes: int  # by good backups


class RestoredFiles(Result):
    """Files on their host."""

    snapshot: str  # what it was restored from
    archive: str  # what it was restored from
    restored: str  # the directory
    files: int  # extracted
    original_bytes: int  # extracted


class LeftFiles(Result):
    """A restore that was stopped, and what of it could not be removed."""

    left: str  # the directory
    left_files: int  # in it
    left_bytes: int  # in it


class CopiedRepository(Result):
    """A repository on the server's own disk."""

    snapshot: str  # what was copied
    restored: str  # the directory
    copied_files: int  # how many
    skipped: int = 0  # neither files nor directories


class LentSnapshot(Result):
    """A snapshot that was lent to its host."""

    snapshot: str  # what was lent
    commands_served: int  # how many


# --- audit and the ledger -----------------------------------------------------------------------------------


class AuditedHost(Result):
    """A host in `audit`: what was new in its repository, and what no backup does."""

    _always = frozenset({"findings"})

    snapshot: str = ""  # that was read, the part after the @
    objects: int = 0  # new sealed objects
    bytes: int = 0  # of these
    transactions: int = 0  # new ones
    puts: int = 0  # objects that were written
    deletes: int = 0  # objects that were deleted
    findings: tuple[str, ...] = ()  # each begins with its rule
    last_clean: str = ""  # the last snapshot without a finding, dataset@name; only beside findings


class CompactedHost(Result):
    """A host in `compact`. Sizes are bytes."""

    before: str = ""  # the snapshot before it, the part after the @
    after: str = ""  # the one behind it
    bytes: int = 0  # of the whole repository
    freed: int = 0  # of that
    gain: int = 0  # what it could give back, where nothing was done
    held_until: datetime | None = None  # when the quarantine of the snapshot before ends


class Compactions(Result):
    """All repositories in `compact`. Sizes are bytes."""

    held: int = 0  # snapshots whose quarantine has not ended
    held_until: datetime | None = None  # when the last of these ends
    freed: int = 0  # by the last compaction of each
    gain: int = 0  # what was found and not worth it yet


class UndeletedHost(Result):
    """A host in `undelete`: its repository is again what it was in an earlier snapshot."""

    snapshot: str = ""  # of what it is now, the part after the @
    transaction: int = 0  # its last one now
    copied: int = 0  # files that came out of the earlier snapshot
    bytes: int = 0  # of these
    removed: int = 0  # files that were written since
    set_aside: str = ""  # what it was before, dataset@name, which is held


class VerifiedHost(Result):
    """A host in `verify`: its repository in one snapshot, read whole and checked by borg."""

    _always = frozenset({"damaged"})

    snapshot: str = ""  # that was read, the part after the @
    objects: int = 0  # that are what the ledger recorded
    bytes: int = 0  # of these
    unrecorded: int = 0  # objects newer than the last audit, which were not compared
    structure: str = ""  # by `borg check`: good, index-inconsistent, bad, crashed, slow, undone
    damaged: tuple[str, ...] = ()  # objects: name, what is wrong, and the digest that it had
    damages: int = 0  # how many objects are damaged; the first of them are in `damaged`
    whole_in: str = ""  # the newest snapshot in which all of `damaged` are whole, dataset@name
    archives_since: datetime | None = None  # archives from then on may need a damaged object


class VerifyState(StepState):
    """Verifications in `status`."""

    hosts: int  # how many there are
    verified: int  # how many of them within `verify_every`
    oldest: datetime | None = None  # when the one was read that was read longest ago; null: one never was


class LedgerState(Result):
    """The ledger in `ledger check` and `ledger export`."""

    _always = frozenset({"entries", "problems"})

    entries: int = 0  # in it
    root: str = ""  # of the tree, SHA-256 in hexadecimal
    covered: int = 0  # entries that a witness stands for
    problems: tuple[str, ...] = ()  # what does not fit


class HostLedger(Result):
    """What a host has of the ledger, in `ledger check --hosts`."""

    _always = frozenset({"covered", "signed", "problems"})

    covered: int = 0  # entries that it is a witness of
    signed: int = 0  # its checkpoints that the ledger's key signed
    unsigned: int = 0  # those that bear the ledger's name and not its signature
    others: int = 0  # those of another ledger
    last: datetime | None = None  # when it got the newest, by its own clock
    problems: tuple[str, ...] = ()  # what the ledger has otherwise now


class LedgerEntry(Result):
    """An entry in `ledger show`."""

    _always = frozenset({"index"})

    index: int = 0  # counted from 0
    leaf: str = ""  # its hash in the tree, SHA-256 in hexadecimal
    line: str = ""  # as it is in the ledger, which is JSON again
