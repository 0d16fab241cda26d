"""Whether a compaction freed space and nothing else, and an undelete brought back what was recorded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from zborg.model.ledger.entries import Audited, Rule
from zborg.model.ledger.sealed import Living, News
from zborg.model.text.units import counted, size
from zborg.planning.audit.rules import Known, judge

# What every compaction does: objects are at other places, and nothing was served meanwhile.
_EXPECTED = (Rule.GONE, Rule.DELETES, Rule.REPLACED, Rule.OUTSIDE)


def differences(before: Living, after: News, known: Known) -> tuple[str, ...]:
    """For a person; none: what was alive is alive, and the files are those of a repository.

    `known`: what audit knew of the snapshot before.
    """
    found = [f"{one.rule}: {one.message}" for one in judge(after, known) if one.rule not in _EXPECTED]
    return (*_living(before, after.living), *found)


def not_the_same(
    point: Audited, found: News, recorded: Mapping[str, str], nonce: int = -1
) -> tuple[str, ...]:
    """What differs between the entry of a clean point and the repository as it is now, for a person.

    `recorded`: the digests of its objects by the ledger; `nonce`: the greatest that was ever seen, or -1.
    """
    differs = []
    if (found.last, found.sealed) != (point.last, point.sealed):
        was, now = point.sealed, found.sealed
        differs.append(
            f"there were {was.count} sealed objects of {size(was.bytes)} up to transaction {point.last}, "
            f"and are {now.count} of {size(now.bytes)} up to {found.last}"
        )
    if found.config != point.config:
        differs.append("its configuration is another one")
    if nonce >= 0 and (found.nonce is None or found.nonce < nonce):
        differs.append("its nonce is one that was used before")
    changed = [one.name for one in found.objects if recorded.get(one.name, one.digest) != one.digest]
    if changed:
        differs.append(f"{counted(len(changed), 'object')} with another content, the first: {changed[0]}")
    return tuple(differs)


def _living(before: Living, after: Living | None) -> Iterator[str]:
    if after is None:
        yield "what is alive in it could not be read"
    elif after.digest != before.digest:
        was = f"{counted(before.objects, 'object')} of {size(before.bytes)}"
        now = f"{counted(after.objects, 'object')} of {size(after.bytes)}"
        yield f"{was} were alive before, and other ones are now: {now}"
