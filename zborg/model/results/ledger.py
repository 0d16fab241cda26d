"""What audit, compact, undelete and verify found, and the ledger that they are recorded in."""

from __future__ import annotations

from datetime import datetime

from zborg.model.results.base import Result
from zborg.model.results.steps import StepState


class RecordedFinding(Result):
    """What audit, or the host as a witness of the ledger, has found, in `history`."""

    _always = frozenset({"run", "ended", "ended_here"})

    run: str = ""  # the run that found it
    ended: datetime | None = None  # when
    ended_here: str = ""  # in the server's own time zone


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


class CompactState(StepState):
    """Compactions in `status`. Sizes are bytes."""

    held: int  # snapshots whose quarantine has not ended
    freed: int  # by the last compaction of each
    gain: int  # what was found and not worth it yet
    held_until: datetime | None = None  # when the last of these ends


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
