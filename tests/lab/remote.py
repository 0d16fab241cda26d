"""Commands in a guest over one open ssh connection (0.1 s each; a new connection costs 0.9 s)."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.lab import tools
from tests.lab.errors import CommandFailed


@dataclass(frozen=True)
class Remote:
    """Root of one guest: how to reach it, and the socket of the shared connection."""

    address: str
    port: int
    key: Path
    known_hosts: Path
    socket: Path

    def argv(self, command: Sequence[str], *, terminal: bool = False) -> list[str]:
        """The local command line that runs `command`, quoted for the guest's shell."""
        options = ["-t"] if terminal else []
        quoted = [shlex.join(command)] if command else []
        return [*self._ssh(), *options, f"root@{self.address}", *quoted]

    def _ssh(self) -> list[str]:
        # Nothing of the user's own configuration, keys or agent takes part.
        options = {
            "IdentityFile": self.key,
            "IdentitiesOnly": "yes",
            "IdentityAgent": "none",
            "UserKnownHostsFile": self.known_hosts,
            "GlobalKnownHostsFile": "/dev/null",
            "StrictHostKeyChecking": "yes",
            "BatchMode": "yes",
            "ConnectTimeout": 15,
            "LogLevel": "ERROR",
            "ControlPath": self.socket,
        }
        words = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
        return ["ssh", "-F", "none", "-p", str(self.port), *words]

    def connect(self, timeout: float) -> None:
        """Open the shared connection unless it is open; CommandFailed with what ssh said."""
        if self._is_open():
            return
        # One at a time: a second master could not take the socket and would stay behind.
        with tools.locked(self.socket.with_suffix(".lock"), timeout=timeout):
            if self._is_open():
                return
            self.socket.unlink(missing_ok=True)
            self._open(timeout)

    def _open(self, timeout: float) -> None:
        # To a file, not a pipe: the background ssh keeps it open as long as it lives.
        errors = self.socket.with_suffix(".err")
        alive = ["-o", "ServerAliveInterval=15", "-o", "ServerAliveCountMax=4"]
        argv = [*self._ssh(), *alive, "-M", "-N", "-f", f"root@{self.address}"]
        with errors.open("wb") as stderr:
            try:
                status = subprocess.run(
                    argv,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=stderr,
                    timeout=timeout,
                    start_new_session=True,
                    check=False,
                ).returncode
            except subprocess.TimeoutExpired:
                raise CommandFailed(argv, None, tools.tail(errors)) from None
        if status != 0:
            raise CommandFailed(argv, status, tools.tail(errors))

    def _is_open(self) -> bool:
        return self.socket.exists() and self._control("check")

    def close(self) -> None:
        """End the shared connection, whatever state it is in, and remove its socket."""
        if self.socket.exists():
            self._control("exit")
        self.socket.unlink(missing_ok=True)

    def _control(self, order: str) -> bool:
        argv = [*self._ssh(), "-O", order, f"root@{self.address}"]
        try:
            return tools.run(argv, timeout=10, check=False).returncode == 0
        except CommandFailed:
            return False

    def run(
        self, command: Sequence[str], *, input: str | None, timeout: float, check: bool
    ) -> subprocess.CompletedProcess[str]:
        """Run `command` in the guest; errors as tools.run."""
        self.connect(timeout)
        try:
            return tools.run(self.argv(command), input=input, timeout=timeout, check=check)
        except CommandFailed as error:
            # The guest's command says more than the ssh line around it.
            raise CommandFailed(command, error.returncode, error.stderr) from None
