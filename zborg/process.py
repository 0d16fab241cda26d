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
from dataclasses import dataclass
from typing import IO

from zborg.errors import CommandFailed, Interrupted, TimedOut, ZborgError
from zborg.model import Child, Completed

# Set by the signal handlers of the command line; every wait in this module looks at it.
cancelled = threading.Event()

_TICK = 0.5  # how often a wait looks at `cancelled`
# When one end of a joined pair is gone the other has seen the end of its input: borg may still be
# writing its caches, which took seconds on repositories of millions of files.
_LAST_WORDS = 30.0
_REST = 2.0  # seconds for what was said before all children were gone
_PIPE_SIZE = 1 << 20
_F_SETPIPE_SZ = 1031  # Linux; fcntl names it from Python 3.10 on, but only where the libc does
_MAX_LINE = 1 << 20


def clean_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """What a child may know: never a secret, never the user's locale or SSH agent."""
    kept = {key: os.environ[key] for key in ("HOME", "TMPDIR") if key in os.environ}
    # cron's PATH ends before the directories in which zfs, zpool and sshd lie.
    path = f"{os.environ.get('PATH', os.defpath)}:/usr/local/sbin:/usr/sbin:/sbin"
    return kept | {"PATH": path, "LC_ALL": "C", "TZ": "UTC"} | dict(extra or {})


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
        """SIGTERM to the group, SIGKILL after `grace` seconds to who is left; returns the exit status."""
        if self._popen.returncode is None:  # once it is reaped the number may be somebody else's
            self._signal(signal.SIGTERM)
            if not self._gone_within(grace):
                self._signal(signal.SIGKILL)
        return self._popen.wait()

    def close(self) -> None:
        """Give the pipe back."""
        if self._popen.stderr is not None:
            self._popen.stderr.close()

    def _gone_within(self, seconds: float) -> bool:
        """Whether the process and all of its group ended in time; what it started may outlive it."""
        deadline = time.monotonic() + seconds
        while self._popen.poll() is None or self._signal(0):
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)
        return True

    def _signal(self, number: int) -> bool:
        """Signal the group; whether there was one."""
        try:
            os.killpg(self._popen.pid, number)
        except PermissionError:  # it became another user's and we are not root
            self._popen.send_signal(number)
        except ProcessLookupError:
            return False
        return True


class LocalRunner:
    """Runs commands on this machine, optionally as another user (root only)."""

    def __init__(self, user: str = "", env: Mapping[str, str] | None = None) -> None:
        self._prefix = _prefix(user)
        self._env = dict(env or {})

    def run(self, argv: Sequence[str], *, timeout: float = 60, stdin: str = "") -> Completed:
        with self._popen(argv, subprocess.PIPE, subprocess.PIPE) as popen:
            try:
                stdout, stderr = _communicate(argv, popen, stdin.encode(), timeout)
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
        env = clean_environment(self._env)
        if shutil.which(argv[0], path=env.get("PATH")) is None:  # setpriv would only end with a status
            raise _cannot_run(argv, "no such command")
        try:
            return subprocess.Popen(
                [*self._prefix, *argv],
                stdin=stdin,
                stdout=stdout,
                stderr=subprocess.PIPE,
                env=env,
                start_new_session=True,
            )
        except OSError as error:
            raise _cannot_run(argv, str(error)) from error


def _cannot_run(argv: Sequence[str], why: str) -> CommandFailed:
    return CommandFailed(tuple(argv), 127, why, f"cannot run {argv[0]}", f"install {argv[0]}")


def _prefix(user: str) -> list[str]:
    """`setpriv` ties the child to its parent and gives it another user; FreeBSD has no setpriv."""
    setpriv = shutil.which("setpriv") if sys.platform == "linux" else None
    words = [setpriv, "--pdeathsig", "TERM"] if setpriv else []
    if user and os.geteuid() == 0 and user != "root":
        if not setpriv:
            return ["su", "-m", user, "-c", 'exec "$0" "$@"', "--"]
        words += ["--reuid", user, "--regid", _group_of(user), "--init-groups", "--no-new-privs"]
    return [*words, "--"] if words else []


