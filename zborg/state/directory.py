"""Where zborg keeps what it must remember between runs."""

from __future__ import annotations

from pathlib import Path

from zborg.errors import ConfigError


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
        raise ConfigError(
            f"the state directory {state} cannot be used: {error.strerror}",
            "run zborg as root, or set state_dir",
        ) from error
    return state
