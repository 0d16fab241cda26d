"""A repository becomes again what it is in one of its snapshots: asks rolling_back.py on the storage."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

from zborg.errors import ZborgError
from zborg.model import Runner

_HERE = Path(__file__).parent
_WALL = _HERE.parents[1] / "hosts" / "wall.py"
_DONE = re.compile(r"restored ([0-9]{1,18}) ([0-9]{1,18}) removed ([0-9]{1,18})\n")
_WHOLE_DAY = 86400.0  # seconds


@dataclass(frozen=True, slots=True)
class RolledBack:
    """Files that were copied out of the snapshot, their bytes, and files that were removed."""

    copied: int
    bytes: int
    removed: int


def roll_back(storage: Runner, home: str, snapshot: str, last: int, nonce: int) -> RolledBack:
    """`home` is the repository, `snapshot` the directory of the snapshot, `last` its last transaction.

    `nonce` is the greatest that was ever seen of it, or -1. `storage` runs as root there, and nobody uses the
    repository meanwhile. Killed anywhere, another call finishes it. Raises CommandFailed with the
    file that could not be written.
    """
    asked = {
        "wall": _WALL.read_text(encoding="utf-8"),
        "home": home,
        "snapshot": snapshot,
        "last": last,
        "nonce": nonce,
    }
    argv = ["python3", "-I", "-S", "-c", (_HERE / "rolling_back.py").read_text(encoding="utf-8")]
    done = storage.run(argv, timeout=_WHOLE_DAY, stdin=json.dumps(asked))
    found = _DONE.fullmatch(done.stdout)
    if found is None:
        raise ZborgError(f"{home} was not rolled back: {done.stdout[:200]!r}")
    return RolledBack(*map(int, found.groups()))
