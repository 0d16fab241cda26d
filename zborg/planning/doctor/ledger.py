"""What doctor finds of the ledger: whether it is written, signed, and who is a witness of it. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from zborg.model import Dataset, Finding, Status
from zborg.model.text.remedy import command, on, remedy
from zborg.model.text.units import counted, duration
from zborg.planning.doctor.this_machine import or_fine

_SHOWN = 5  # hosts


@dataclass(frozen=True, slots=True)
class LedgerFacts:
    """What is there. `age` are the seconds since the last checkpoint, None without one.

    `witnesses` is by host how many entries the checkpoint had that it was given last; -1: its agent keeps
    none, None: not known.
    """

    begun: bool
    name: str  # of its dataset
    dataset: Dataset | None
    public_key: str  # the file
    key_fault: str  # why it is not this ledger's, "" if it is
    age: float | None
    max_age: int  # seconds
    where: str  # which machine has the dataset
    witnesses: Mapping[str, int | None] = field(default_factory=dict)


def ledger(facts: LedgerFacts) -> tuple[Finding, ...]:
    """All that is wrong with it."""
    if not facts.begun:
        words = "no ledger was begun: what audit finds is not kept, and nobody is a witness of the past"
        return (Finding(facts.name, Status.WARNING, words, "zborg init"),)
    known = len(facts.witnesses) - len(_no_witnesses(facts))
    words = f"it is there and signed; {counted(known, 'host')} of {len(facts.witnesses)} are witnesses of it"
    return or_fine(list(_faults(facts)), facts.name, words)


def _faults(facts: LedgerFacts) -> Iterator[Finding]:
    if facts.dataset is None:
        yield Finding(facts.name, Status.FAILED, "its dataset does not exist", "zborg init")
    elif not facts.dataset.mounted:
        fix = on(facts.where, command("zfs", "mount", facts.name))
        yield Finding(facts.name, Status.FAILED, "its dataset is not mounted: no entry can be written", fix)
    if facts.key_fault:
        fix = command("ls", "-l", facts.public_key)
        yield Finding(facts.public_key, Status.FAILED, facts.key_fault, fix)
    if facts.age is None:
        yield Finding(facts.name, Status.WARNING, "it has no checkpoint yet", "zborg audit")
        return  # there is nothing that hosts could be given
    if facts.age > facts.max_age:
        words = f"its last checkpoint is {duration(facts.age)} old; the limit is {duration(facts.max_age)}"
        yield Finding(facts.name, Status.FAILED, words, "zborg audit")
    if missing := _no_witnesses(facts):
        yield Finding(facts.name, Status.WARNING, _words(missing, facts), _remedy(missing, facts))


def _no_witnesses(facts: LedgerFacts) -> list[str]:
    return [name for name, entries in facts.witnesses.items() if entries is None or entries <= 0]


def _words(missing: list[str], facts: LedgerFacts) -> str:
    names = [f"{name} (its agent is older)" if facts.witnesses[name] == -1 else name for name in missing]
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"{counted(len(names), 'host')} no witness of it yet: {', '.join(names[:_SHOWN])}{more}"


def _remedy(missing: list[str], facts: LedgerFacts) -> str:
    older = next((name for name in missing if facts.witnesses[name] == -1), "")
    if not older:
        return remedy("zborg backup", first="the next backup makes them so:")
    first = "bring the agent of this version, with the address that it has (zborg host list):"
    return remedy(command("zborg", "host", "add", older, "ADDRESS"), first=first)
