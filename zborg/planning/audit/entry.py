"""The entry of the ledger that one look at a repository comes to. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from zborg.model import Snapshot
from zborg.model.ledger.entries import Anomaly, Audited
from zborg.model.ledger.sealed import Listing, Log, News
from zborg.model.ledger.sessions import Purpose, Session
from zborg.planning.audit.rules import most_of


@dataclass(frozen=True, slots=True)
class Looked:
    """What was looked at, by which run, and what was known before. `released`: no earlier finding is open."""

    host: str
    run: str
    at: datetime
    snapshot: Snapshot
    repository: str  # its id
    before: Audited | None
    sessions: Sequence[Session]
    released: bool


def entry(looked: Looked, news: News | None, found: tuple[Anomaly, ...]) -> Audited:
    """Of what could not be read the state of before stays what is compared with next."""
    before = looked.before
    known = news if news and news.version == 1 else _unread(before)
    last = before.last if before else -1
    manifests = [one.manifest for one in known.transactions if one.manifest is not None]
    return Audited(
        host=looked.host,
        run=looked.run,
        at=looked.at,
        snapshot=looked.snapshot.snapname,
        guid=looked.snapshot.guid,
        taken=looked.snapshot.created,
        repository=looked.repository,
        last=known.last,
        prior=known.prior,
        config=known.config,
        manifest=manifests[-1] if manifests else before.manifest if before else None,
        most=most_of(known, before, looked.sessions),
        nonce=known.nonce,
        log=known.log,
        sealed=known.sealed,
        bytes=known.bytes,
        objects=known.objects,
        puts=sum(one.puts for one in known.transactions),
        deletes=sum(one.deletes for one in known.transactions),
        sessions=tuple(one for one in looked.sessions if one.first < known.last and _is_new(one, last)),
        anomalies=found,
        clean=not found and looked.released,
        unjudged=-1 if before else _unjudged(known, looked.sessions),
    )


def _unjudged(news: News, sessions: Sequence[Session]) -> int:
    """The last transaction of a first look that deleted what no checkpoint and no prune of zborg's explains.

    -1: none did. It is no finding, for nobody knows what happened before.
    """
    pruned = [one for one in sessions if one.purpose is Purpose.PRUNE]
    odd = (
        one.number
        for one in news.transactions
        if (one.rewrites or one.deletes > min(one.checkpoints, 1))
        and not any(session.covers(one.number) for session in pruned)
    )
    return max(odd, default=-1)


def _is_new(session: Session, last: int) -> bool:
    return session.last is None or session.last > last


def _unread(before: Audited | None) -> News:
    if before is None:
        return News(0)
    return News(
        version=1,
        last=before.last,
        prior=before.prior,
        config=before.config,
        nonce=before.nonce,
        log=Log(before.log.size, before.log.digest, ""),
        sealed=Listing(before.sealed.count, before.sealed.bytes, before.sealed.digest),
        bytes=before.bytes,
    )
