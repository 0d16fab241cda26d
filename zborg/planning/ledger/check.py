"""Checks a ledger against its own checkpoints and against those that others have of it.

Who has all keys of the server can write another past and sign it anew: the ledger then agrees with itself.
Only a checkpoint, or a copy, that somebody else had before shows it. Pure; digests are those of merkle.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from zborg.model.ledger.merkle import Frontier, leaf_hash
from zborg.model.ledger.note import Note, PublicKey, Verify


@dataclass(frozen=True, slots=True)
class Witness:
    """What somebody else has: checkpoints, or the lines of a whole copy."""

    name: str
    notes: tuple[Note, ...] = ()
    lines: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class Problem:
    """What does not fit, and by whose word; "" is the ledger's own."""

    whose: str
    words: str

    def __str__(self) -> str:
        return f"{self.whose}: {self.words}" if self.whose else self.words


@dataclass(frozen=True, slots=True)
class Checked:
    """What came of it. `covered` is how many entries a witness stands for."""

    size: int
    root: bytes
    problems: tuple[Problem, ...] = ()
    covered: int = 0
    signed: int = 0  # entries under the ledger's own last checkpoint


@dataclass(frozen=True, slots=True)
class Ledger:
    """All of it: its lines without their ends, its checkpoints, and whose signature they have to bear."""

    lines: Sequence[bytes]
    notes: Sequence[Note]
    key: PublicKey


def check(ledger: Ledger, witnesses: Sequence[Witness], verify: Verify) -> Checked:
    """Recompute the tree, and compare every root that anybody has."""
    own = Witness("its own checkpoints", tuple(ledger.notes))
    sizes = {note.checkpoint.size for one in (own, *witnesses) for note in one.notes}
    roots, whole = _roots(ledger.lines, sizes)
    problems = [*_signatures(ledger, witnesses, verify), *_missing(ledger)]
    for one in (own, *witnesses):
        problems += _compared(one, roots, len(ledger.lines))
        problems += _copied(one, ledger.lines)
    covered = max((_reach(one) for one in witnesses), default=0)
    signed = max((note.checkpoint.size for note in ledger.notes), default=0)
    return Checked(whole.size, whole.root, tuple(problems), covered, signed)


def _roots(lines: Sequence[bytes], sizes: Iterable[int]) -> tuple[dict[int, bytes], Frontier]:
    """The root at each of these sizes, and the tree of all lines: each line is hashed once."""
    tree, roots = Frontier(), {}
    bounds = sorted({0, *(size for size in sizes if size <= len(lines)), len(lines)})
    roots[0] = tree.root
    for first, last in pairwise(bounds):
        tree = tree.extended(map(leaf_hash, lines[first:last]))
        roots[last] = tree.root
    return roots, tree


def _signatures(ledger: Ledger, witnesses: Sequence[Witness], verify: Verify) -> Iterable[Problem]:
    for name, notes in (("the ledger", ledger.notes), *((one.name, one.notes) for one in witnesses)):
        for note in notes:
            if not note.is_signed_by(ledger.key, verify):
                what = f"the checkpoint of {note.checkpoint.size} entries"
                yield Problem(name, f"{what} is not signed by {ledger.key.name}")


def _missing(ledger: Ledger) -> Iterable[Problem]:
    if ledger.lines and not ledger.notes:
        yield Problem("", "the ledger has entries and no checkpoint")


def _compared(witness: Witness, roots: dict[int, bytes], size: int) -> Iterable[Problem]:
    """The first checkpoint that does not fit, and between which entries the change is."""
    agreed = 0
    for note in sorted(witness.notes, key=lambda note: note.checkpoint.size):
        at = note.checkpoint.size
        if at > size:
            words = f"there were {at} entries, and are {size}: the last {at - size} are gone"
            yield Problem(witness.name, words)
            return
        if roots[at] != note.checkpoint.root:
            where = f"entries {agreed} to {at - 1} are not what they were"
            yield Problem(witness.name, f"{where}: {_change(agreed, at)}")
            return
        agreed = at


def _change(first: int, last: int) -> str:
    if last - first == 1:
        return f"entry {first} was rewritten, or one was put in or taken out before it"
    return f"one of these {last - first} was rewritten, moved, put in or taken out"


def _copied(witness: Witness, lines: Sequence[bytes]) -> Iterable[Problem]:
    """A whole copy shows the very entry."""
    for number, line in enumerate(witness.lines):
        if number >= len(lines):
            yield Problem(witness.name, f"entry {number} and {len(witness.lines) - number - 1} more are gone")
            return
        if lines[number] != line:
            yield Problem(witness.name, f"entry {number} is the first that is not what it was")
            return


def _reach(witness: Witness) -> int:
    return max([len(witness.lines), *(note.checkpoint.size for note in witness.notes)])
