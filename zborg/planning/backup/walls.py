"""Which walls stand around the hosts' `borg serve`, in one outcome. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from zborg.model import Outcome, Status
from zborg.model.results import Walls
from zborg.model.text.remedy import command
from zborg.model.text.units import counted
from zborg.model.wall import parse

_SHOWN = 5  # names; the others are counted


def walls(found: Mapping[str, str]) -> list[Outcome]:
    """`found`: by host the words of its last wall. None is a finding, and so is an open network."""
    if not found:
        return []
    standing = {name: parse(words) for name, words in found.items()}
    none = [name for name, wall in standing.items() if not wall.stands]
    network = [name for name, wall in standing.items() if wall.stands and not wall.no_network]
    kinds: dict[str, list[str]] = {}
    for name, wall in standing.items():
        if wall.stands:
            kinds.setdefault(str(wall), []).append(name)
    parts = [f"no wall around {_names(none)}"] if none else []
    parts += [f"{wall}: {counted(len(names), 'host')}" for wall, names in kinds.items()]
    bad = bool(none or network)
    remedy = command("zborg", "doctor", "--only", "serving") if bad else ""
    status = Status.WARNING if bad else Status.OK
    return [Outcome("wall", "borg serve", status, "; ".join(parts), remedy, Walls(walls=dict(found)))]


def _names(names: Sequence[str]) -> str:
    rest = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {rest} more" if rest > 0 else "")
