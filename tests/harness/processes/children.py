"""Child processes for tests of zborg.process, and what can be seen of them."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from tests.harness.watch import HANG
from zborg.process import LocalRunner, Process

SH = "/bin/sh"


def until(true: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + HANG
    while not true():
        assert time.monotonic() < deadline, f"waited in vain: {what}"
        time.sleep(0.01)


def alive(pid: int) -> bool:
    """Runs, and is not only waiting to be reaped."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def number_in(path: Path) -> int:
    until(lambda: path.exists() and path.read_text().endswith("\n"), f"{path.name} is written")
    return int(path.read_text())


def sh(script: str, *args: str) -> list[str]:
    return [SH, "-c", script, "sh", *args]


def start(script: str, *args: str) -> Process:
    child = LocalRunner().start(sh(script, *args), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    assert isinstance(child, Process)
    return child


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))
