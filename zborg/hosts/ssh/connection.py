"""Reaching another machine: one paramiko connection for short commands, OpenSSH for data.

Many short commands over one connection are paramiko's case (0.06 MiB and 2.5 ms of CPU to connect);
data is OpenSSH's, because no byte of it may pass through Python.
"""

from __future__ import annotations

import logging
import shlex
import socket
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from zborg.errors import CommandFailed, TimedOut, Unreachable
from zborg.hosts.ssh import algorithms as agreement
from zborg.hosts.ssh.algorithms import CIPHERS
from zborg.hosts.ssh.channel import collect, feed
from zborg.hosts.ssh.identity import check_identity
from zborg.hosts.ssh.log import start_ssh
from zborg.hosts.ssh.reasons import REFUSED, explain, key_changed, lost, shown
from zborg.hosts.ssh.shared import SharedConnection
from zborg.model import MAX_OUTPUT, Child, Completed, Endpoint, Runner
from zborg.model.keys import algorithms, fingerprint

if TYPE_CHECKING:
    import paramiko

Authenticate = Callable[["paramiko.Transport", Endpoint], None]

CONNECT_TIMEOUT = 15
# A silent network is noticed by these alone: 15 s * 4 after the last sign of life.
_ALIVE_INTERVAL = 15
_ALIVE_COUNT = 4


def ssh_argv(
    alias: str,
    endpoint: Endpoint,
    known_hosts: Path,
    command: str,
    *,
    forward: str = "",
    socket: Path | None = None,
) -> list[str]:
    """OpenSSH without any configuration but ours: the user's ~/.ssh and /etc/ssh play no part.

    `forward` is what ssh -R takes. The command starts only once that port is open: ssh asks for it first, the
    answers come in order, and with ExitOnForwardFailure a refusal ends ssh before it has sent the command.
    `socket` is that of a shared connection; ssh connects by itself where nobody listens there.
    Without a command the far side runs the one that authorized_keys forces, or the account's shell.
    """
    options = {
        "BatchMode": "yes",
        "IdentitiesOnly": "yes",
        "IdentityAgent": "none",
        "PreferredAuthentications": "publickey",
        "StrictHostKeyChecking": "yes",
        "UpdateHostKeys": "no",
        "UserKnownHostsFile": str(known_hosts),
        "GlobalKnownHostsFile": "none",
        "HostKeyAlias": alias,
        "HostKeyAlgorithms": ",".join(algorithms(endpoint.host_key)),
        "CheckHostIP": "no",
        "ConnectTimeout": str(CONNECT_TIMEOUT),
        "ServerAliveInterval": str(_ALIVE_INTERVAL),
        "ServerAliveCountMax": str(_ALIVE_COUNT),
        "Ciphers": CIPHERS,
        "ClearAllForwardings": "no" if forward else "yes",
        "ExitOnForwardFailure": "yes",
        "LogLevel": "INFO",  # at ERROR ssh ends without a word when the peers find no common host key
    }
    if socket:
        options["ControlPath"] = str(socket).replace("%", "%%")
    flags = [word for key, value in options.items() for word in ("-o", f"{key}={value}")]
    where = ["-i", endpoint.identity, "-p", str(endpoint.port), "-l", endpoint.user]
    where += ["-R", forward] if forward else []
    what = [endpoint.address, *([command] if command else [])]
    return ["ssh", "-F", "none", "-T", "-x", "-a", *flags, *where, "--", *what]


