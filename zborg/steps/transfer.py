"""One stream: `zfs send` joined with `zfs receive`, its progress, and what a failure of either means."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable

from zborg.errors import CommandFailed
from zborg.model import Adopt, Child, Emit, Event
from zborg.streams import chain, pump
from zborg.zfs.parse import progress, size

# A first full stream over a slow line takes days; a dead line is noticed by ssh's keepalives.
_LONGEST = 14 * 86400.0
# After the sender's end the pipe, ssh's buffers and the receiver's queue still hold data, and the last
# transaction group is to come: hours on a slow line or a busy pool.
_ARRIVING = 6 * 3600.0
_AGAIN = "run zborg replicate again: what arrived is kept"

Start = Callable[[int], Child]  # with its end of the pipe


def transfer(send: Start, receive: Start, meter: Meter, adopt: Adopt) -> None:
    """Send one stream to its end. Raises CommandFailed for the end that is to blame."""
    said: dict[str, list[str]] = {"send": [], "receive": []}

    def listen(who: str, line: str) -> None:
        if who != "send" or not meter.feed(line):
            said[who] = [*said[who][-10:], line]

    source, sink = chain(send, receive)
    pair = {"send": source, "receive": sink}
    statuses = pump(pair, listen, timeout=_LONGEST, adopt=adopt, after={"send": _ARRIVING})
    for who in ("receive", "send"):  # a receive that refuses breaks the sender's pipe
        if statuses[who]:
            raise _failure(who, statuses[who], "\n".join(said[who]))


def _failure(who: str, status: int, words: str) -> CommandFailed:
    if status == -signal.SIGTERM:
        why = f"zfs {who} was stopped: it went on for too long after the other end was gone"
        return CommandFailed(("zfs", who), status, words, why, f"zpool status there; then {_AGAIN}")
    return CommandFailed(("zfs", who), status, words, f"zfs {who} failed", _AGAIN)


class Meter:
    """Progress from the sender's lines: bytes, rate, and what is left of the announced size."""

    def __init__(self, emit: Emit, subject: str) -> None:
        self._emit, self._subject = emit, subject
        self._started = time.monotonic()
        self._total, self._bytes = 0, 0

    @property
    def sent(self) -> int:
        """A short stream ends before its first line of progress: then what was announced is all we know."""
        return max(self._bytes, self._total)

    def feed(self, line: str) -> bool:
        """Take a line; False when it was none of progress."""
        if line.startswith("size"):
            self._total = size(line)
            return True
        if (sent := progress(line)) is None:
            return line.startswith(("full\t", "incremental\t", "resume "))
        self._bytes = sent
        self._tell()
        return True

    def _tell(self) -> None:
        rate = self._bytes / max(time.monotonic() - self._started, 0.1)
        data = {"bytes": self._bytes, "rate": rate}
        if self._total:
            data |= {"total": self._total, "remaining": max(self._total - self._bytes, 0) / max(rate, 1)}
        self._emit(Event("progress", self._subject, data=data))
