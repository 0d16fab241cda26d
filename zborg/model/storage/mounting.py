"""Why a file system is not mounted where it is looked for, and the commands that mount it. Pure.

One decision for all who look: backup, enrolment, init and doctor. A changed `mountpoint` or `canmount` mounts
by itself in some states only, and `zfs mount` fails where it is mounted already: so that is asked first.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from zborg.model.text.remedy import command, on


@dataclass(frozen=True, slots=True)
class Mounting:
    """What ZFS goes by when it mounts a file system. `mountpoint` is None for none and legacy."""

    dataset: str
    mounted: bool
    mountpoint: str | None
    canmount: str  # on, off or noauto
    overlay: bool  # whether it may cover a directory that is not empty
    locked: str = ""  # the encryption root whose key is not loaded


@dataclass(frozen=True, slots=True)
class Wanted:
    """Where it belongs: on which machine, below which dataset, mounted where that is (None: nowhere)."""

    machine: str
    root: str
    root_mountpoint: str | None

    def place(self, dataset: str) -> str:
        """The directory where `dataset`, which lies below `root`, has to be mounted."""
        above = self.root_mountpoint or f"/{self.root}"
        return f"{above.rstrip('/')}{dataset.removeprefix(self.root)}"


def reason(found: Mounting, wanted: Wanted, *, occupied: bool = False) -> str:
    """Why it is not mounted at its place, all that counts; "" when it is."""
    return " and ".join(_reasons(found, wanted, occupied))


def _reasons(found: Mounting, wanted: Wanted, occupied: bool) -> Iterator[str]:
    place = wanted.place(found.dataset)
    if wanted.root_mountpoint is None:
        yield f"{wanted.root} has no mountpoint"
    if found.locked:
        yield f"the key of {found.locked} is not loaded"
    if not found.mounted and found.canmount != "on":
        yield f"its canmount is {found.canmount}"
    if wanted.root_mountpoint is not None and found.mountpoint != place:
        yield f"its mountpoint is {found.mountpoint or 'none or legacy'}, not {place}"
    if occupied and not found.overlay:
        yield f"{place} is not empty, and its overlay is off"
    if not found.mounted and found.mountpoint == place and found.canmount == "on" and not found.locked:
        yield "it was unmounted"


def remedy(found: Mounting, wanted: Wanted, *, occupied: bool = False) -> str:
    """Commands that mount it at its place, whatever else is so. `occupied`: files lie in that directory."""
    place = wanted.place(found.dataset)
    commands = []
    if wanted.root_mountpoint is None:
        commands.append(command("zfs", "set", f"mountpoint=/{wanted.root}", wanted.root))
    if found.locked:
        commands.append(command("zfs", "load-key", found.locked))
    if occupied and not found.overlay:
        commands.append(command("mv", place, f"{place}.covered"))
    changed = bool(commands) and wanted.root_mountpoint is None
    if found.canmount != "on":
        commands.append(command("zfs", "set", "canmount=on", found.dataset))
        changed = True
    if found.mountpoint != place:
        commands.append(command("zfs", "inherit", "mountpoint", found.dataset))
        changed = True
    mount = command("zfs", "mount", found.dataset)
    commands.append(f"{_unless_mounted(found.dataset)} || {mount}" if changed else mount)
    return on(wanted.machine, *commands)


def _unless_mounted(dataset: str) -> str:
    return f"{command('zfs', 'get', '-H', '-o', 'value', 'mounted', dataset)} | grep -qx yes"
