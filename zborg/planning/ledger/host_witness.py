"""What a host has of the ledger, by its agent's answer to `witness`. Pure; every byte is that host's word.

A checkpoint that the ledger's key signed is a proof, no matter who shows it. One that it did not sign is only
what this host says.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise

from zborg.model.ledger import checkpoint_word
from zborg.model.ledger.note import Note, PublicKey, Verify
from zborg.model.text.units import counted

FIRST, LAST = "witness", "end"
MOST = 200
"""Lines that an agent keeps."""

_LINE = re.compile(r"(?P<at>[1-9][0-9]{0,10}) (?P<word>[!-~]{1,300})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Given:
    """A checkpoint that the host was given, and when by its own clock."""

    at: datetime
    note: Note


@dataclass(frozen=True, slots=True)
class HostWitness:
    """What one host has, by whose signature it bears."""

    host: str
    signed: tuple[Note, ...] = ()  # by the ledger's own key, in the order in which the host got them
    unsigned: int = 0  # of this ledger by their name, and not signed by its key
    others: int = 0  # of a ledger of another name
    last: datetime | None = None  # when it got the newest

    @property
    def covered(self) -> int:
        """How many entries it stands for."""
        return max((one.checkpoint.size for one in self.signed), default=0)

    @property
    def doubts(self) -> tuple[str, ...]:
        """What is odd, and proves nothing: it is this host's word alone, or another ledger's."""
        return tuple(filter(None, (_unsigned(self.unsigned), _others(self.others), _older(self.signed))))


def _unsigned(number: int) -> str:
    return (
        f"{counted(number, 'checkpoint')} not signed by the ledger's key, by the word of this host"
        if number
        else ""
    )


def _others(number: int) -> str:
    return f"{counted(number, 'checkpoint')} of another ledger" if number else ""


def _older(signed: Sequence[Note]) -> str:
    for one, two in pairwise(note.checkpoint.size for note in signed):
        if two < one:
            return f"it was given the checkpoint of {two} entries after that of {one}"
    return ""


def parse(answer: str) -> tuple[Given, ...]:
    """The oldest first. Raises ValueError for an answer that is cut, too long, or has anything else in it.

    What a login shell prints before the first line is passed over.
    """
    lines = answer.split("\n")
    if FIRST not in lines or lines[-2:] != [LAST, ""]:
        raise ValueError("its answer has no beginning or no end")
    found = lines[lines.index(FIRST) + 1 : -2]
    if len(found) > MOST:
        raise ValueError(f"its answer has more than {MOST} lines")
    return tuple(map(_given, found))


def _given(line: str) -> Given:
    found = _LINE.fullmatch(line)
    if not found:
        raise ValueError("a line of its answer is no time and no checkpoint")
    return Given(datetime.fromtimestamp(int(found["at"]), UTC), checkpoint_word.read(found["word"]))


def sorted_out(host: str, given: Sequence[Given], key: PublicKey, verify: Verify) -> HostWitness:
    """By signature."""
    ours = [one.note for one in given if one.note.checkpoint.origin == key.name]
    signed = tuple(note for note in ours if note.is_signed_by(key, verify))
    last = max((one.at for one in given), default=None)
    return HostWitness(host, signed, len(ours) - len(signed), len(given) - len(ours), last)
