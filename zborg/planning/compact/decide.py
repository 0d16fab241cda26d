"""Whether what a compaction frees for good may be freed now.

`borg compact` frees everything that was deleted up to now, and who controls the host can delete. So audit
must have found nothing in it but prunes that zborg asked for, or a person approved the transaction. What was
freed stays in a held snapshot for the time of `quarantine`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from zborg.model.ledger import entries
from zborg.model.ledger.compacted import COMPACTED, UNDELETED, approved_transaction, undeleted_to
from zborg.model.ledger.entries import AUDIT, Anomaly, Audited, Entry, Rule
from zborg.model.ledger.sealed import Living
from zborg.model.text.units import counted, size

_DAY = 86400
_DOUBLED = 10  # times, at most
_WORTHWHILE = 10  # a tenth of the repository; below that a compaction waits for more
_ASKED_FOR = 100  # a hundredth, where somebody named the host: every backup replaces a manifest


def is_due(last: datetime | None, now: datetime, every: int) -> bool:
    """By the schedule of `every` seconds; 0 is never. A repository that was never looked at is due."""
    return every > 0 and (last is None or now - last >= timedelta(seconds=every))


def next_try(failed: int, tried: datetime, every: int) -> datetime:
    """When a look is due again that failed so often in turn, at last when it was `tried`.

    The next night, then after two nights, four, and so on, up to the schedule of `every` seconds: a look may
    take an hour, and what it fails at is seldom gone by itself. Half a day less, for no two nights are alike.
    """
    wait = min(_DAY * 2 ** min(failed - 1, _DOUBLED), max(every, _DAY))
    return tried + timedelta(seconds=wait - _DAY // 2)


def due_tonight(
    looked: Mapping[str, datetime | None], now: datetime, every: int, waiting: Collection[str] = ()
) -> set[str]:
    """Hosts whose turn it is, but for those that are `waiting` since their last look failed.

    Of those that were never looked at a share only: the first look at each takes a while, and the next ones
    are then spread over as many nights.
    """
    due = {name for name, last in looked.items() if name not in waiting and is_due(last, now, every)}
    known = {name for name in due if looked[name] is not None}
    new = sorted(due - known)
    share = -(-len(looked) * _DAY // every) if every else 0
    # Others each night: one that fails must not take the turn of all.
    first = now.toordinal() * share % max(len(new), 1)
    return known | set((new[first:] + new[:first])[:share])


def unapproved(history: Iterable[Entry]) -> tuple[Anomaly, ...]:
    """What transactions did since the last compaction that no prune does, and nobody approved.

    `history`: the host's entries, the oldest first. An undelete goes back to what was pending then. What was
    found in a repository that is not this one any more does not count. What was deleted before the first of
    these entries waits as well: a ledger that was begun anew has forgotten what was pending.
    """
    pending: list[Anomaly] = []
    as_of: dict[str, list[Anomaly]] = {}  # by the guid of a snapshot
    repository = ""
    for entry in history:
        if entry.kind == UNDELETED:
            pending = list(as_of.get(undeleted_to(entry), pending))
        elif entry.kind == COMPACTED:
            pending = pending if entry.table.get("undone") else []
        elif entry.kind == AUDIT:
            audited = entries.audited(entry)
            if audited.repository and audited.repository != repository:
                pending, repository = [], audited.repository
            unknown = _unknown(audited, is_first=not as_of)
            pending = [*pending, *unknown, *(one for one in audited.anomalies if one.transaction is not None)]
            as_of[audited.guid] = pending
        else:
            number = approved_transaction(entry)
            pending = [one for one in pending if one.transaction != number]
    return tuple(pending)


def _unknown(audited: Audited, *, is_first: bool) -> list[Anomaly]:
    """What nobody judged, or a ledger that is not there any more had judged."""
    number = audited.last if is_first and audited.goes_on else audited.unjudged
    if number < 0:
        return []
    words = f"what was deleted up to transaction {number}, of before this ledger, is not known to be a prune"
    return [Anomaly(Rule.DELETES, words, number, and_before=True)]


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of a repository in the snapshot that is to be compacted. Sizes are bytes."""

    audited: Audited
    unapproved: Sequence[Anomaly]
    living: Living
    available: int  # of its dataset
    reserve: int  # that has to stay free
    explicit: bool  # somebody named the host
    frozen: bool = False  # its rotation is


@dataclass(frozen=True, slots=True)
class Frozen:
    """A finding of audit is open, or the host's rotation is frozen, and no person has looked into it."""

    @property
    def reason(self) -> str:
        """For a person."""
        return "a finding is open, and its rotation frozen"


@dataclass(frozen=True, slots=True)
class Unapproved:
    """Transactions that deleted what no prune deletes, and what would be lost with them."""

    anomalies: tuple[Anomaly, ...]
    living: Living

    @property
    def transactions(self) -> tuple[int, ...]:
        """Each once, in order."""
        return tuple(sorted({one.transaction for one in self.anomalies if one.transaction is not None}))

    @property
    def reason(self) -> str:
        """For a person."""
        weighed = {one.transaction: one for one in self.living.lost}
        lost = [
            f"{counted(weighed[one].objects, 'object')} of {size(weighed[one].bytes)} by transaction {one}"
            for one in self.transactions
            if one in weighed
        ]
        words = "; ".join(dict.fromkeys(one.message for one in self.anomalies))
        weighed_words = f"; lost for good: {', '.join(lost)}" if lost else ""
        return f"it would make final what is no prune: {words}{weighed_words}"


@dataclass(frozen=True, slots=True)
class NoRoom:
    """The rewrite needs more than there is."""

    needed: int
    available: int

    @property
    def reason(self) -> str:
        """For a person."""
        return f"it needs {size(self.needed)} and {size(self.available)} are free"


@dataclass(frozen=True, slots=True)
class Nothing:
    """There is nothing to free, or too little."""

    gain: int

    @property
    def reason(self) -> str:
        """For a person."""
        return f"{size(self.gain)} to free: not worth a rewrite" if self.gain else "nothing to free"


Refusal = Frozen | Unapproved | NoRoom | Nothing


def refusal(facts: Facts) -> Refusal | None:
    """Why it is not compacted now; None: it may be."""
    living = facts.living
    least = facts.audited.sealed.bytes // (_ASKED_FOR if facts.explicit else _WORTHWHILE)
    known = [one for one in facts.unapproved if not one.and_before]
    if known or facts.unapproved and living.gain > least:
        return Unapproved(tuple(facts.unapproved), living)
    if not facts.audited.clean or facts.frozen:
        return Frozen()
    if living.gain <= least:
        return Nothing(living.gain)
    needed = living.copied + facts.reserve
    return NoRoom(needed, facts.available) if needed > facts.available else None
