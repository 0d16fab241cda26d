"""Whether what is new in a repository can be the work of backups, of a prune that was announced, and of
nothing else.

What a hostile host can do through an append-only `borg serve`, and the trace that it leaves, was tried call
by call (docs/proof.md has the table). Without the key nobody can tell whether a list of archives was padded
to its old size.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from zborg.model.ledger.entries import Anomaly, Audited, Rule
from zborg.model.ledger.sealed import News, SealedObject, Transaction
from zborg.model.ledger.sessions import Purpose, Session
from zborg.model.text.units import counted, moment, printable, size

_ARCHIVE = 32  # bytes; each archive takes at least its id in the manifest, which no compression makes smaller
_BLOCK = 16  # bytes that one nonce serves for
_RESERVED = 1 << 29  # nonces that a session may take and not use: borg reserves 2^28 at once
_SHOWN = 5  # names of many
_MOST = 20  # findings of one look; the others are counted
UNNAMED = 0  # stands for the transactions of those that are only counted: nobody can approve it


@dataclass(frozen=True, slots=True)
class Known:
    """What is compared with: the last entry of this host, and when its repository was served since."""

    before: Audited | None
    sessions: Sequence[Session]
    digests: Mapping[str, str]  # of sealed objects that were touched, as they were recorded
    now: datetime


def judge(news: News, known: Known) -> tuple[Anomaly, ...]:
    """Everything that no backup does; of a repository that is seen for the first time only its files."""
    if news.version != 1:
        return (Anomaly(Rule.VERSION, _version(news.version)),)
    found = [*_files(news)]
    if known.before is not None:
        found += _state(news, known.before, known)
        found += _transactions(news, known.before, known.sessions)
    if len(found) > _MOST:
        found.sort(key=lambda one: one.transaction is None)  # what may need an approval stays named
        first, rest = found[_MOST], found[_MOST:]
        many = UNNAMED if any(one.transaction is not None for one in rest) else None
        found[_MOST:] = [Anomaly(first.rule, f"{len(rest)} more findings, the next: {first.message}", many)]
    return tuple(found)


def _version(version: int) -> str:
    if version:
        return (
            f"a repository of version {version}: zborg knows version 1, that of borg 1, and audits no other"
        )
    return "there is no repository that can be read: its configuration is missing or broken"


# --- files --------------------------------------------------------------------------------------------------


def _files(news: News) -> Iterator[Anomaly]:
    for one in news.strays:
        what = f"{printable(one.name)} ({one.kind}, {size(one.size)})"
        if one.huge:
            yield Anomaly(Rule.HUGE, f"{what} is larger than any file of a repository")
        else:
            yield Anomaly(Rule.STRAY, f"{what} is no file of a repository")
    if (more := news.stray_count - len(news.strays)) > 0:
        yield Anomaly(Rule.STRAY, f"{counted(more, 'file')} more that are no files of a repository")
    for entry in news.malformed:
        place = f"object {entry.name} at byte {entry.offset}"
        yield Anomaly(Rule.MALFORMED, f"{place} is no entry that borg writes ({printable(entry.code)})")


# --- the repository as a whole ------------------------------------------------------------------------------


def _state(news: News, before: Audited, known: Known) -> Iterator[Anomaly]:
    if news.config != before.config:
        yield Anomaly(Rule.CONFIG, f"its configuration changed since {moment(before.at)}")
    if news.last < before.last:
        words = f"its last transaction is {news.last}, and was {before.last} at {moment(before.at)}"
        yield Anomaly(Rule.WENT_BACK, words, news.last)
    elif news.log.before != before.log.digest and before.log.size:
        words = f"the list of its commits (transactions) is not what it was at {moment(before.at)}"
        yield Anomaly(Rule.LOG, words, news.last)
    yield from _sealed(news, before, known.digests)
    yield from _nonce(news, before, known)


def _sealed(news: News, before: Audited, digests: Mapping[str, str]) -> Iterator[Anomaly]:
    was, now = before.sealed, news.earlier
    if news.last >= before.last and now != was:
        words = f"its sealed objects were {was.count} of {size(was.bytes)} at {moment(before.at)}"
        yield Anomaly(Rule.GONE, f"{words}, and are {now.count} of {size(now.bytes)}", news.last)
    changed = [one for one in news.touched if digests.get(one.name, one.digest) != one.digest]
    if changed:
        words = f"sealed objects hold something else than what was recorded: {_names(changed)}"
        yield Anomaly(Rule.REWRITTEN, words, news.last)


def _names(objects: Sequence[SealedObject]) -> str:
    rest = len(objects) - _SHOWN
    return ", ".join(one.name for one in objects[:_SHOWN]) + (f" and {rest} more" if rest > 0 else "")


def _nonce(news: News, before: Audited, known: Known) -> Iterator[Anomaly]:
    """A host whose nonce was lost is given one by the clock (seconds times 2^24), by zborg's own remedy."""
    if before.nonce is None:
        return
    if news.nonce is None:
        yield Anomaly(Rule.NONCE, "its nonce is gone, or is no number")
        return
    if news.nonce < before.nonce:
        yield Anomaly(Rule.NONCE, f"its nonce went back from {before.nonce:#x} to {news.nonce:#x}")
        return
    written = sum(one.bytes for one in news.transactions)
    used = 4 * written // _BLOCK + (len(known.sessions) + len(news.transactions) + 2) * _RESERVED
    if news.nonce > max(before.nonce, int(known.now.timestamp()) << 24) + used:
        yield Anomaly(Rule.NONCE, f"its nonce jumped from {before.nonce:#x} to {news.nonce:#x}")


