"""The console script. `zborg sink [--read] ROOT` goes around typer: sshd starts it for each single command.

The fastest of 15 starts with a `date`: 83 ms through typer, 51 ms without; a bare Python 18.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Sequence
from typing import NoReturn

_GARBAGE = 50_000
"""New objects before Python looks for cycles: with its 700 that was 2 % of each start, for imports alone."""


def run() -> NoReturn:
    """The exit code is one of zborg.errors.Exit, or the status of the sender's `zfs`."""
    gc.set_threshold(_GARBAGE)
    root, read = _sink_of(sys.argv[1:])
    if not root:
        from zborg.cli.main import run as whole

        whole()
    sys.exit(_sink(root, read=read))


def _sink_of(words: Sequence[str]) -> tuple[str, bool]:
    """ROOT of exactly `sink ROOT` or `sink --read ROOT`; all else, --help and --raw too, typer reads."""
    first, last = list(words[:-1]), words[-1] if words else ""
    plain, read = first == ["sink"], first == ["sink", "--read"]
    return (last, read) if (plain or read) and not last.startswith("-") else ("", False)


def _sink(root: str, *, read: bool) -> int:
    from zborg.cli.offsite.forced import sink

    return sink(root, read=read)


if __name__ == "__main__":
    run()
