"""The local Runner: the only user of subprocess.

Children get a clean environment and a session of their own, and die with the thread that started
them: a killed zborg would otherwise leave `borg serve` running beside a free lock.
"""

from __future__ import annotations

import os
import select
import selectors
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import IO

from zborg.errors import CommandFailed, Interrupted, TimedOut, ZborgError
from zborg.interrupt import cancelled
from zborg.model import MAX_OUTPUT, Child, Completed, ConnectionLog
from zborg.model.text.remedy import command
from zborg.model.text.units import size

_TICK = 0.5  # how often a wait looks at `cancelled`
_DYING = 10.0  # seconds; what is swapped out or has gigabytes to give back takes some


def clean_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """What a child may know: never a secret, never the user's locale or SSH agent."""
    own = {key: os.environ[key] for key in ("HOME", "TMPDIR") if key in os.environ}
    # cron's PATH ends before the directories in which zfs, zpool and sshd lie.
    path = f"{os.environ.get('PATH', os.defpath)}:/usr/local/sbin:/usr/sbin:/sbin"
    return own | {"PATH": path, "LC_ALL": "C", "TZ": "UTC"} | dict(extra or {})


class Process:
    """A started process: a model.Child."""

    connection = ConnectionLog()

    def __init__(self, argv: Sequence[str], popen: subprocess.Popen[bytes]) -> None:
        self.argv = tuple(argv)
        self._popen = popen

    @property
    def stderr(self) -> int:
        """The pipe, open until `close`."""
        stream: IO[bytes] | None = self._popen.stderr
        assert stream is not None  # start() always asks for the pipe
        return stream.fileno()

    @property
    def pid(self) -> int:
        """Under setpriv as well the command's own: setpriv replaces itself."""
        return self._popen.pid

    def poll(self) -> int | None:
        """Its status, negative for a signal; None while it runs."""
        return self._popen.poll()

    def stop(self, grace: float = 5.0) -> int:
        """SIGTERM to the group, SIGKILL after `grace` seconds to who is left; returns the exit status.

        Not even SIGKILL ends a process that waits for a suspended pool before the pool answers: after some
        seconds it is left behind, with the status -SIGKILL that it will have.
        """
        if self._popen.returncode is None:  # once it is reaped the number may be somebody else's
            self._signal(signal.SIGTERM)
            if not self._gone_within(grace):
                self._signal(signal.SIGKILL)
        try:
            return self._popen.wait(_DYING)
        except subprocess.TimeoutExpired:
            return -signal.SIGKILL

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
    """Runs commands on this machine, optionally as another user (root only).

    A number is a uid and a gid at once, and needs no account.
    """

    def __init__(self, user: str | int = "", env: Mapping[str, str] | None = None) -> None:
        self._prefix = _prefix(user)
        # Without setpriv Python gives up root itself.
        self._number = user if isinstance(user, int) and not self._prefix else None
        self._env = dict(env or {})

    def run(
        self, argv: Sequence[str], *, timeout: float = 60, stdin: str = "", max_bytes: int = MAX_OUTPUT
    ) -> Completed:
        """As `Runner` has it; raises Interrupted as well. The process has ended, however this is left."""
        popen = self._popen(argv, subprocess.PIPE, subprocess.PIPE)
        exchange = _Exchange(argv, popen, stdin.encode(), max_bytes)
        try:
            exchange.to_the_end(timeout)
        except BaseException:
            Process(argv, popen).stop(grace=1)
            raise
        finally:  # not `with popen`, which waits for ever for one that waits for a suspended pool
            exchange.close()
        done = Completed(popen.returncode, _text(exchange.stdout), _text(exchange.stderr))
        if done.status:
            failed = CommandFailed(tuple(argv), done.status, done.stderr)
            failed.stdout = done.stdout
            raise failed
        return done

    def start(self, argv: Sequence[str], *, stdin: int, stdout: int) -> Child:
        """As `Runner` has it, in a session of its own: a terminal's Ctrl-C does not reach it."""
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
                user=self._number,
                group=self._number,
                extra_groups=None if self._number is None else (),
            )
        except OSError as error:
            raise _cannot_run(argv, str(error)) from error


