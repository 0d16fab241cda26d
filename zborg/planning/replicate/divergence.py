"""What can be done about a copy that a stream does not fit on: remedies for Divergence. Pure.

None forces anything or destroys what zborg sent: a copy set aside costs space, a destroyed one may have been
the last.
"""

from __future__ import annotations

from collections.abc import Sequence

from zborg.model import P_TARGET, Snapshot
from zborg.model.text.remedy import command, on, remedy
from zborg.planning.replicate.facts import Link, Pair
from zborg.planning.replicate.foreign_snapshots import tools_of

_A_LINE = 100  # snapshots named by one command


def aside(pair: Pair) -> str:
    """The copy's name becomes free; the next run sends all in full."""
    return on(pair.where, command("zfs", "rename", "-u", pair.target.name, pair.aside))


def forget(pair: Pair, link: Link) -> str:
    """What was recorded of the target goes, the copy stays."""
    return remedy(
        command("zfs", "inherit", f"{P_TARGET}{link.name}", pair.source.name),
        first="on the storage, as root, if this is meant to be; the next run compares the snapshots afresh:",
    )


def investigate(pair: Pair) -> str:
    """The source has lost snapshots that the copy has: the copy may be all that is left of them."""
    return remedy(
        command("zpool", "history", pair.source.name.split("/")[0]),
        first="leave the copy as it is until it is clear who destroyed the source's snapshots; "
        "on the storage, as root:",
    )


def undo(pair: Pair) -> str:
    """The target was written to since its newest snapshot."""
    last = pair.target.newest
    return remedy(
        command("zfs", "get", "written", pair.target.name),
        *([command("zfs", "rollback", last.full)] if last else []),
        first=f"on {pair.where}, as root: the first line shows how much was written, the second discards it:",
    )


def rename_taken(pair: Pair, snapnames: Sequence[str]) -> str:
    """Other snapshots of the target have the names that are to be sent."""
    name = pair.target.name
    return on(
        pair.where, *(command("zfs", "rename", f"{name}@{one}", f"{name}@{one}-other") for one in snapnames)
    )


def destroy_foreign(pair: Pair, foreign: Sequence[Snapshot]) -> str:
    """Exactly these, none of which zborg sent; their maker's holds go first."""
    name, tools = pair.target.name, " and ".join(tools_of(one.snapname for one in foreign))
    stop = f" once {tools} is set to leave {name} alone:" if tools else " if nobody needs these snapshots:"
    releases = [_release(one) for one in foreign if one.holds]
    parts = [foreign[at : at + _A_LINE] for at in range(0, len(foreign), _A_LINE)]
    destroys = [
        command("zfs", "destroy", f"{name}@{','.join(one.snapname for one in part)}") for part in parts
    ]
    return remedy(*releases, *destroys, first=f"on {pair.where}, as root,{stop}")


def _release(held: Snapshot) -> str:
    """All holds of one: their tags are not in a listing."""
    name = command(held.full)
    return f'zfs holds -H {name} | cut -f 2 | while IFS= read -r tag; do zfs release "$tag" {name}; done'
