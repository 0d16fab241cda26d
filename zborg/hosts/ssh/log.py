"""What OpenSSH itself logs about a connection, by a pipe of its own.

ssh prints the far side's stderr and its own messages on one descriptor, so a host could print ssh's messages:
"REMOTE HOST IDENTIFICATION HAS CHANGED" made zborg advise a new pin. With `-E FILE` ssh logs there alone, and
its stderr carries what the far side prints (and a banner, which is the far side's text as well).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from zborg.model import Child, ConnectionLog, Runner

_MOST = 64 << 10  # bytes; the kernel's default for a pipe. ssh logs a few lines, a flood blocks ssh alone
# Of LogLevel=VERBOSE; sshconnect2.c and ssh.c.
_AUTHENTICATED = "Authenticated to "
_NOISE = (_AUTHENTICATED, "Transferred: ", "Bytes per second: ")
OPENED_BY_NAME = sys.platform == "linux"


class SshLog:
    """The log of one ssh; see `options`. To be closed."""

    def __init__(self) -> None:
        self._reading, self._writing = os.pipe()
        os.set_blocking(self._reading, False)
        self._found: ConnectionLog | None = None

    @property
    def options(self) -> list[str]:
        """For ssh's argv, before all others.

        ssh closes the descriptors that it inherits, so it opens ours by name; only Linux has names for the
        descriptors of another process. Elsewhere the log
        is empty, and a lost connection has no reason but stderr.
        """
        if not OPENED_BY_NAME:
            return []
        return ["-E", f"/proc/{os.getpid()}/fd/{self._writing}", "-o", "LogLevel=VERBOSE"]

    def close(self) -> ConnectionLog:
        """What was logged until now; ssh has ended, or is not asked any more."""
        if self._found is None:
            try:
                logged = os.read(self._reading, _MOST)
            except BlockingIOError:  # nothing
                logged = b""
            os.close(self._reading)
            os.close(self._writing)
            self._found = _parse(logged.decode("utf-8", "replace"))
        return self._found


def _parse(logged: str) -> ConnectionLog:
    lines = [line.rstrip("\r") for line in logged.split("\n") if line.strip()]
    authenticated = any(line.startswith(_AUTHENTICATED) for line in lines)
    return ConnectionLog(authenticated, "\n".join(line for line in lines if not line.startswith(_NOISE)))


class SshChild:
    """An ssh that was started, a model.Child: its stderr is the far side's, its own log stands apart."""

    def __init__(self, child: Child, log: SshLog) -> None:
        self.argv, self.pid, self.stderr = child.argv, child.pid, child.stderr
        self.poll, self.stop = child.poll, child.stop
        self._child, self._log = child, log

    @property
    def connection(self) -> ConnectionLog:
        """What ssh has logged."""
        return self._log.close()

    def close(self) -> None:
        """Give the pipes back."""
        self._log.close()
        self._child.close()


def start_ssh(local: Runner, argv: Sequence[str], *, stdin: int, stdout: int) -> SshChild:
    """Start an argv of `ssh_argv`. Raises CommandFailed."""
    log = SshLog()
    try:
        child = local.start([argv[0], *log.options, *argv[1:]], stdin=stdin, stdout=stdout)
    except BaseException:
        log.close()
        raise
    return SshChild(child, log)