def _group_of(user: str) -> str:
    """The user's primary group, which need not have the user's name."""
    import pwd

    try:
        return str(pwd.getpwnam(user).pw_gid)
    except KeyError:
        raise ZborgError(f"there is no user {user} on this machine", f"useradd --system {user}") from None


def _communicate(
    argv: Sequence[str], popen: subprocess.Popen[bytes], stdin: bytes, timeout: float
) -> tuple[bytes, bytes]:
    """communicate() that also ends when zborg is asked to stop."""
    deadline = time.monotonic() + timeout
    data: bytes | None = stdin
    while True:
        try:
            return popen.communicate(data, timeout=_TICK)
        except subprocess.TimeoutExpired as error:
            data = None
            if cancelled.is_set():
                raise Interrupted("interrupted") from None
            if time.monotonic() > deadline:
                words = _text(error.stderr or b"")
                raise TimedOut(tuple(argv), -1, words, f"{argv[0]}: no answer within {timeout:g} s") from None


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
_NOBODY = ""  # the `who` of bytes that are thrown away


@dataclass(frozen=True, slots=True)
class Spare:
    """A read end kept open for a writer whose reader may die first.

    When nobody can read ssh's stdout any more, ssh has the far side's stderr closed as well
    (eow@openssh.com), and with it goes the reason why borg ended. So this end stays, and what
    arrives is thrown away once `reader` is gone.
    """

    end: int
    reader: Child


def pump(
    children: Mapping[str, Child], on_line: Lines, *, timeout: float, spare: Spare | None = None
) -> dict[str, int]:
    """Hand every stderr line to `on_line` until all children have ended; returns their statuses.

    Raises TimedOut after `timeout` seconds and Interrupted when asked to stop, both after having
    ended every child. Once one child is gone the others get `_LAST_WORDS` seconds.
    """
    deadline = time.monotonic() + timeout
    first_gone: float | None = None
    unread = spare
    try:
        with selectors.DefaultSelector() as selector:
            for who, child in children.items():
                selector.register(child.stderr, selectors.EVENT_READ, (who, bytearray()))
            while any(child.poll() is None for child in children.values()):
                _read_lines(selector, on_line, _TICK)
                if unread and unread.reader.poll() is not None:
                    selector.register(unread.end, selectors.EVENT_READ, (_NOBODY, bytearray()))
                    unread = None
                if first_gone is None and any(child.poll() is not None for child in children.values()):
                    first_gone = time.monotonic()
                _check(children, deadline, timeout, first_gone)
            _read_the_rest(selector, on_line)
    finally:
        statuses = {who: child.stop(grace=2) for who, child in children.items()}
        for child in children.values():
            if isinstance(child, Process):
                child.close()
        if spare:
            os.close(spare.end)
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


def _read_the_rest(selector: selectors.BaseSelector, on_line: Lines) -> None:
    """What is there, and not until the end: grandchildren may hold stderr open, and go on talking."""
    deadline = time.monotonic() + _REST
    while time.monotonic() < deadline and _read_lines(selector, on_line, 0.05):
        pass
    for key in selector.get_map().values():
        who, rest = key.data
        _hand_out(who, rest, on_line, at_end=True)


def _read_lines(selector: selectors.BaseSelector, on_line: Lines, wait: float) -> bool:
    """One round over the readable streams; False when none had anything."""
    if not selector.get_map():
        time.sleep(min(wait, 0.02))  # every stream has ended, a process has not: it is about to
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
    if who == _NOBODY:
        rest.clear()
    while (end := rest.find(b"\n")) >= 0:
        on_line(who, _text(bytes(rest[:end])).rstrip("\r"))
        del rest[: end + 1]
    if rest and (at_end or len(rest) > _MAX_LINE):
        on_line(who, _text(bytes(rest)))
        rest.clear()


Start = Callable[[int, int], Child]  # (stdin, stdout)


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


def chain(source: Callable[[int], Child], sink: Callable[[int], Child]) -> tuple[Child, Child]:
    """Two processes, the first's stdout being the second's stdin."""
    with pipe() as (reading, writing):
        one = source(writing)
        try:
            return one, sink(reading)
        except BaseException:
            one.stop()
            raise
