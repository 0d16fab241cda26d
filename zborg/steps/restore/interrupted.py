"""Restores that were killed, as the records of their locks show `status`: costs no connection.

What they made keeps its snapshot from rotation; see `leftovers`.
"""

from __future__ import annotations

from collections.abc import Iterator

from zborg.config import Config
from zborg.model import Outcome, Status
from zborg.state.locks import Locks, Owner

REMEDY = "zborg rotate"


def restore_lock(host: str) -> str:
    """The lock of a host's restores. Not that of its backups: a restore reads a clone."""
    return f"restore-{host}"


def killed(config: Config, locks: Locks) -> dict[str, Owner]:
    """By host the restore that was killed and after which nobody has cleared up. Costs no connection."""
    found = {host.name: locks.left(restore_lock(host.name)) for host in config.hosts}
    return {name: owner for name, owner in found.items() if owner}


def killed_restores(config: Config, locks: Locks) -> Iterator[Outcome]:
    """For `status`."""
    for name, owner in killed(config, locks).items():
        words = f"{owner.command} (pid {owner.pid}, since {owner.since}) was killed: what it made below"
        message = f"{words} {config.storage.scratch} may still be there, and keep its snapshot from rotation"
        yield Outcome("restore", name, Status.WARNING, message, REMEDY)