class SshRunner:
    """A model.Runner on another machine. Connects at first use; safe to share between threads.

    With `share` what is started shares one connection too, until `close`. Where `once` is set, a connection
    that failed is not tried again: each later call raises its error, and sshd's PerSourcePenalties see one.
    """

    def __init__(
        self,
        alias: str,
        endpoint: Endpoint,
        known_hosts: Path,
        local: Runner,
        authenticate: Authenticate | None = None,
        *,
        share: bool = False,
    ) -> None:
        self.alias, self.endpoint = alias, endpoint
        self._known_hosts, self._local = known_hosts, local
        self._authenticate = authenticate or by_identity
        self._lock = threading.Lock()
        self._transport: paramiko.Transport | None = None
        self.once = False
        self._failed: Unreachable | None = None
        self._shared = SharedConnection(self._start_master) if share else None

    def start(self, argv: Sequence[str], *, stdin: int, stdout: int) -> Child:
        """As Runner: `argv` is quoted for the other side's shell."""
        return self.start_command(shlex.join(argv), stdin=stdin, stdout=stdout)

    def start_command(self, command: str, *, stdin: int, stdout: int) -> Child:
        """Start a command already quoted for the far side (a forced command takes no argv)."""
        socket = self._shared.socket() if self._shared else None
        argv = ssh_argv(self.alias, self.endpoint, self._known_hosts, command, socket=socket)
        return start_ssh(self._local, argv, stdin=stdin, stdout=stdout)

    def _start_master(self, socket: Path, nothing: int) -> Child:
        argv = ssh_argv(self.alias, self.endpoint, self._known_hosts, "", socket=socket)
        # -q comes first and so counts: nobody reads what it says, and a full pipe would stop it for ever.
        return self._local.start([argv[0], "-q", "-M", "-N", *argv[1:]], stdin=nothing, stdout=nothing)

    def run(
        self, argv: Sequence[str], *, timeout: float = 60, stdin: str = "", max_bytes: int = MAX_OUTPUT
    ) -> Completed:
        """As Runner: `argv` is quoted for the other side's shell."""
        return self.run_command(shlex.join(argv), timeout=timeout, stdin=stdin, max_bytes=max_bytes)

    def run_command(
        self, command: str, *, timeout: float = 60, stdin: str = "", max_bytes: int = MAX_OUTPUT
    ) -> Completed:
        """The same of a command already quoted for the far side."""
        import paramiko

        try:
            with self._session() as channel:
                channel.settimeout(timeout)
                channel.exec_command(command)
                feed(channel, stdin.encode())
                done = collect(channel, shown(self.alias), command, timeout, max_bytes)
        except TimeoutError as error:
            raise TimedOut((command,), -1, "", f"{self.alias} took no input within {timeout:g} s") from error
        except (paramiko.SSHException, OSError, EOFError) as error:
            raise lost(self.alias, self.endpoint, str(error)) from error
        if done.status:
            raise CommandFailed(
                (command,),
                done.status,
                done.stderr,
                f"on {shown(self.alias)}: {command} ended with {done.status}",
            )
        return done

    def close(self) -> None:
        """End the connections. It can be used again, which connects anew."""
        if self._shared:
            self._shared.close()
        with self._lock:
            transport, self._transport = self._transport, None
        if transport is not None:
            transport.close()

    def _session(self) -> paramiko.Channel:
        """A session on the shared connection; one that broke while it was idle is replaced."""
        import paramiko

        transport = self._connection()
        try:
            return transport.open_session(timeout=CONNECT_TIMEOUT)
        except paramiko.ChannelException:
            raise  # refused, by MaxSessions perhaps: the commands of other threads go on
        except (paramiko.SSHException, OSError, EOFError):
            transport.close()
            return self._connection().open_session(timeout=CONNECT_TIMEOUT)

    def _connection(self) -> paramiko.Transport:
        with self._lock:
            if self._failed:
                raise self._failed
            if self._transport is None or not self._transport.is_active():
                try:
                    self._transport = connect(self.alias, self.endpoint, self._authenticate)
                except Unreachable as error:
                    self._failed = error if self.once else None
                    raise
            return self._transport


def by_identity(transport: paramiko.Transport, endpoint: Endpoint) -> None:
    """The server's own key; the way in everywhere but at an enrolment."""
    import paramiko

    check_identity(endpoint)
    key = paramiko.PKey.from_path(endpoint.identity)
    transport.auth_publickey(endpoint.user, key)


def connect(alias: str, endpoint: Endpoint, authenticate: Authenticate = by_identity) -> paramiko.Transport:
    """An authenticated connection to the machine with the pinned host key, and to no other.

    Raises HostKeyChanged before anything but the key exchange was sent, else Unreachable.
    """
    transport = dial(alias, endpoint)
    try:
        _handshake(transport, alias, endpoint, authenticate)
    except BaseException:
        transport.close()
        raise
    transport.set_keepalive(_ALIVE_INTERVAL)
    return transport


def dial(alias: str, endpoint: Endpoint) -> paramiko.Transport:
    """A transport on which nothing was sent yet. Raises Unreachable."""
    import paramiko

    # Its threads log tracebacks of what is raised here as well, and without a handler they reach the user.
    logging.getLogger("paramiko").addHandler(logging.NullHandler())
    try:
        sock = socket.create_connection((endpoint.address, endpoint.port), timeout=CONNECT_TIMEOUT)
    except (OSError, ValueError) as error:  # ValueError: a name that no resolver takes
        raise explain(alias, endpoint, REFUSED, str(error)) from error
    _notice_silence(sock)
    return paramiko.Transport(sock)


def _notice_silence(sock: socket.socket) -> None:
    """paramiko's keepalives want no answer: only the kernel notices that nobody acknowledges them."""
    if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux; elsewhere the command's own timeout has to do
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _ALIVE_INTERVAL * _ALIVE_COUNT * 1000)


def _handshake(
    transport: paramiko.Transport, alias: str, endpoint: Endpoint, authenticate: Authenticate
) -> None:
    import paramiko

    # Ask for the pinned type only: a machine with several keys would else show another of them.
    transport.get_security_options().key_types = algorithms(endpoint.host_key)
    offer = agreement.hear_offer(transport)
    try:
        transport.start_client(timeout=CONNECT_TIMEOUT)
        _verify(transport, alias, endpoint)
        authenticate(transport, endpoint)
    except paramiko.AuthenticationException as error:
        raise explain(alias, endpoint, REFUSED, "Permission denied") from error
    except paramiko.SSHException as error:
        if mismatch := agreement.of_paramiko(error, offer, transport):
            raise agreement.failure(shown(alias), endpoint, mismatch) from error
        raise explain(alias, endpoint, REFUSED, str(error)) from error
    except (OSError, EOFError, ValueError, paramiko.pkey.UnknownKeyType) as error:
        raise explain(alias, endpoint, REFUSED, f"{type(error).__name__}: {error}") from error


def _verify(transport: paramiko.Transport, alias: str, endpoint: Endpoint) -> None:
    shown = transport.get_remote_server_key()
    offered = f"{shown.get_name()} {shown.get_base64()}"
    if offered.split()[1] != endpoint.host_key.split()[1]:
        raise key_changed(alias, endpoint, fingerprint(offered))
