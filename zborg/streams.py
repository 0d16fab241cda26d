"""Processes joined by pipes: two in a ring for a tunnel, a chain for a transfer.

No byte of the data passes through Python; what is read here is what they say on stderr. (`pour` copies
where the kernel cannot.)
"""

from __future__ import annotations

import errno
import os
import select
import selectors
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from zborg.errors import Interrupted, TimedOut
from zborg.interrupt import cancelled
from zborg.model import Adopt, Child

_TICK = 0.5  # seconds; how often a wait looks at its children, its deadline and `cancelled`
_TOGETHER = 0.1  # seconds; lines that come within it are handed out at once
# When one end of a joined pair is gone the other has seen the end of its input: borg may still be
# writing its caches, which took seconds on repositories of millions of files.
_LAST_WORDS = 30.0
_REST = 2.0  # seconds for output that was written before all children were gone
_PIPE_SIZE = 1 << 20
_F_SETPIPE_SZ = 1031  # Linux; fcntl names it from Python 3.10 on, but only where the libc does
_MAX_LINE = 1 << 20
_NO_SPLICE = (errno.EINVAL, errno.ENOSYS)

Lines = Callable[[str, Sequence[str]], None]  # (who, its lines that came at once)
Start = Callable[[int, int], Child]  # (stdin, stdout)


@contextmanager
def pipe() -> Iterator[tuple[int, int]]:
    """A large pipe (read end, write end) that is closed in this process when the block ends."""
    ends = os.pipe()
    try:
        _enlarge(ends[1])
        yield ends
    finally:
        for end in ends:
            os.close(end)


def _enlarge(end: int) -> None:
    import fcntl

    with suppress(OSError):  # beyond the user's pipe quota, or not Linux: only slower
        fcntl.fcntl(end, _F_SETPIPE_SZ, _PIPE_SIZE)


@dataclass(frozen=True, slots=True)
class Spare:
    """A read end that stays open for a writer whose reader may die first.

    When nobody can read ssh's stdout any more, ssh has the far side's stderr closed as well
    (eow@openssh.com), and with it goes the reason why borg ended. So this end stays, and what
    arrives is thrown away once `reader` is gone. Until then `check` is called twice a second, and
    may raise to end the pair.
    """

    end: int
    reader: Child
    check: Callable[[], None] | None = None


def join(first: Start, second: Start) -> tuple[Child, Child, Spare]:
    """Two processes, each with the other's stdout as its stdin; the Spare is for pump()."""
    with pipe() as (from_first, of_first), pipe() as (from_second, of_second):
        one = first(from_second, of_first)
        try:
            two = second(from_first, of_second)
            return one, two, Spare(os.dup(from_first), two)
        except BaseException:
            one.stop()
            raise


def chain(
    source: Callable[[int], Child], sink: Callable[[int], Child], through: Start | None = None
) -> tuple[Child, ...]:
    """Two processes, the first's stdout being the second's stdin; with `through` a third between them."""
    with pipe() as (reading, writing):
        started = [source(writing)]
        try:
            if through is None:
                return started[0], sink(reading)
            with pipe() as (limited, limiting):
                started.append(through(reading, limiting))
                return *started, sink(limited)
        except BaseException:
            for child in started:
                child.stop()
            raise


class Pace:
    """The slowest that a source may be: `least` bytes for every `seconds` that were spent waiting for it.

    Time in which nobody takes what has come does not count: that is not the source's doing. A drip of single
    bytes is as bad as silence.
    """

    def __init__(self, seconds: float, least: int) -> None:
        self._seconds, self._least = seconds, least
        self._waited, self._moved = 0.0, 0

    def await_more(self, source: int) -> None:
        """Return when there is something to read, or its end. Raises TimedOut."""
        begun = time.monotonic()
        _await(source, self._seconds - self._waited, self._seconds)
        self._waited += time.monotonic() - begun

    def moved(self, count: int) -> None:
        """Note that `count` bytes were read."""
        self._moved += count
        if self._moved >= self._least:
            self._waited, self._moved = 0.0, 0