def _cannot_run(argv: Sequence[str], why: str) -> CommandFailed:
    return CommandFailed(tuple(argv), 127, why, f"cannot run {argv[0]}", f"is {argv[0]} installed there?")


def _prefix(user: str | int) -> list[str]:
    """`setpriv` ties the child to its parent and gives it another user; FreeBSD has no setpriv."""
    setpriv = shutil.which("setpriv") if sys.platform == "linux" else None
    words = [setpriv, "--pdeathsig", "TERM"] if setpriv else []
    if isinstance(user, int):
        number = ["--reuid", str(user), "--regid", str(user), "--clear-groups", "--no-new-privs", "--"]
        return [*words, *number] if setpriv else []
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
        raise ZborgError(
            f"there is no user {user} on this machine", command("useradd", "--system", user)
        ) from None


class _Exchange:
    """communicate() that also ends when zborg is asked to stop, and when a process says too much."""

    def __init__(
        self, argv: Sequence[str], popen: subprocess.Popen[bytes], stdin: bytes, max_bytes: int
    ) -> None:
        self._argv, self._popen, self._max_bytes = tuple(argv), popen, max_bytes
        self._left, self.stdout, self.stderr = stdin, bytearray(), bytearray()

    def to_the_end(self, timeout: float) -> None:
        """Until every stream and the process have ended. Raises TimedOut, Interrupted, CommandFailed."""
        deadline = time.monotonic() + timeout
        with selectors.DefaultSelector() as streams:
            self._register(streams)
            while streams.get_map():
                for key, _ in streams.select(_TICK):
                    if key.data():
                        streams.unregister(key.fileobj)
                self._check(deadline, timeout)
        while self._popen.poll() is None:
            with suppress(subprocess.TimeoutExpired):
                self._popen.wait(_TICK)
            self._check(deadline, timeout)

    def close(self) -> None:
        for stream in (self._popen.stdin, self._popen.stdout, self._popen.stderr):
            if stream is not None:
                stream.close()

    def _register(self, streams: selectors.BaseSelector) -> None:
        """Each stream with what to do when it is ready, which says whether it has ended."""
        child = self._popen
        assert child.stdin and child.stdout and child.stderr  # all three are pipes
        streams.register(child.stdout, selectors.EVENT_READ, partial(self._read, child.stdout, self.stdout))
        streams.register(child.stderr, selectors.EVENT_READ, partial(self._read, child.stderr, self.stderr))
        streams.register(child.stdin, selectors.EVENT_WRITE, partial(self._write, child.stdin))

    def _read(self, stream: IO[bytes], received: bytearray) -> bool:
        chunk = os.read(stream.fileno(), 1 << 16)
        received += chunk
        if len(received) > self._max_bytes:
            message = f"{self._argv[0]} printed more than {size(self._max_bytes)}"
            raise CommandFailed(self._argv, -1, "", message, "look at who answers there")
        return not chunk

    def _write(self, stream: IO[bytes]) -> bool:
        try:
            # What select() calls ready takes this much without making us wait.
            self._left = self._left[os.write(stream.fileno(), self._left[: select.PIPE_BUF]) :]
        except BrokenPipeError:  # it wants no more; its status will say whether that was right
            self._left = b""
        if not self._left:
            stream.close()
        return not self._left

    def _check(self, deadline: float, timeout: float) -> None:
        if cancelled.is_set():
            raise Interrupted("interrupted")
        if time.monotonic() > deadline:
            words = f"{self._argv[0]}: no answer within {timeout:g} s"
            raise TimedOut(self._argv, -1, _text(self.stderr), words)


def _text(data: bytes | bytearray) -> str:
    return data.decode("utf-8", "replace")
