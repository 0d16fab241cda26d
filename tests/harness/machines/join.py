"""Two processes joined by their pipes: what zborg does with ssh and `borg serve`."""

from __future__ import annotations

import os
import select
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self


@dataclass(frozen=True, slots=True)
class Joined:
    """How both sides ended, and what they said on stderr."""

    status: int
    stderr: str
    serve_status: int
    serve_stderr: str


class Pair:
    """`left` and `right`, each with the other's stdout as its stdin. Their stderr goes to files."""

    def __init__(
        self,
        left: Sequence[str],
        right: Sequence[str],
        directory: Path,
        *,
        right_cwd: Path | None = None,
        right_env: Mapping[str, str] | None = None,
    ) -> None:
        self._logs = [directory / "left.stderr", directory / "right.stderr"]
        to_right, from_left = os.pipe()
        to_left, from_right = os.pipe()
        with open(self._logs[0], "wb") as left_log, open(self._logs[1], "wb") as right_log:
            self.right = subprocess.Popen(
                right, stdin=to_right, stdout=from_right, stderr=right_log, cwd=right_cwd, env=right_env
            )
            self.left = subprocess.Popen(left, stdin=to_left, stdout=from_left, stderr=left_log)
        # Kept open here, these ends would hide from either side that the other has gone. One must stay:
        # when nobody can read ssh's stdout any more, it has the other side's stderr closed as well
        # (eow@openssh.com), and the reason why borg ended is lost. It is drained once right has gone.
        for end in (from_left, to_left, from_right):
            os.close(end)
        self._to_right = to_right

    def left_stderr(self) -> str:
        """What left has said so far."""
        return self._logs[0].read_text(errors="replace")

    def wait(self, timeout: float) -> Joined:
        """Wait for both. Raises subprocess.TimeoutExpired; the context then kills what is left."""
        deadline = time.monotonic() + timeout
        serve_status = self.right.wait(timeout)
        while select.select([self._to_right], [], [], max(0, deadline - time.monotonic()))[0]:
            if not os.read(self._to_right, 1 << 16):
                break
        status = self.left.wait(max(0.1, deadline - time.monotonic()))
        return Joined(status, self.left_stderr(), serve_status, self._logs[1].read_text(errors="replace"))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in (self.left, self.right):
            if process.poll() is None:
                process.kill()
            process.wait()
        os.close(self._to_right)