def pour(source: int, target: int, pace: Pace | None = None) -> None:
    """Move what comes from `source` until it ends or nobody reads `target` (a pipe).

    Inside the kernel where it can be done: Linux, from a socket or a pipe. Raises TimedOut for a source that
    is slower than `pace`.
    """
    with suppress(ConnectionError):  # either end is gone: who reads `target` will say what that means
        move = _splice
        while True:
            if pace:
                pace.await_more(source)
            try:
                count = move(source, target)
            except (AttributeError, OSError) as error:
                if move is _copy or isinstance(error, OSError) and error.errno not in _NO_SPLICE:
                    raise
                move = _copy
                continue
            if not count:
                return
            if pace:
                pace.moved(count)


def _splice(source: int, target: int) -> int:
    return os.splice(source, target, _PIPE_SIZE)


def _copy(source: int, target: int) -> int:
    chunk = memoryview(os.read(source, _PIPE_SIZE))
    count = len(chunk)
    while chunk:
        chunk = chunk[os.write(target, chunk) :]
    return count


def first_bytes(source: int, count: int, patience: float) -> bytes:
    """What comes first, or all that comes. Raises TimedOut after `patience` seconds, however it drips."""
    data = b""
    deadline = time.monotonic() + patience
    with suppress(ConnectionError):
        while len(data) < count:
            _await(source, deadline - time.monotonic(), patience)
            if not (chunk := os.read(source, count - len(data))):
                break
            data += chunk
    return data


def _await(source: int, left: float, patience: float) -> None:
    """Until `source` can be read. Raises TimedOut when `left` seconds of `patience` have passed."""
    deadline = time.monotonic() + left
    while not select.select([source], [], [], max(min(_TICK, left), 0))[0]:
        if cancelled.is_set():
            raise Interrupted("interrupted")
        if time.monotonic() > deadline:
            raise TimedOut(("read",), -1, "", f"no data came within {patience:g} s")


def fed(start: Callable[[int], Child], write: Callable[[int], None]) -> Child:
    """A process whose stdin is what `write` puts into the descriptor that it is given.

    In a thread, because the process may end first while the source is silent: nobody waits for it.
    """
    with pipe() as (reading, writing):
        child = start(reading)
        target = os.dup(writing)
    threading.Thread(target=_write, args=(write, target), daemon=True).start()
    return child


def _write(write: Callable[[int], None], target: int) -> None:
    try:
        with suppress(BrokenPipeError):  # the process ended; its status says why
            write(target)
    finally:
        os.close(target)


def pump(
    children: Mapping[str, Child],
    on_lines: Lines,
    *,
    timeout: float,
    adopt: Adopt | None = None,
    spare: Spare | None = None,
    after: Mapping[str, float] | None = None,
) -> dict[str, int]:
    """Hand every stderr line to `on_lines` until all children have ended; returns their statuses.

    Raises TimedOut after `timeout` seconds and Interrupted when asked to stop. However it is left,
    every child has ended. Once one is gone the others get `_LAST_WORDS` seconds, or what `after` says
    of the one that is gone, if it ended well. Who was stopped then has the status -SIGTERM.
    """
    patience = _Patience(timeout, after or {})
    try:
        if adopt:
            adopt(*children.values())
        with _LineReader(children, on_lines) as reader:
            _listen(children, reader, patience, spare)
    finally:
        statuses = {who: child.stop() for who, child in children.items()}
        for child in children.values():
            child.close()
        if spare:
            os.close(spare.end)
    # ssh makes 255 of SIGTERM, without a word: it would pass for a lost connection.
    return statuses | dict.fromkeys(patience.stopped, -signal.SIGTERM)


def _listen(
    children: Mapping[str, Child], reader: _LineReader, patience: _Patience, spare: Spare | None
) -> None:
    while patience.check({who: child.poll() for who, child in children.items()}, children):
        reader.listen(_TICK)
        if spare and spare.reader.poll() is not None:
            reader.discard(spare.end)
            spare = None
        elif spare and spare.check:
            spare.check()
    reader.read_rest()


