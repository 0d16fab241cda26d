"""Kernel locks, and beside each one a record of its owner for people and for the next run.

The lock itself is flock(2): it vanishes with its holder, whatever killed it. The record only
explains (pid, command, start) and names the children, so that the next run can end those that
outlived a killed parent. Lock order: host < snapshot < target < dataset.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

from zborg.errors import Busy, ZborgError
from zborg.model import Child, utc_now
from zborg.model.text.remedy import command

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
_GLANCE = 0.3  # seconds; a question whether a lock is held has it for less than that


@dataclass
class Owner:
    """Who holds a lock. `start` is the kernel's start time of the pid, so that a reused pid is noticed."""

    pid: int
    start: str
    command: str
    since: str
    children: list[tuple[int, str]] = field(default_factory=list)


class Lock:
    """A held lock."""

    def __init__(self, record: Path, owner: Owner) -> None:
        self._record, self._owner = record, owner
        self._writing = threading.Lock()

    def adopt(self, *children: Child) -> None:
        """Record children, so that they can be ended should this process be killed."""
        with self._writing:
            # A dataset may need ten thousand streams: those that have ended are not written again each time.
            self._owner.children = _running(self._owner.children)
            self._owner.children += [(child.pid, process_start(child.pid)) for child in children]
            self.write()

    def write(self) -> None:
        """The lock is held without its record, too: on a full disk only the next run knows less."""
        new = self._record.with_suffix(".new")
        try:
            new.write_text(json.dumps(asdict(self._owner)))
            new.replace(self._record)
        except OSError as error:
            if error.errno not in _NO_ROOM:
                raise

    def forget(self) -> None:
        """What could not be ended (it waits for a suspended pool) stays on record for the next run."""
        if _running(self._owner.children):
            return
        try:
            self._record.unlink(missing_ok=True)
        except OSError as error:
            if error.errno not in _NO_ROOM:
                raise


class Locks:
    """The locks below one directory, by name."""

    def __init__(self, directory: Path, command: str) -> None:
        self._directory, self._command = directory, command

    @contextmanager
    def hold(self, name: str) -> Iterator[Lock]:
        """Hold the lock or raise Busy; a longer wait than for a glance would hide that two runs overlap."""
        from filelock import Timeout

        record = self._directory / f"{name}.owner"
        try:
            with self._locked(name, _GLANCE):
                _end_survivors(_read(record))
                lock = self._own(record)
                try:
                    yield lock
                except ZborgError:  # the children were ended first; whatever else ends us may leave some
                    lock.forget()
                    raise
                lock.forget()
        except Timeout:
            raise Busy(f"{name} is locked by {_describe(_read(record))}", "wait for it, or end it") from None

    def shared(self) -> SharedLocks:
        """Locks that the threads of this run share, and no other run gets meanwhile."""
        return SharedLocks(self)

    def is_held(self, name: str) -> bool:
        """Whether another run holds it now."""
        from filelock import Timeout

        try:
            with self._locked(name, 0):
                return False
        except Timeout:
            return True

    @contextmanager
    def _locked(self, name: str, timeout: float) -> Iterator[None]:
        """The kernel's lock. Raises filelock.Timeout when another run has it."""
        from filelock import FileLock

        path = self._directory / f"{name}.lock"
        with ExitStack() as held:
            try:
                # Not of a thread: of several that share a lock the last one lets it go.
                held.enter_context(FileLock(path, timeout=timeout, mode=0o600, thread_local=False))
            except OSError as error:
                if error.errno not in _NO_ROOM:
                    raise
                held.enter_context(_flocked(path, timeout))
            yield

    def owner(self, name: str) -> Owner | None:
        """Who holds it by the record, without touching the lock; None when nobody, or a killed run, does."""
        owner = _read(self._directory / f"{name}.owner")
        return owner if owner and _lives(owner) else None

    def left(self, name: str) -> Owner | None:
        """The run that was killed while it held the lock; None when it is held, or was let go in order."""
        owner = _read(self._directory / f"{name}.owner")
        return owner if owner and not _lives(owner) else None

    def _own(self, record: Path) -> Lock:
        me = os.getpid()
        lock = Lock(record, Owner(me, process_start(me), self._command, f"{utc_now():%Y-%m-%dT%H:%M:%SZ}"))
        lock.write()
        return lock


class SharedLocks:
    """Locks that are held as long as one of several threads holds them."""

    def __init__(self, locks: Locks) -> None:
        self._locks, self._guard = locks, threading.Lock()
        self._held: dict[str, tuple[ExitStack, Lock]] = {}
        self._users: Counter[str] = Counter()

    @contextmanager
    def hold(self, name: str) -> Iterator[Lock]:
        """As Locks.hold: raises Busy when another run holds it."""
        lock = self._enter(name)
        try:
            yield lock
        finally:
            self._leave(name)

    def _enter(self, name: str) -> Lock:
        with self._guard:
            if name not in self._held:
                stack = ExitStack()
                self._held[name] = stack, stack.enter_context(self._locks.hold(name))
            self._users[name] += 1
            return self._held[name][1]

    def _leave(self, name: str) -> None:
        with self._guard:
            self._users[name] -= 1
            if not self._users[name]:
                self._held.pop(name)[0].close()


@contextmanager
def _flocked(path: Path, timeout: float) -> Iterator[None]:
    """The same lock by a descriptor that only reads: flock(2) asks for no more, and a disk may be read-only.

    Raises ZborgError where the file was never made: without it nothing can be locked.
    """
    from filelock import Timeout

    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        words = f"{path} cannot be made: the file system is full or read-only"
        raise ZborgError(words, command("df", "-h", str(path.parent))) from None
    try:
        deadline = time.monotonic() + timeout
        while not _flock(descriptor):
            if time.monotonic() >= deadline:
                raise Timeout(str(path))
            time.sleep(0.05)
        yield
    finally:
        os.close(descriptor)


def _flock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _describe(owner: Owner | None) -> str:
    if owner is None:
        return "a run that has not said its name yet"
    return f"pid {owner.pid} ({owner.command}), started {owner.since}"


def _read(record: Path) -> Owner | None:
    try:
        owner = Owner(**json.loads(record.read_text()))
        owner.pid = int(owner.pid)
        owner.children = [(int(pid), str(start)) for pid, start in owner.children]
    except (OSError, ValueError, TypeError):
        return None  # for people only: a torn record is no reason to stop
    return owner


def _lives(owner: Owner) -> bool:
    if owner.start:
        return process_start(owner.pid) == owner.start
    try:
        os.kill(owner.pid, 0)  # no start times here: a reused pid is not noticed
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def process_start(pid: int) -> str:
    """The kernel's start time of a process, "" when it is gone or the system has no /proc."""
    if sys.platform != "linux":
        return ""
    try:
        # proc(5): field 22, counted behind the command name, which may contain spaces and brackets.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""


def _end_survivors(owner: Owner | None) -> None:
    """We hold the lock, so a process that is still in the record lost its parent."""
    recorded = owner.children if owner else []
    for number in (signal.SIGTERM, signal.SIGKILL):
        for pid, _ in _running(recorded):
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(pid, number)
        _wait_gone(recorded, seconds=3)


def _running(children: list[tuple[int, str]]) -> list[tuple[int, str]]:
    """Those that are still the processes that were recorded: a reused pid has another start time."""
    return [(pid, start) for pid, start in children if start and process_start(pid) == start]


def _wait_gone(children: list[tuple[int, str]], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while _running(children) and time.monotonic() < deadline:
        time.sleep(0.05)
