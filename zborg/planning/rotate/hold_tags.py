"""What the tags of holds say, and which holds are stale.

A tag carries its purpose, its owner and how long it is meant to last, because ZFS keeps nothing else of
a hold but its time, and a hold whose reason nobody knows stays for ever (zrepl issues 767 and 826).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime

from zborg.model import Hold, Snapshot
from zborg.planning.replicate.facts import Recorded

TO = "zborg:to:"  # + target: what replication holds between a stream and the next
KEEP = "zborg:keep:"  # + owner:until, until being a date or "-"
OWNER = re.compile(r"[a-z0-9][a-z0-9_.-]{0,30}")
# Owners that are commands of zborg's own, and what each of them holds a snapshot for.
OWN = {
    "audit": "the last one in which audit found nothing",
    "compact": "quarantine of what a compaction freed",
    "undelete": "what an undelete set aside, or went back to",
    "verify": "the newest one that verify found whole",
    "witness": "the last good ledger that arrived",
}
_KEEP = re.compile(KEEP + rf"(?P<owner>{OWNER.pattern}):(?P<until>\d{{4}}-\d\d-\d\d|-)", re.ASCII)


@dataclass(frozen=True, slots=True)
class Tag:
    """A hold's tag, read. `purpose` is "replication", "kept by hand", "not zborg's", or one of OWN."""

    purpose: str
    owner: str
    until: date | None = None

    @classmethod
    def parse(cls, text: str) -> Tag:
        """Any text is a tag: what zborg did not write, or an impossible date, is "not zborg's"."""
        if text.startswith(TO) and text != TO:
            return cls("replication", text.removeprefix(TO))
        match = _KEEP.fullmatch(text)
        if match is None:
            return cls("not zborg's", "")
        purpose = OWN.get(match["owner"], "kept by hand")
        if match["until"] == "-":
            return cls(purpose, match["owner"])
        try:
            return cls(purpose, match["owner"], date.fromisoformat(match["until"]))
        except ValueError:
            return cls("not zborg's", "")  # the 30th of February


def keep_tag(owner: str, until: date | None) -> str:
    """Raises ValueError for an owner that cannot stand in a tag."""
    if not OWNER.fullmatch(owner):
        raise ValueError(f"not a name for an owner: {owner!r}")
    return f"{KEEP}{owner}:{until.isoformat() if until else '-'}"


def is_over(until: date | None, now: datetime) -> bool:
    """The whole last day counts, everywhere on earth that is not west of UTC."""
    return until is not None and now.astimezone(UTC).date() > until


@dataclass(frozen=True, slots=True)
class Held:
    """A hold, what its tag says, and why it is stale; "" when it is not."""

    hold: Hold
    tag: Tag
    stale: str = ""
    label: str = ""  # the snapshot's


@dataclass(frozen=True, slots=True)
class Facts:
    """What staleness is judged by. `records` are per dataset and target; what cannot be read is left out.

    `unsettled`: datasets in which a compaction was begun that has not ended, or of which that is not known.
    """

    snapshots: Sequence[Snapshot]
    targets: Iterable[str]
    records: Mapping[tuple[str, str], Recorded]
    now: datetime
    unsettled: Collection[str] = ()


def judge_holds(holds: Iterable[Hold], facts: Facts) -> tuple[Held, ...]:
    """Every hold with its verdict, oldest first."""
    ordered = sorted(holds, key=lambda hold: (hold.since, hold.snapshot, hold.tag))
    judge = _Judge(facts)
    return tuple(judge.of(hold) for hold in ordered)


class _Judge:
    def __init__(self, facts: Facts) -> None:
        self._facts, self._targets = facts, frozenset(facts.targets)
        self._by_name = {one.full: one for one in facts.snapshots}
        self._by_guid = {(one.dataset, one.guid): one for one in facts.snapshots}

    def of(self, hold: Hold) -> Held:
        tag = Tag.parse(hold.tag)
        held = self._by_name.get(hold.snapshot)
        return Held(hold, tag, "; ".join(self._reasons(hold, tag)), held.label if held else "")

    def _reasons(self, hold: Hold, tag: Tag) -> Iterator[str]:
        if is_over(tag.until, self._facts.now) and not self._may_be_needed(hold, tag):
            yield f"it was meant to last until {tag.until}"
        if tag.purpose == "replication":
            if tag.owner not in self._targets:
                yield f"there is no target {tag.owner} any more"
            elif self._passed(hold, tag.owner):
                yield f"{tag.owner} has got a newer base since"

    def _may_be_needed(self, hold: Hold, tag: Tag) -> bool:
        """To undo a compaction that was interrupted, however long ago."""
        return tag.owner == "compact" and hold.snapshot.partition("@")[0] in self._facts.unsettled

    def _passed(self, hold: Hold, target: str) -> bool:
        """Older than the recorded base. A newer one may be on its way at this moment."""
        held = self._by_name.get(hold.snapshot)
        record = self._facts.records.get((held.dataset, target)) if held else None
        base = self._by_guid.get((held.dataset, record.base)) if held and record and record.base else None
        return bool(held and base and held.createtxg < base.createtxg)
