"""What was read of a repository against what the ledger recorded, and what borg says of its structure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from zborg.model.ledger.sealed import Digested
from zborg.model.ledger.verified import Structure
from zborg.model.text.units import counted, moment, size
from zborg.planning.verify.expected import Expected, Written


class Fault(StrEnum):
    """What is wrong with an object; the word is part of the ledger's form."""

    CHANGED = "changed"  # it holds something else than was recorded
    RESIZED = "resized"  # and is of another size
    GONE = "gone"
    UNREADABLE = "unreadable"  # the disk does not give it


@dataclass(frozen=True, slots=True)
class Damaged:
    """One object. `written` None: the ledger does not know it."""

    name: str
    fault: Fault
    written: Written | None


@dataclass(frozen=True, slots=True)
class Compared:
    """`objects` and `bytes` are of what agrees with its record; `listing` is what their list does not fit."""

    objects: int
    bytes: int
    unrecorded: int  # objects that no audit has seen yet
    damaged: tuple[Damaged, ...]
    listing: str = ""

    @property
    def intact(self) -> bool:
        """Every object is there and is what was recorded."""
        return not self.damaged and not self.listing


def compare(expected: Expected, seen: Digested) -> Compared:
    """Every object that is there with its record, and what has to be there with what is."""
    found = {one.name: one for one in seen.objects}
    known = [one for one in seen.objects if one.name in expected.objects]
    wrong = sorted(_damaged(expected, seen), key=lambda one: _order(one.name))
    names = {one.name for one in wrong}
    good = [one for one in known if one.name not in names]
    listing = ""
    if not wrong and expected.sealed is not None and expected.sealed != seen.sealed:
        was, now = expected.sealed, seen.sealed
        listing = f"its sealed objects are {now.count} of {size(now.bytes)}, "
        listing += f"and were {was.count} of {size(was.bytes)} when it was audited"
    return Compared(
        objects=len(good),
        bytes=sum(one.size for one in good),
        unrecorded=len(found) - len(known),
        damaged=tuple(wrong),
        listing=listing,
    )


def _damaged(expected: Expected, seen: Digested) -> Iterator[Damaged]:
    for name, _ in seen.unread:
        yield Damaged(name, Fault.UNREADABLE, expected.objects.get(name))
    for one in seen.objects:
        written = expected.objects.get(one.name)
        if written and one.size != written.object.size:
            yield Damaged(one.name, Fault.RESIZED, written)
        elif written and one.digest != written.object.digest:
            yield Damaged(one.name, Fault.CHANGED, written)
    there = {one.name for one in seen.objects} | {name for name, _ in seen.unread}
    for name in expected.required - there:
        yield Damaged(name, Fault.GONE, expected.objects[name])


def _order(name: str) -> tuple[int, str]:
    """By the number of the segment."""
    number = name.rpartition("/")[2]
    return int(number) if number.isdigit() else 0, name


def archives(written: Written | None) -> str:
    """Which archives may need an object, as far as it can be seen without the key; "" when it cannot."""
    if written is None or written.after is None:
        return ""
    return (
        f"it was written between {moment(written.after)} and {moment(written.taken)}: "
        "archives from then on may need it, and no earlier ones"
    )


def structure(status: int | None, *, intact: bool) -> Structure:
    """What the exit status of `borg check` means: 1 is its warning, for errors that it found.

    `intact`: every object is what was recorded, and every entry's checksum fits; then it is of the index.
    None: it did not end in time.
    """
    if status is None:
        return Structure.SLOW
    if status == 0:
        return Structure.GOOD
    if status == 1:
        return Structure.INDEX if intact else Structure.BAD
    return Structure.CRASHED


def described(one: Damaged) -> str:
    """In words."""
    what = {
        Fault.CHANGED: "holds something else than was recorded",
        Fault.RESIZED: "has another size than was recorded",
        Fault.GONE: "is gone",
        Fault.UNREADABLE: "cannot be read: the disk fails",
    }
    return f"object {one.name} {what[one.fault]}"


def extent(compared: Compared) -> str:
    """How much was compared."""
    return f"{counted(compared.objects, 'object')}, {size(compared.bytes)}"


def newer(compared: Compared) -> str:
    """How much was not compared; "" when that is nothing."""
    if not compared.unrecorded:
        return ""
    return f"{counted(compared.unrecorded, 'object')} newer than the last audit not compared"
