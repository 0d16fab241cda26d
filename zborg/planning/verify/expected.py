"""What the ledger says that a snapshot of a repository holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from zborg.model.ledger import entries
from zborg.model.ledger.compacted import COMPACTED, UNDELETED
from zborg.model.ledger.entries import AUDIT, Audited, Entry, Rule
from zborg.model.ledger.sealed import Listing, SealedObject


@dataclass(frozen=True, slots=True)
class Written:
    """A sealed object as it was recorded first, and between which two snapshots it was written."""

    object: SealedObject
    after: datetime | None  # None: it is of before the ledger, or copied by a compaction from older ones
    snapshot: str  # the first that has it, the part after the @
    taken: datetime


@dataclass(frozen=True, slots=True)
class Expected:
    """Of one snapshot. `sealed`: all of its sealed objects; None when that very one was not audited."""

    audited: Audited  # the entry whose state this is
    objects: Mapping[str, Written] = field(default_factory=dict)
    required: frozenset[str] = frozenset()  # those that have to be there
    sealed: Listing | None = None


def expected(history: Sequence[Entry], guid: str, created: datetime) -> Expected | None:
    """By a host's entries, the oldest first, up to that of the snapshot with this guid.

    Of a snapshot that was not audited what the newest audit before `created` knew; None without one. What an
    entry recorded first stands: a later record of the same object is of what somebody may have changed by
    then. A repository that was rolled back or undeleted, or another one, begins anew.
    """
    last = _last(history, guid, created)
    found: Expected | None = None
    compacted = False
    for entry in history[: last + 1]:
        if entry.kind == COMPACTED:
            compacted = not entry.table.get("undone")
        elif entry.kind == UNDELETED:  # segments that were removed count again from there
            found = None
        elif audited := _audited(entry):
            found = _with(found, audited, compacted=compacted)
            compacted = False
    if found is not None and found.audited.guid == guid:
        return replace(found, sealed=found.audited.sealed)
    return found


def _last(history: Sequence[Entry], guid: str, created: datetime) -> int:
    """Where the entry is up to which all count; -1 when none does."""
    audits = [(place, one) for place, entry in enumerate(history) if (one := _audited(entry))]
    exact = [place for place, one in audits if one.guid == guid]
    earlier = [place for place, one in audits if one.taken <= created]
    return max(exact or earlier, default=-1)


def _audited(entry: Entry) -> Audited | None:
    try:
        return entries.audited(entry) if entry.kind == AUDIT else None
    except ValueError:  # of a newer zborg
        return None


def _with(found: Expected | None, audited: Audited, *, compacted: bool) -> Expected:
    before = found.audited.taken if found else None
    rules = {one.rule for one in audited.anomalies}
    if found is None or Rule.WENT_BACK in rules or _is_another(found.audited, audited):
        known: dict[str, Written] = {}
        required, before = frozenset[str](), None
    else:
        known, required = dict(found.objects), found.required
    if compacted:  # what was alive is in new objects, and the old ones are gone
        required, before = frozenset[str](), None
    for one in audited.objects:
        known.setdefault(one.name, Written(one, before, audited.snapshot, audited.taken))
    return Expected(audited, known, required | {one.name for one in audited.objects})


def _is_another(before: Audited, now: Audited) -> bool:
    """Another repository in the place of one that was set aside; an id that cannot be read is no other."""
    return bool(before.repository and now.repository) and before.repository != now.repository
