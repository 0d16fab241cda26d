"""One OpenSSH connection that the streams of a run share, in place of a handshake for each.

OpenSSH calls it ControlMaster: one process has the connection, listens on a socket, and takes the descriptors
of every ssh that finds it there. Each is a session of its own: ending that ssh ends its stream and no other.
"""

from __future__ import annotations

import os
import shutil
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from zborg.errors import CommandFailed
from zborg.interrupt import cancelled
from zborg.model import Child

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

_PATIENCE = 20.0  # seconds until it listens: ssh's ConnectTimeout, and the login
_TICK = 0.02
_PREFIX = "zborg-ssh-"
_OLD = 86400.0  # seconds; younger ones may be of a run that begins

Start = Callable[[Path, int], Child]  # with the socket to listen on, and /dev/null


class SharedConnection:
    """Opened when it is first asked for. Nothing here fails: without it ssh makes a connection of its own,
    and that one's failure is the one that is reported. Safe to share between threads."""

    def __init__(self, start: Start) -> None:
        self._start = start
        self._lock = threading.Lock()
        self._master: Child | None = None
        self._directory: Path | None = None
        self._keeper: ThreadPoolExecutor | None = None
        # Elsewhere nothing ends it when zborg is killed (see zborg.process), and by itself it never would.
        self._given_up = sys.platform != "linux"

    def socket(self) -> Path | None:
        """Where it listens, None where there is none. One that was lost is replaced, if that works."""
        with self._lock:
            if self._master is not None and self._master.poll() is not None:
                self._end()
            if self._master is None and not self._given_up:
                self._given_up = not self._open()
            return self._socket if self._master else None

    def close(self) -> None:
        """End the master, if there is one."""
        with self._lock:
            self._end()

    @property
    def _socket(self) -> Path:
        assert self._directory is not None  # made with the master
        return self._directory / "socket"

    def _open(self) -> bool:
        from concurrent.futures import ThreadPoolExecutor

        try:
            _sweep()
            self._directory = Path(tempfile.mkdtemp(prefix=_PREFIX))  # 0700
        except OSError:  # a full disk, or no place at all: it is only slower without
            return False
        # A child dies with the thread that started it, and the streams may be those of several.
        self._keeper = ThreadPoolExecutor(max_workers=1, thread_name_prefix="ssh")
        nothing = os.open(os.devnull, os.O_RDWR)
        try:
            self._master = self._keeper.submit(self._start, self._socket, nothing).result()
            if self._listens(self._master):
                return True
        except CommandFailed:  # there is no ssh: starting the stream will fail with the reason
            pass
        finally:
            os.close(nothing)
        self._end()
        return False

    def _listens(self, master: Child) -> bool:
        """ssh makes the socket once the other side has let it in."""
        deadline = time.monotonic() + _PATIENCE
        while not self._socket.exists():
            if master.poll() is not None or cancelled.is_set() or time.monotonic() > deadline:
                return False
            time.sleep(_TICK)
        return True

    def _end(self) -> None:
        master, self._master = self._master, None
        if master is not None:
            master.stop()
            master.close()
        if self._keeper is not None:
            self._keeper.shutdown()
            self._keeper = None
        if self._directory is not None:
            with suppress(OSError):
                shutil.rmtree(self._directory)
            self._directory = None


def _sweep() -> None:
    """Remove what killed runs left behind: our own old directories, on whose socket nobody listens."""
    for directory in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        with suppress(OSError):  # gone meanwhile
            found = directory.lstat()
            old = time.time() - found.st_mtime > _OLD
            if old and found.st_uid == os.geteuid() and not _is_heard(directory / "socket"):
                shutil.rmtree(directory)


def _is_heard(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as one:
        one.settimeout(1)  # a slow answer counts: the error is passed over
        try:
            one.connect(str(path))
        except (ConnectionRefusedError, FileNotFoundError):
            return False
        return True
