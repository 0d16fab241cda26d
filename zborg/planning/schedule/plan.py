"""What becomes of each file that starts zborg by time, or did. Pure.

A file that zborg did not write, or that somebody changed since, is never written over and never removed.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from zborg.planning.schedule.render import is_ours


class State(StrEnum):
    """A file as it is, against what is wanted in its place."""

    MISSING = "missing"
    CURRENT = "there"
    OLD = "old"  # as zborg wrote it, and not what is wanted
    CHANGED = "changed"  # zborg wrote it, and somebody changed it
    FOREIGN = "foreign"  # zborg did not write it

    @property
    def others(self) -> bool:
        """It is somebody's own now."""
        return self in (State.CHANGED, State.FOREIGN)


def state_of(found: str | None, wanted: str | None) -> State:
    """None: there is no such file, or none is wanted there."""
    if found is None:
        return State.MISSING
    if found == wanted:
        return State.CURRENT
    ours = is_ours(found)
    if ours is None:
        return State.CHANGED
    return State.OLD if ours else State.FOREIGN


def states(found: Mapping[str, str | None], wanted: Mapping[str, str]) -> dict[str, State]:
    """Of every path at which something is, or is wanted, in the order of `found`."""
    named = {path: state_of(text, wanted.get(path)) for path, text in found.items()}
    return {path: state for path, state in named.items() if path in wanted or state is not State.MISSING}


def in_the_way(named: Mapping[str, State]) -> tuple[str, ...]:
    """Paths of somebody's own files: with one of them here nothing is installed."""
    return tuple(path for path, state in named.items() if state.others)
