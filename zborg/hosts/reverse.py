"""The way of 2020: a host's forced command reaches the server's sshd through a port on the host's loopback.

No agent of ours is there. borgmatic is the forced command, and its borg comes back to its repository by an
SSH session of its own. docs/reverse.md has the host's side, and says in what it is weaker than the tunnel.
"""

from __future__ import annotations

import os
import random
from collections.abc import Sequence
from pathlib import Path

from zborg.errors import Unreachable
from zborg.hosts.ssh.connection import ssh_argv
from zborg.hosts.ssh.failure import connection_failed
from zborg.hosts.ssh.log import start_ssh
from zborg.hosts.ssh.reasons import REFUSED
from zborg.model import Adopt, Child, Host, Lines, Reverse, Runner, Speaker
from zborg.streams import pump

_TRIES = 5  # ports, where the host lets us choose
# Above those that services have, below those that Linux gives to outgoing connections (32768 and up).
_PORTS = range(20_000, 32_768)
_KEPT, _LONGEST = 20, 4000  # lines, and characters of each
_NOT_OPENED = "remote port forwarding failed"


class PortRefused(Unreachable):
    """The host did not open the port, so its forced command was not started."""


class ReverseTunnel:
    """Runs the forced command of a host while a port there leads to the server's sshd."""

    def __init__(self, known_hosts: Path, local: Runner) -> None:
        self._known_hosts, self._local = known_hosts, local

    def run(self, host: Host, way: Reverse, lines: Lines, adopt: Adopt | None = None) -> int:
        """Its exit status. See model.Tunnel.forced."""
        if way.port:
            return self._through(way.port, host, way, lines, adopt)
        # Not to be guessed: a local user of the host could be there first, and would be connected to.
        *ports, last = random.SystemRandom().sample(_PORTS, _TRIES)
        for port in ports:
            try:
                return self._through(port, host, way, lines, adopt)
            except PortRefused:
                continue
        return self._through(last, host, way, lines, adopt)

    def _through(self, port: int, host: Host, way: Reverse, lines: Lines, adopt: Adopt | None) -> int:
        output: list[str] = []

        def listen(_: str, new: Sequence[str]) -> None:
            output.extend(line[:_LONGEST] for line in new)
            del output[:-_KEPT]
            lines(Speaker.HOST, new)

        # Of "localhost" sshd opens what it can of 127.0.0.1 and ::1, and calls that success: a port that
        # somebody else has on one of them would go unnoticed.
        forward = f"127.0.0.1:{port}:{way.sshd}"
        # A fixed port is in the host's own configuration, and its forced command expects no words.
        command = "" if way.port else str(port)
        argv = ssh_argv(host.name, host.endpoint, self._known_hosts, command, forward=forward)
        null = os.open(os.devnull, os.O_RDWR)
        try:
            child = start_ssh(self._local, argv, stdin=null, stdout=null)
        finally:
            os.close(null)
        status = pump({"host": child}, listen, timeout=host.timeout, adopt=adopt)["host"]
        if status == REFUSED:
            raise _failure(host, port, child, output)
        lines(Speaker.SSH, child.connection.text.splitlines())
        return status


def _failure(host: Host, port: int, child: Child, output: list[str]) -> Exception:
    """Of the way itself; what the forced command came to is the caller's to judge."""
    if _NOT_OPENED in child.connection.text:
        return PortRefused(
            ("ssh", str(host.endpoint)),
            REFUSED,
            "",
            f"{host.name} does not open port {port} on its 127.0.0.1 for us; nothing was started there",
            f"who has it? on {host.name}: ss -ltnp sport = :{port}. Or sshd does not allow it there: "
            "AllowTcpForwarding in sshd_config, permitlisten in authorized_keys (docs/reverse.md)",
        )
    return connection_failed(host.name, host.endpoint, child, output)
