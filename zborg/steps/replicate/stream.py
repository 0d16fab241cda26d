"""One stream: `zfs send` joined with `zfs receive`, its progress, and what a failure of either means."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from zborg.activity import Floor
from zborg.errors import CommandFailed, TimedOut, Unreachable
from zborg.model import Adopt, Child, Emit, Runner
from zborg.model.events import Progress
from zborg.model.text.remedy import remedy
from zborg.model.text.units import duration
from zborg.streams import chain, pump
from zborg.zfs.output.messages import explain
from zborg.zfs.output.parse import progress, size
from zborg.zfs.output.refusals import is_cut, of_receiver

# A first full stream over a slow line takes days; a dead line is noticed by ssh's keepalives.
_LONGEST = 14 * 86400.0
LAST_LINES = 11  # lines of each side, of which its reason is taken
# `zfs send -v` reports once a second, whether bytes move or not; a hung pool or receiver moves none for good.
_STALLED = 2 * 3600.0
# After the sender's end the pipe, ssh's buffers and the receiver's queue still hold data, and the last
# transaction group is to come: hours on a slow line or a busy pool.
_ARRIVING = 6 * 3600.0
_AGAIN = remedy("zborg replicate", first="what arrived is kept, and the next run goes on from it:")
_NO_LINE = 255  # ssh's own status, and what it makes of a command that a signal ended
_WHERE = {"send": "the storage", "receive": "the target"}

Start = Callable[[int], Child]  # with its end of the pipe


@dataclass(frozen=True, slots=True)
class Limit:
    """At most so many bytes a second, by pv(1) on the machine that `runner` runs commands on."""

    runner: Runner
    rate: int

    def start(self, stdin: int, stdout: int) -> Child:
        """A link of a chain of processes."""
        return self.runner.start(["pv", "-q", "-L", str(self.rate)], stdin=stdin, stdout=stdout)


def transfer(send: Start, receive: Start, meter: Meter, adopt: Adopt, limit: Limit | None = None) -> None:
    """Send one stream to its end. Raises CommandFailed of the end that is to blame, or Unreachable.

    A StreamRefused where the receiver gave its reason.
    """
    output: dict[str, list[str]] = {"send": [], "limit": [], "receive": []}

    def listen(who: str, lines: Sequence[str]) -> None:
        others = meter.feed_lines(lines) if who == "send" else lines
        output[who] = [*output[who], *others][-LAST_LINES:]

    children = chain(send, receive, limit.start if limit else None)
    pair = dict(zip(("send", "limit", "receive") if limit else ("send", "receive"), children, strict=True))
    after = {"send": _ARRIVING, "limit": _ARRIVING}
    statuses = pump(pair, listen, timeout=_LONGEST, adopt=adopt, after=after)
    if any(statuses.values()):
        who = to_blame(statuses, output["receive"])
        error = _failure(who, pair[who].argv, statuses[who], reason(pair[who], statuses[who], output[who]))
        raise of_receiver(error) if who == "receive" else error


def to_blame(statuses: Mapping[str, int], received: Sequence[str]) -> str:
    """A receive that refuses breaks the sender's pipe; one that got a part only does not know why."""
    stopped = statuses["receive"] == -signal.SIGTERM
    unaware = stopped or any(map(is_cut, received))
    sender_failed = statuses["send"] not in (0, -signal.SIGPIPE)
    if sender_failed and unaware:
        return "send"
    if statuses.get("limit") and (unaware or not statuses["receive"]):
        return "limit"
    return "receive" if statuses["receive"] else "send"


def reason(child: Child, status: int, output: Sequence[str]) -> str:
    """ssh's own log where the connection failed, else what the command printed."""
    broken = child.connection.text if status == _NO_LINE else ""
    return broken or "\n".join(output)


def _failure(who: str, argv: Sequence[str], status: int, words: str) -> CommandFailed:
    if who == "limit":
        why = "pv, which limits the bandwidth, ended before the stream did"
        return CommandFailed(("pv",), status, words, why, _AGAIN)
    if status == _NO_LINE and argv[0] == "ssh":
        return Unreachable(("zfs", who), status, words, f"lost the connection to {_WHERE[who]}", _AGAIN)
    if status == -signal.SIGTERM:
        why = f"zfs {who} was stopped: it went on for too long after the other end was gone"
        return CommandFailed(("zfs", who), status, words, why, _AGAIN)
    return explain(
        CommandFailed(("zfs", who), status, words, remedy=_AGAIN), ("zfs", who), f"on {_WHERE[who]}"
    )


class Meter:
    """Progress from the sender's lines: bytes, rate, and what is left of the announced size."""

    def __init__(self, emit: Emit, subject: str, longest: float = _STALLED) -> None:
        """`longest`: seconds without progress after which feed() raises TimedOut."""
        self._emit, self._subject, self._longest = emit, subject, longest
        self._started = time.monotonic()
        self._floor = Floor(longest, self._started)
        self._total, self._bytes = 0, 0

    @property
    def sent(self) -> int:
        """A short stream ends before its first line of progress: then what was announced is all we know."""
        return max(self._bytes, self._total)

    def feed_lines(self, lines: Iterable[str]) -> list[str]:
        """Take lines in; returns those that are none of progress. Raises TimedOut, see `feed`."""
        return [line for line in lines if not self.feed(line)]

    def feed(self, line: str) -> bool:
        """Take a line; False when it was none of progress. Raises TimedOut for a stream that has stalled."""
        if line.startswith("size"):
            self._total = size(line)
            return True
        if (sent := progress(line)) is None:
            return line.startswith(("full\t", "incremental\t", "resume "))
        self._bytes = sent
        if self._floor.stalled(time.monotonic(), sent):
            why = f"{self._subject}: no data moved for {duration(self._longest)}, on either side"
            raise TimedOut(("zfs", "send"), -1, "", why, _AGAIN)
        self._tell()
        return True

    def _tell(self) -> None:
        rate = self._bytes / max(time.monotonic() - self._started, 0.1)
        left = max(self._total - self._bytes, 0) / max(rate, 1) if self._total else None
        total = self._total or None
        self._emit(Progress(self._subject, bytes=self._bytes, rate=rate, total=total, remaining=left))
