"""Which adapter speaks to the storage's ZFS, and why. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from zborg.errors import ConfigError


class Adapter(StrEnum):
    """What speaks to ZFS."""

    LIBZFS = "libzfs"
    COMMANDS = "commands"


@dataclass(frozen=True, slots=True)
class Choice:
    """`why` in words that go after "because"."""

    adapter: Adapter
    why: str


def choose(wanted: str, machine: str, missing_here: Callable[[], str]) -> Choice:
    """From `[storage] zfs` ("auto", "libzfs", "commands") and where the storage is, "" for this machine.

    `missing_here` says what libzfs needs to work here, "" for nothing; asked only when the answer matters.
    Raises ConfigError when libzfs is wanted and cannot be had.
    """
    if wanted == Adapter.COMMANDS:
        return Choice(Adapter.COMMANDS, 'zborg.toml says storage.zfs = "commands"')
    missing = (
        f"the storage is on {machine}, and libzfs reaches this machine alone" if machine else missing_here()
    )
    if not missing:
        return Choice(Adapter.LIBZFS, "it is here, and opens the pool")
    if wanted == Adapter.LIBZFS:
        raise ConfigError(
            f'storage.zfs is "libzfs", but {missing}',
            'correct that, or set "auto": the zfs commands do the same',
        )
    return Choice(Adapter.COMMANDS, missing)
