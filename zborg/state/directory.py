"""Where zborg keeps what it must remember between runs."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from zborg.errors import ConfigError
from zborg.model.text import os_errors

_OURS = {"locks", "runs", "frozen", "known", "escrow", "sessions", "ledger"}
"""Directories that zborg makes in it."""


def narrow(state: Path) -> str:
    """Close a state directory that others may look into, and return what was done; "" when nothing was.

    What may be more than zborg's own (a directory of everybody's, of another user, or with directories of
    others in it) stays as it is, and doctor names it: to close /var/lib would stop a system. Raises OSError.
    """
    facts = state.stat()
    mode = stat.S_IMODE(facts.st_mode)
    if not mode & 0o077 or mode & stat.S_ISVTX or facts.st_uid != os.geteuid():
        return ""
    if any(one.is_dir() and one.name not in _OURS for one in state.iterdir()):
        return ""
    state.chmod(0o700)
    return f"others could look into {state} (mode {mode:04o}): its mode is 0700 now"


def prepare_state(state: Path, *, make: bool) -> Path:
    """The state directory, 0700. Only `zborg init` makes it."""
    try:
        if make:
            for directory in (state, state / "locks", state / "runs"):
                directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not (state / "runs").is_dir():
            raise ConfigError(f"the state directory {state} does not exist", "zborg init")
        next((state / "runs").iterdir(), None)  # or a reader without rights would see an empty history
    except OSError as error:
        message, look = os_errors.describe(error, str(state))
        raise ConfigError(f"the state directory {state} cannot be used: {message}", look) from error
    return state
