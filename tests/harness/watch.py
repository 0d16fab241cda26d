"""Waiting for what can be observed, and looking at processes, by /proc. Linux only."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

# Seconds. It only ends a hang: what a test waits for takes a fraction of it, and what must not be waited
# for takes ten times as long. How long something takes is measured by scripts/bench, never by a test.
HANG = 60.0


def until(look: Callable[[], T | None], what: str, seconds: float = HANG) -> T:
    """The first true value of `look`. Raises AssertionError with `what` after `seconds`."""
    deadline = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        time.sleep(0.002)
    return found


def next_second() -> None:
    """Names of archives and snapshots are to the second."""
    now = int(time.time())
    until(lambda: int(time.time()) > now, "the clock goes on", 3)


def adopted(state: Path, lock: str) -> list[int]:
    """The processes that the holder of this lock of zborg's has started, oldest first."""
    with suppress(OSError, ValueError):
        return [pid for pid, _ in json.loads((state / "locks" / f"{lock}.owner").read_text())["children"]]
    return []


def newest_pair(state: Path, lock: str) -> tuple[int, int] | None:
    """The two joined processes of the newest stream or verb under this lock."""
    pids = adopted(state, lock)
    return (pids[-2], pids[-1]) if len(pids) >= 2 else None


def passed(pid: int, kind: str) -> int:
    """Bytes a process has read (`rchar`) or written (`wchar`); 0 when it is gone."""
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/io").read_text().splitlines():
            if line.startswith(f"{kind}:"):
                return int(line.split()[1])
    return 0


def streamed(zborg: int) -> int:
    """Bytes of a replication's streams that went through its ssh, one's own or one that all share."""
    return max((passed(child, "rchar") for child in children(zborg)), default=0)


def kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def command_line(pid: int) -> bytes:
    return _read(pid, "cmdline")


def environment(pid: int) -> bytes:
    return _read(pid, "environ")


def _read(pid: int, name: str) -> bytes:
    with suppress(OSError):
        return Path(f"/proc/{pid}/{name}").read_bytes()
    return b""


def _parent(pid: int) -> int:
    with suppress(OSError, IndexError, ValueError):
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return 0


def all_pids() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def assert_all_ended(directory: Path, seconds: float = HANG) -> None:
    """No process has to do with `directory` any more, or soon."""
    deadline = time.monotonic() + seconds
    while found := processes_of(directory):
        assert time.monotonic() < deadline, f"after {seconds:g} s there still are {found}"
        time.sleep(0.05)


def children(parent: int) -> list[int]:
    return [pid for pid in all_pids() if _parent(pid) == parent]


def descendants(root: int) -> set[int]:
    """`root` and all that it or its children started and that still belong to it."""
    parents = {pid: _parent(pid) for pid in all_pids()}
    found, size = {root}, 0
    while len(found) > size:
        size = len(found)
        found |= {pid for pid, parent in parents.items() if parent in found}
    return found


def processes_of(directory: Path) -> dict[int, str]:
    """Processes whose command line or environment names `directory`, without ourselves and any sshd."""
    needle, found = os.fsencode(directory), {}
    for pid in all_pids():
        words = command_line(pid)
        if pid == os.getpid() or not words:
            continue
        # sshd writes "sshd: ..." over its whole command line
        is_sshd = Path(os.fsdecode(words.split(b"\0")[0].split(b":")[0])).name.startswith("sshd")
        if not is_sshd and needle in words + b"\0" + environment(pid):
            found[pid] = words.replace(b"\0", b" ").decode(errors="replace").strip()
    return found
