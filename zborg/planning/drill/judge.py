"""What a host's agent says of drills, and what its answer to one comes to."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from zborg.model import Status
from zborg.model.text.units import counted, duration, size, span

_ARCHIVE = re.compile(r"[a-z0-9-]{1,31}-[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{6}Z")


@dataclass(frozen=True, slots=True)
class Allowed:
    """`known` False: the agent is from before drills. `sampled`: archives of which the host has a sample."""

    known: bool
    drills: bool
    sampled: tuple[str, ...]


def allowed(answer: Mapping[str, str]) -> Allowed:
    """Of an agent's answer to `version`; a name that is no archive's is left out."""
    names = answer.get("sampled", "").split()
    drill = answer.get("drill", "")
    return Allowed(bool(drill), drill == "yes", tuple(one for one in names if _ARCHIVE.fullmatch(one)))


@dataclass(frozen=True, slots=True)
class Counts:
    """A host's answer."""

    files: int
    bytes: int
    mismatched: int
    unfinished: int  # 1: the last one differed, or was cut off
    sampled: int
    population: int
    canary: bool
    seconds: int  # from the start of borg on

    @property
    def rate(self) -> float | None:
        """Bytes a second; None where nothing was read."""
        return self.bytes / self.seconds if self.bytes and self.seconds > 0 else None

    def whole(self, original: int) -> float | None:
        """Seconds for so many bytes at that rate."""
        return original / self.rate if self.rate and original else None


def verdict(status: Status, words: str, counts: Counts, original: int) -> tuple[Status, str]:
    """Status and message. `status` and `words` are what the verb came to; `original` the archive's bytes.

    An answer that contradicts its own status is no proof of anything.
    """
    if status is Status.DAMAGED:
        return status, "; ".join(filter(None, (_damage(counts), words)))
    if status.bad:
        return status, words
    if counts.mismatched or counts.unfinished or not counts.canary:
        return Status.FAILED, "the host says that all is well, and its numbers say that it is not"
    if not counts.files:
        return (
            Status.WARNING,
            "the canary is as it was backed up; none of the sampled files is in the archive",
        )
    return Status.OK, _well(counts, original)


def _damage(counts: Counts) -> str:
    """Without a name of any file."""
    wrong = counts.mismatched + counts.unfinished
    if not wrong:
        return "" if counts.canary else "not even the canary could be read"
    return f"{wrong} of {counted(counts.sampled, 'sampled file')} are not as they were backed up"


def _well(counts: Counts, original: int) -> str:
    what = f"{counted(counts.files, 'file')} of {counts.population}, {size(counts.bytes)}"
    words = f"{what}, and the canary are as they were backed up; {span(counts.seconds)}"
    whole = counts.whole(original)
    return f"{words}, and {duration(whole)} for all {size(original)} at that rate" if whole else words
