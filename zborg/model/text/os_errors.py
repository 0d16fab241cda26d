"""What this machine's kernel refuses, so that somebody can act on it: place, reason, and what shows it."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from zborg.model.text.remedy import command, remedy

# What a machine refuses, and no fault of zborg's.
MACHINE = frozenset(
    {
        errno.ENOSPC,
        errno.EDQUOT,
        errno.EIO,
        errno.EROFS,
        errno.EACCES,
        errno.EPERM,
        errno.EMFILE,
        errno.ENFILE,
    }
)


def describe(error: OSError, fallback: str = "", what: str = "") -> tuple[str, str]:
    """(message, remedy). The message names this machine and the place, where the kernel named one.

    `fallback` is the place where the error itself names none; `what` is what came of it ("cannot be read").
    """
    place = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else fallback
    reason = error.strerror or str(error)
    subject = f"{place} {what}".strip()
    message = f"on this machine, {subject}: {reason}" if place else f"on this machine: {reason}"
    return message, _remedy(error.errno, place)


def _remedy(number: int | None, place: str) -> str:
    where = [str(Path(place).parent)] if place else []
    if number in (errno.ENOSPC, errno.EDQUOT):
        first = "free room or inodes there, or raise the quota, and run again; what is used:"
        return remedy(command("df", "-h", *where), command("df", "-i", *where), first=first)
    if number == errno.EROFS:
        return remedy(
            command("mount"), first="it is mounted read-only: find out why, then mount it for writing:"
        )
    if number == errno.EIO:
        return remedy(command("dmesg"), first="the disk below it may be failing; what the kernel says of it:")
    if number in (errno.EACCES, errno.EPERM):
        first = "run zborg as root, or as the owner of it:"
        return remedy(command("ls", "-ld", *where), first=first)
    if number in (errno.EMFILE, errno.ENFILE):
        first = "too many files are open here; how many are, and may be:"
        return remedy(command("cat", "/proc/sys/fs/file-nr"), first=first)
    return remedy(command("ls", "-ld", *where), first="look at it, and run again:") if where else ""
