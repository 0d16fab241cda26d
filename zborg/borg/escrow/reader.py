"""The manifest of a repository in a snapshot, and whether an answer was made by who has read one.

As with reader.py of the storage, every line comes from a process that looked at what a hostile host may have
made: bounded and typed, and what does not fit is no answer.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from zborg.borg.storage.reader import MODULES, WHOLE_DAY, Unreadable, ask, typed
from zborg.model import Runner

_OPENING = (*MODULES, Path(__file__).parent / "opening.py")
_ID = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class FoundManifest:
    """A repository's id, its last transaction, and the entry of its manifest as a segment has it."""

    repository: str
    transaction: int
    entry: bytes


def manifest_of(storage: Runner, path: str, seconds: float = WHOLE_DAY) -> FoundManifest | Unreadable | None:
    """Of the repository below the directory `path`, a snapshot's; None where there is none that is whole.

    `storage` runs as root there. Raises ZborgError when the command itself fails.
    """
    (lines,) = ask(storage, [_task(path, {})], _OPENING, seconds)
    return typed(lines, manifest)


def is_author(
    storage: Runner, path: str, message: bytes, mac: bytes, seconds: float = WHOLE_DAY
) -> bool | Unreadable:
    """Whether the id of an object in that repository is the key with which `mac` was made of `message`."""
    asked = {"message": message.hex(), "mac": mac.hex()}
    (lines,) = ask(storage, [_task(path, asked)], _OPENING, seconds)
    return typed(lines, partial(_has, kind="author"))


def _task(path: str, asked: Mapping[str, str]) -> Mapping[str, Any]:
    return {"path": path, "opening": asked}


def manifest(lines: Sequence[str]) -> FoundManifest | None:
    """What the lines of one home say. Raises ValueError for lines that are none of ours."""
    repository, transaction, digest, entry = "", -1, "", bytearray()
    for line in lines:
        kind, first, *more = [*line.split(" "), ""]
        if kind == "id" and _ID.fullmatch(first):
            repository = first
        elif kind == "last":
            transaction = int(first)
        elif kind == "manifest":
            digest = more[0]
        elif kind == "entry":
            entry += bytes.fromhex(first)
        else:
            raise ValueError(f"{line[:80]!r}")
    if not repository or not entry:
        return None
    if hashlib.sha256(entry).hexdigest() != digest:
        raise ValueError("its manifest did not arrive whole")
    return FoundManifest(repository, transaction, bytes(entry))


def _has(lines: Sequence[str], kind: str) -> bool:
    return any(line.startswith(f"{kind} ") for line in lines)
