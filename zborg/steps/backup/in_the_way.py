"""What lies where a host's repository is or is to be made, and is none that can be served."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count

from zborg.borg.storage.litter import looks_like_a_repository
from zborg.borg.storage.repository import unknown_form
from zborg.errors import Conflict
from zborg.model import Host
from zborg.model.text.remedy import command, quoted, remedy
from zborg.steps.context import Context
from zborg.steps.mounts import machine_of


def in_the_way(context: Context, host: Host, home: str, names: Sequence[str]) -> Conflict:
    """Everything stays, under a name that is free, and `zborg init` makes an empty dataset again."""
    name = context.config.storage.dataset_of(host.name)
    shown = ", ".join(map(quoted, names[:5])) + (", ..." if len(names) > 5 else "")
    older = looks_like_a_repository(names)
    what = "a repository that this host does not know" if older else "files that are no repository"
    words = f"{name} ({home}) holds {what}, where {host.name}'s is to be made: {shown}"
    return Conflict(words, _aside(context, host.name))


def other_form(context: Context, host: Host, home: str, version: int) -> Conflict:
    """Nothing is served of it."""
    name = context.config.storage.dataset_of(host.name)
    return Conflict(f"{name} ({home}) {unknown_form(version)}", _aside(context, host.name))


def _aside(context: Context, host: str) -> str:
    name = context.config.storage.dataset_of(host)
    there = {one.name for one in context.storage.zfs.datasets(context.config.storage.dataset)}
    free = next(one for one in (f"{name}-{n}" for n in count(1)) if one not in there)
    first = f"the first on {machine_of(context.config.storage)}, as root; all is kept as {free}:"
    return remedy(command("zfs", "rename", name, free), command("zborg", "init", host), first=first)
