"""The console script. `zborg sink ROOT` goes around typer: sshd starts it for each command of a sender.

The fastest of 15 starts with a `date`: 83 ms through typer, 51 ms without; a bare Python 18.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial
from typing import NoReturn


def run() -> NoReturn:
    """The exit code is one of zborg.errors.Exit, or what `zfs` said to a sender."""
    root = _sink_of(sys.argv[1:])
    if root is None:
        from zborg.cli.main import run as whole

        whole()
    sys.exit(_sink(root))


def _sink_of(words: Sequence[str]) -> str | None:
    """ROOT of exactly `sink ROOT`; all else, --help and --raw too, typer reads."""
    return words[1] if len(words) == 2 and words[0] == "sink" and not words[1].startswith("-") else None


def _sink(root: str) -> int:
    from zborg.cli.sink import sink

    try:
        return sink(root)
    except Exception as error:
        from zborg.cli.main import guarded

        return guarded(partial(_raise, error))


def _raise(error: Exception) -> NoReturn:
    raise error


if __name__ == "__main__":
    run()
