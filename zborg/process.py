"""The local Runner: the only user of subprocess.

Children get a clean environment and a session of their own, and die with the thread that started
them: a killed zborg would otherwise leave `borg serve` running beside a free lock.
"""

from __future__ import annotations

import os
import selectors
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import IO

from zborg.errors import CommandFailed, Interrupted, TimedOut
from zborg.model import Child, Completed

# Set by the signal handlers of the command line; every wait in this module looks at it.
cancelled = threading.Event()

_TICK = 0.5  # how often a wait looks at `cancelled`
# When one end of a joined pair is gone the other has seen the end of its input: borg may still be
# writing its caches, which took seconds on repositories of millions of files.
_LAST_WORDS = 30.0
_PIPE_SIZE = 1 << 20
_F_SETPIPE_SZ = 1031  # Linux; fcntl names it from Python 3.10 on, but only where the libc does
_MAX_LINE = 1 << 20


def clean_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """What a child may know: never a secret, never the user's locale or SSH agent."""
    kept = {key: os.environ[key] for key in ("PATH", "HOME", "TMPDIR") if key in os.environ}
    return kept | {"LC_ALL": "C", "TZ": "UTC"} | dict(extra or {})


class Process:
    """A started process: a model.Child."""

    def __init__(self, argv: Sequence[str], popen: subprocess.Popen[bytes]) -> None:
        self.argv = tuple(argv)
        self._popen = popen

    @property
    def stderr(self) -> int:
        stream: IO[bytes] | None = self._popen.stderr
        assert stream is not None  # start() always asks for the pipe
        return stream.fileno()

    @property
    def pid(self) -> int:
        return self._popen.pid

    def poll(self) -> int | None:
        return self._popen.poll()

    def stop(self, grace: float = 5.0) -> int:
        """SIGTERM to the group, SIGKILL after `grace` seconds; returns the exit status."""
        for number, wait in ((signal.SIGTERM, grace), (signal.SIGKILL, None)):
            if self._popen.poll() is None:
                self._signal(number)
            with suppress(subprocess.TimeoutExpired):
                return self._popen.wait(wait)
        raise AssertionError("a process survived SIGKILL")  # wait(None) returns or blocks

    def close(self) -> None:
        """Give the pipe back."""
        if self._popen.stderr is not None:
            self._popen.stderr.close()

    def _signal(self, number: int) -> None:
        try:
            os.killpg(self._popen.pid, number)
        except PermissionError:  # `setpriv` gave the process to another user and we are not root
            self._popen.send_signal(number)
        except ProcessLookupError:
            return  # it ended in between


class LocalRunner:
    """Runs commands on this machine, optionally as another user (root only)."""

    def __init__(self, user: str = "", env: Mapping[str, str] | None = None) -> None:
        self._prefix = _prefix(user)
        self._env = dict(env or {})

    def run(self, argv: Sequence[str], *, timeout: float = 60, stdin: str = "") -> Completed:
        popen = self._popen(argv, subprocess.PIPE, subprocess.PIPE)
        try:
            stdout, stderr = _communicate(popen, stdin.encode(), timeout)
        except BaseException:
            Process(argv, popen).stop(grace=1)
            raise
        done = Completed(popen.returncode, _text(stdout), _text(stderr))
        if done.status:
            raise CommandFailed(tuple(argv), done.status, done.stderr)
        return done

    def start(self, argv: Sequence[str], *, stdin: int, stdout: int) -> Child:
        return Process(argv, self._popen(argv, stdin, stdout))

    def _popen(self, argv: Sequence[str], stdin: int, stdout: int) -> subprocess.Popen[bytes]:
        try:
            return subprocess.Popen(
                [*self._prefix, *argv],
                stdin=stdin,
                stdout=stdout,
                stderr=subprocess.PIPE,
                env=clean_environment(self._env),
                start_new_session=True,
            )
        except OSError as error:
            raise CommandFailed(
                tuple(argv), 127, str(error), f"cannot run {argv[0]}", f"install {argv[0]}"
            ) from error


def _prefix(user: str) -> list[str]:
    """`setpriv` ties the child to its parent and gives it another user; FreeBSD has no setpriv."""
    setpriv = shutil.which("setpriv") if sys.platform == "linux" else None
    words = [setpriv, "--pdeathsig", "TERM"] if setpriv else []
    if user and os.geteuid() == 0 and user != "root":
        if not setpriv:
            return ["su", "-m", user, "-c", 'exec "$0" "$@"', "--"]
        words += ["--reuid", user, "--regid", user, "--init-groups", "--no-new-privs"]
    return [*words, "--"] if words else []


