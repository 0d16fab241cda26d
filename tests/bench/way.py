"""scripts/bench way: through how many files a backup and a replication go, and the calls between them.

Counted by Python's profile hook below cli/, on a real borg through a real tunnel: what a reader has to follow
who wants to know what `zborg backup web1` does. A move is a call from a function of one file to another's.
"""

from __future__ import annotations

import os
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import zborg
from tests.harness.steps import backup, replicate, snapshot
from tests.harness.watch import next_second
from tests.harness.worlds.local import LocalVault
from zborg.errors import Exit
from zborg.model import Report
from zborg.steps.context import Context

_SOURCE = f"{Path(zborg.__file__).parent}/"
_ABOVE = f"{_SOURCE}cli/"


@dataclass
class Way:
    """What was called: the files in which functions ran, and the moves from one to another."""

    files: set[str] = field(default_factory=set)
    moves: Counter[tuple[str, str]] = field(default_factory=Counter)

    def __call__(self, frame: FrameType, event: str, _: Any) -> None:
        if event != "call" or not _is_ours(frame):
            return
        file, caller = frame.f_code.co_filename, frame.f_back
        while caller is not None and not _is_ours(caller):
            caller = caller.f_back
        self.files.add(file)
        if caller is not None and caller.f_code.co_filename != file:
            self.moves[caller.f_code.co_filename, file] += 1

    def __str__(self) -> str:
        return f"{len(self.files)} files, {self.moves.total()} moves between them"


def _is_ours(frame: FrameType) -> bool:
    file = frame.f_code.co_filename
    return file.startswith(_SOURCE) and not file.startswith(_ABOVE) and frame.f_code.co_name != "<module>"


@contextmanager
def followed() -> Iterator[Way]:
    """Every call in the block, of all threads that begin in it."""
    way = Way()
    threading.setprofile(way)
    sys.setprofile(way)
    try:
        yield way
    finally:
        sys.setprofile(None)
        threading.setprofile(None)


def ways() -> dict[str, Way]:
    """By step. Each has run once before: what is imported and compiled once is no part of the way."""
    with tempfile.TemporaryDirectory() as directory, closing(LocalVault(Path(directory))) as vault:
        host = vault.add("web1")
        acts: dict[str, Callable[[Context], Report]] = {"backup": backup, "replicate": replicate}
        found = {}
        for turn in range(2):
            (host.data / f"news{turn}").write_bytes(os.urandom(100_000))
            for name, act in acts.items():
                with followed() as found[name]:
                    report = act(vault.context())
                assert report.exit is Exit.OK, f"{name}: {report.outcomes}"
                next_second()
                snapshot(vault.context())
        return found


def main(*, moves: bool) -> None:
    """Print both, or with the busiest moves."""
    for name, way in ways().items():
        print(f"one {name}: {way}")
        for (a, b), number in way.moves.most_common(12 if moves else 0):
            print(f"  {number:>4}  {a.removeprefix(_SOURCE)} -> {b.removeprefix(_SOURCE)}")