class _Patience:
    """How long the children may take: all of them together, and the last after the first.

    `stopped` names those who did not end by themselves after the first.
    """

    def __init__(self, timeout: float, after: Mapping[str, float]) -> None:
        self._timeout, self._deadline = timeout, time.monotonic() + timeout
        self._after, self._last_words = after, 0.0
        self.stopped: list[str] = []

    def check(self, statuses: Mapping[str, int | None], children: Mapping[str, Child]) -> bool:
        """Whether any still runs, and may. Raises Interrupted, TimedOut."""
        ended = {who: status for who, status in statuses.items() if status is not None}
        if len(ended) == len(statuses):
            return False
        if cancelled.is_set():
            raise Interrupted("interrupted")
        now = time.monotonic()
        if now > self._deadline:
            argv = next(iter(children.values())).argv
            raise TimedOut(argv, -1, "", f"not finished within {self._timeout:g} s")
        if ended:
            self._last_words = self._last_words or now + self._left(ended)
            if now > self._last_words:
                self._stop(children)
        return True

    def _left(self, ended: Mapping[str, int]) -> float:
        return min(
            _LAST_WORDS if status else self._after.get(who, _LAST_WORDS) for who, status in ended.items()
        )

    def _stop(self, children: Mapping[str, Child]) -> None:
        for who, child in children.items():
            if child.poll() is None and child.stop():
                self.stopped.append(who)


_NOBODY = ""  # the `who` of bytes that are thrown away


class _LineReader:
    """Listens to the stderr of several children and cuts it into lines."""

    def __init__(self, children: Mapping[str, Child], on_lines: Lines) -> None:
        self._on_lines, self._selector = on_lines, selectors.DefaultSelector()
        self._lines: dict[str, list[str]] = {}  # those that were not handed out yet
        for who, child in children.items():
            self._selector.register(child.stderr, selectors.EVENT_READ, (who, bytearray()))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._selector.close()

    def discard(self, end: int) -> None:
        """From now on read this descriptor too, and forget what comes."""
        self._selector.register(end, selectors.EVENT_READ, (_NOBODY, bytearray()))

    def listen(self, seconds: float) -> None:
        """Wait so long for the first line, and take what comes just after it as well.

        A stream that ends is the end of it: its process is about to end too.
        """
        if not self._read(seconds):
            return
        deadline, open_ = time.monotonic() + _TOGETHER, len(self._selector.get_map())
        while (left := deadline - time.monotonic()) > 0 and len(self._selector.get_map()) == open_ > 0:
            if not self._read(left):
                break
        self._hand_out()

    def read_rest(self) -> None:
        """What is there, and not until the end: grandchildren may hold stderr open, and go on talking."""
        deadline = time.monotonic() + _REST
        while time.monotonic() < deadline and self._read(0.05):
            pass
        for key in self._selector.get_map().values():
            who, rest = key.data
            self._cut(who, rest, at_end=True)
        self._hand_out()

    def _read(self, seconds: float) -> bool:
        """One round over the readable streams; False when none had anything."""
        if not self._selector.get_map():
            time.sleep(min(seconds, 0.02))  # every stream has ended, a process has not: it is about to
            return False
        ready = self._selector.select(seconds)
        for key, _ in ready:
            who, rest = key.data
            chunk = os.read(key.fd, 65536)
            rest += chunk
            if not chunk:
                self._selector.unregister(key.fd)
            self._cut(who, rest, at_end=not chunk)
        return bool(ready)

    def _cut(self, who: str, rest: bytearray, *, at_end: bool) -> None:
        if who == _NOBODY:
            rest.clear()
        *whole, left = rest.split(b"\n")
        lines = [_text(line).rstrip("\r") for line in whole]
        if left and (at_end or len(left) > _MAX_LINE):
            lines.append(_text(left))
            left = bytearray()
        rest[:] = left
        if lines:
            self._lines.setdefault(who, []).extend(lines)

    def _hand_out(self) -> None:
        while self._lines:
            who = next(iter(self._lines))
            self._on_lines(who, self._lines.pop(who))


def _text(data: bytearray) -> str:
    return data.decode("utf-8", "replace")