def _communicate(popen: subprocess.Popen[bytes], stdin: bytes, timeout: float) -> tuple[bytes, bytes]:
    """communicate() that also ends when zborg is asked to stop."""
    deadline = time.monotonic() + timeout
    data: bytes | None = stdin
    while True:
        try:
            return popen.communicate(data, timeout=_TICK)
        except subprocess.TimeoutExpired:
            data = None
            if cancelled.is_set():
                raise Interrupted("interrupted") from None
            if time.monotonic() > deadline:
                raise TimedOut(
                    tuple(map(str, popen.args)),  # type: ignore[arg-type]  # a list, as we gave it
                    -1,
                    "",
                    f"no answer within {timeout:g} s",
                ) from None


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")


# --- several processes joined by pipes ------------------------------------------------------------


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


Lines = Callable[[str, str], None]  # (who, line)


def pump(children: Mapping[str, Child], on_line: Lines, *, timeout: float) -> dict[str, int]:
    """Hand every stderr line to `on_line` until all children have ended; returns their statuses.

    Raises TimedOut after `timeout` seconds and Interrupted when asked to stop, both after having
    ended every child. Once one child is gone the others get `_LAST_WORDS` seconds.
    """
    deadline = time.monotonic() + timeout
    first_gone: float | None = None
    try:
        with selectors.DefaultSelector() as selector:
            for who, child in children.items():
                selector.register(child.stderr, selectors.EVENT_READ, (who, bytearray()))
            while any(child.poll() is None for child in children.values()):
                _read_lines(selector, on_line, _TICK)
                if first_gone is None and any(child.poll() is not None for child in children.values()):
                    first_gone = time.monotonic()
                _check(children, deadline, timeout, first_gone)
            # Grandchildren may hold stderr open: read what is there, do not wait for its end.
            while _read_lines(selector, on_line, 0.05):
                pass
    finally:
        statuses = {who: child.stop(grace=2) for who, child in children.items()}
        for child in children.values():
            if isinstance(child, Process):
                child.close()
    return statuses


def _check(children: Mapping[str, Child], deadline: float, timeout: float, first_gone: float | None) -> None:
    if cancelled.is_set():
        raise Interrupted("interrupted")
    now = time.monotonic()
    if now > deadline:
        argv = next(iter(children.values())).argv
        raise TimedOut(argv, -1, "", f"not finished within {timeout:g} s")
    if first_gone is not None and now > first_gone + _LAST_WORDS:
        for child in children.values():
            child.stop()


def _read_lines(selector: selectors.BaseSelector, on_line: Lines, wait: float) -> bool:
    """One round over the readable streams; False when none had anything."""
    if not selector.get_map():
        time.sleep(wait)  # every stream has ended, a process has not
        return False
    ready = selector.select(wait)
    for key, _ in ready:
        who, rest = key.data
        chunk = os.read(key.fd, 65536)
        rest += chunk
        if not chunk:
            selector.unregister(key.fd)
        _hand_out(who, rest, on_line, at_end=not chunk)
    return bool(ready)


def _hand_out(who: str, rest: bytearray, on_line: Lines, *, at_end: bool) -> None:
    while (end := rest.find(b"\n")) >= 0:
        on_line(who, _text(bytes(rest[:end])).rstrip("\r"))
        del rest[: end + 1]
    if rest and (at_end or len(rest) > _MAX_LINE):
        on_line(who, _text(bytes(rest)))
        rest.clear()


Start = Callable[[int, int], Child]  # (stdin, stdout)


def join(first: Start, second: Start) -> tuple[Child, Child]:
    """Two processes, each with the other's stdout as its stdin."""
    with pipe() as (from_first, of_first), pipe() as (from_second, of_second):
        one = first(from_second, of_first)
        try:
            return one, second(from_first, of_second)
        except BaseException:
            one.stop()
            raise


def chain(source: Callable[[int], Child], sink: Callable[[int], Child]) -> tuple[Child, Child]:
    """Two processes, the first's stdout being the second's stdin."""
    with pipe() as (reading, writing):
        one = source(writing)
        try:
            return one, sink(reading)
        except BaseException:
            one.stop()
            raise
