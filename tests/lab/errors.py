"""What can go wrong in the lab.

LabError
    The lab cannot do what was asked; the message says why and what to do.
CommandFailed(LabError)
    A command ended with a status other than 0, or not in time.
GuestDied(LabError)
    The guest's QEMU has ended, and nobody asked for it; the message ends with its console.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence


class LabError(Exception):
    """The lab cannot do what was asked."""


class GuestDied(LabError):
    """A guest that should run does not."""

    def __init__(self, name: str, console: str, how: str = "its QEMU has ended") -> None:
        super().__init__(f"guest {name}: {how}; its console ends:\n{console or '(empty)'}")


class CommandFailed(LabError):
    """A command failed; `returncode` is None when it ran out of time."""

    def __init__(self, argv: Sequence[str], returncode: int | None, stderr: str) -> None:
        self.argv = list(argv)
        self.returncode = returncode
        self.stderr = stderr
        how = "did not end in time" if returncode is None else f"ended with status {returncode}"
        super().__init__(f"{shlex.join(self.argv)}: {how}: {stderr.strip() or 'no error text'}")