# --- transactions -------------------------------------------------------------------------------------------


def _transactions(news: News, before: Audited, sessions: Sequence[Session]) -> Iterator[Anomaly]:
    most, previous = before.most, before.last
    for one in news.transactions:
        if one.number <= before.last:
            continue
        session = next((s for s in reversed(sessions) if s.covers(one.number)), None)
        goes_on = session is not None and session.covers(previous)
        previous = one.number
        where = _where(one, session)
        if session is None:
            words = f"{where} was made while nothing was served: {_content(one)}"
            yield Anomaly(Rule.OUTSIDE, words, one.number)
        purpose = session.purpose if session else Purpose.BACKUP
        yield from _deletes(one, purpose, where, most, checkpoints=min(one.checkpoints, int(goes_on)))
        if one.manifest is None:
            continue
        if purpose is Purpose.PRUNE:
            most = one.manifest
        elif one.manifest < most - _ARCHIVE:
            words = f"the list of archives shrank from {most} to {one.manifest} bytes in {where}"
            yield Anomaly(Rule.MANIFEST, f"{words}, which is no prune", one.number)
            most = one.manifest
        else:
            most = max(most, one.manifest)


def _deletes(
    one: Transaction, purpose: Purpose, where: str, most: int, *, checkpoints: int
) -> Iterator[Anomaly]:
    """`checkpoints`: how many of the deletes may be of a checkpoint that this one replaces, one at most."""
    if one.rewrites:
        words = f"{counted(one.rewrites, 'object')} put again under the same id in {where}"
        yield Anomaly(Rule.REPLACED, words, one.number)
    if purpose is Purpose.PRUNE or purpose is Purpose.SIGN and one.deletes <= one.puts:
        return
    unexplained = one.deletes - checkpoints
    if unexplained == 1 and one.puts == 1 and _is_whole(one, most):
        return  # an archive that got another name: `borg rename` writes its metadata anew
    if unexplained > 0:
        words = f"{counted(unexplained, 'object')} deleted in {where}, which is no prune"
        yield Anomaly(Rule.DELETES, words, one.number)


def _is_whole(one: Transaction, most: int) -> bool:
    return one.manifest is not None and one.manifest >= most - _ARCHIVE


def _where(one: Transaction, session: Session | None) -> str:
    if session is None:
        return f"transaction {one.number}"
    return f"transaction {one.number} (run {session.run}, begun {moment(session.since)})"


def _content(one: Transaction) -> str:
    return f"{counted(one.puts, 'object')} of {size(one.bytes)}, {counted(one.deletes, 'delete')}"


def most_of(news: News, before: Audited | None, sessions: Sequence[Session]) -> int:
    """The largest size of the list of archives since the last prune, for the entry that is written now."""
    most = before.most if before else 0
    for one in news.transactions:
        if one.manifest is None or before and one.number <= before.last:
            continue
        pruned = any(s.purpose is Purpose.PRUNE and s.covers(one.number) for s in sessions)
        shrank = before is not None and one.manifest < most - _ARCHIVE
        most = one.manifest if pruned or shrank else max(most, one.manifest)
    return most
