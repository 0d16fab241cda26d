"""The walls around `borg serve` that a machine can have, and what it is made to be without for each."""

from __future__ import annotations

from dataclasses import dataclass

from zborg.hosts.wall import LEAST_ABI

# What is replaced in wall.py.
NO_LANDLOCK = ("LEAST_ABI = 3", "LEAST_ABI = 99")  # as with a kernel of ABI 1 or 2
NO_BUBBLEWRAP = ('("/usr/bin/bwrap", "/usr/local/bin/bwrap")', '("/nonexistent/bwrap",)')
NO_NAMESPACES = ("if _libc.unshare(", "if True or _libc.unshare(")


@dataclass(frozen=True)
class Case:
    """`own`: a number for each host. `without`: what this kernel is made to be without."""

    own: bool
    without: tuple[tuple[str, str], ...]
    words: str


def cases(abi: int, bubblewrap: bool) -> dict[str, Case]:
    """Those that a machine can have with this version of Landlock (0: without), and with bwrap or not."""
    best = "uid no-network"
    found = {"a number for each host": Case(True, (NO_LANDLOCK, NO_BUBBLEWRAP), best)}
    if bubblewrap:
        found["bubblewrap around one account"] = Case(False, (NO_LANDLOCK,), "bwrap no-network")
        best = "uid bwrap no-network"
    if abi >= LEAST_ABI:
        words = f"landlock-{abi} no-network"
        found["Landlock around one account"] = Case(False, (NO_BUBBLEWRAP,), words)
        best = f"uid {words}"
    return found | {"all that this machine has": Case(True, (), best)}


NOTHING = Case(False, (NO_LANDLOCK, NO_BUBBLEWRAP, NO_NAMESPACES), "none network")
