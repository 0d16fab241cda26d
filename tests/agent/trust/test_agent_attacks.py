"""Somebody who holds the backup server's key, and asks a host's sshd for all that SSH has.

The key is `restrict`ed to the agent. Nothing of what follows runs anything but a verb: a PATH of traps and a
borg that is one tell if something ran, and the agent's syslog has a line for each command that reached it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import paramiko
import pytest

from tests.harness.checkout import GOLDEN_FILES
from tests.harness.machines.agent import A1, Lab

TABLE = GOLDEN_FILES / "attacks.txt"
PWN = "touch CANARY"
# What one line of the table cannot hold.
ODD = [
    "",
    " ",
    "   ",
    *(
        f"{verb}{end}{PWN}"
        for verb in ("version", f"create web1 {A1}")
        for end in ("\n", "\r\n", "\r", "\v", "\f")
    ),
    "list web1\t1",
    "version\x1b[2J",
    "version\x07",
    "version\u00a0",
    "\u202eversion",
    "version" + " x" * 300,
    "list web1 " + "9" * 1000,
    "version " + "a" * 20_000,
    "a" * 15_000,
]
COMMANDS = [line for line in TABLE.read_text().splitlines() if line and not line.startswith("# ")] + ODD

TRAPS = ("touch", "ls", "sftp-server", "scp", "rsync", "perl", "bash", "xauth", "ssh", "age", "python3")


@dataclass(frozen=True)
class Attacker:
    """Holds the key of the host `lab`. `canary` must never come into being; the agent logs into `syslog`."""

    lab: Lab
    canary: Path
    syslog: Path

    def connect(self) -> paramiko.Transport:
        transport = paramiko.Transport(("127.0.0.1", self.lab.host.sshd.port))
        transport.connect(
            username=self.lab.host.sshd.user,
            pkey=paramiko.Ed25519Key.from_private_key_file(str(self.lab.host.key.private)),
        )
        return transport

    def logged(self) -> list[str]:
        return self.syslog.read_text().splitlines() if self.syslog.exists() else []

    def assert_nothing_ran(self) -> None:
        assert not self.canary.exists(), self.canary.read_text()
        assert not list(self.lab.host.state.glob("restore*"))

    def spell(self, command: str) -> str:
        places = {"CANARY": self.canary, "CONFDIR": self.lab.host.confdir, "AGENT": self.lab.host.agent}
        for mark, path in places.items():
            command = command.replace(mark, str(path))
        return command


@pytest.fixture(params=["sh", "busybox"])
def attacker(request: pytest.FixtureRequest, tmp_path: Path, enrolled: Path) -> Iterator[Attacker]:
    """A host that allows all it can, whose borg and tools are traps, and whose logger writes to a file."""
    lab = Lab(tmp_path, request.param, "auto", "AcceptEnv *", "PermitUserEnvironment no")
    canary, syslog = tmp_path / "canary", tmp_path / "syslog"
    traps = tmp_path / "traps"
    traps.mkdir()
    for tool in TRAPS:
        script(traps / tool, f"echo {tool} >>{canary}\n")
    script(traps / "logger", f'for last; do :; done\nprintf "%s\\n" "$last" >>{syslog}\n')
    text, found = re.subn(r"(?m)^safe_path=", f"safe_path={traps}:", lab.host.agent.read_text())
    assert found == 1
    lab.init(enrolled).configure(
        "restore = yes", "keep_last = 1", borg=lab.script("trap", f"echo borg >>{canary}\n")
    )
    lab.host.agent.write_text(text)
    with lab.host:
        yield Attacker(lab, canary, syslog)


def script(path: Path, text: str) -> None:
    path.write_text("#!/bin/sh\n" + text)
    path.chmod(0o755)


def run(transport: paramiko.Transport, command: str | bytes) -> tuple[int, bytes, bytes]:
    """One exec request, byte for byte: OpenSSH's client would not send some of them."""
    channel = transport.open_session()
    channel.exec_command(command)
    channel.shutdown_write()
    out, err = channel.makefile("rb").read(), channel.makefile_stderr("rb").read()
    return channel.recv_exit_status(), out, err


def test_no_command_runs_anything_but_a_verb(attacker: Attacker) -> None:
    commands = COMMANDS if attacker.lab.shell == "sh" else COMMANDS[::4]
    assert len(set(COMMANDS)) == len(COMMANDS) and len(commands) >= 40
    transport = attacker.connect()
    try:
        with ThreadPoolExecutor(4) as pool:
            results = list(pool.map(lambda command: run(transport, attacker.spell(command)), commands))
    finally:
        transport.close()
    for command, (status, out, err) in zip(commands, results, strict=True):
        assert (status, out) == (2, b""), (command, status, out, err)
        assert err.startswith(b"zborg-agent: refused: ") and err.count(b"\n") == 1, (command, err)
    attacker.assert_nothing_ran()
    told = sorted(err.decode().removeprefix("zborg-agent: ").rstrip("\n") for _, _, err in results)
    assert sorted(attacker.logged()) == told, "each refusal is in the syslog, and nothing else"


def test_bytes_that_are_no_text(attacker: Attacker) -> None:
    """sshd itself ends a connection for a NUL before its end; what is no UTF-8 is refused as any byte is."""
    transport = attacker.connect()
    for command in (b"version\xff", b"list web\xc3 1", b"\x80", b"version\xc0\xaf", b"list web1 0\0", b"\0"):
        assert run(transport, command)[:2] == (2, b""), command
    refusals = len(attacker.logged())
    assert refusals == 6
    for command in (b"version\0\0", b"version\0; touch x", b"\0id"):
        with pytest.raises((paramiko.SSHException, EOFError)):
            run(transport, command)
        transport.close()
        transport = attacker.connect()
    transport.close()
    assert len(attacker.logged()) == refusals
    attacker.assert_nothing_ran()


def test_all_else_that_ssh_can_do_is_refused(attacker: Attacker) -> None:
    """A terminal, forwarding in every direction, X11, the agent, a tunnel device, a shell, a subsystem."""
    transport = attacker.connect()
    there = ("127.0.0.1", attacker.lab.host.sshd.port)
    for kind in (
        "direct-tcpip",
        "tun@openssh.com",
        "direct-streamlocal@openssh.com",
        "x11",
        "auth-agent@openssh.com",
    ):
        with pytest.raises((paramiko.SSHException, EOFError)):
            transport.open_channel(kind, there, there)
        if not transport.is_active():
            transport = attacker.connect()
    for address in ("127.0.0.1", "", "0.0.0.0"):
        with pytest.raises(paramiko.SSHException):
            transport.request_port_forward(address, 0)
    asked: list[Callable[[paramiko.Channel], object]] = [
        lambda channel: channel.get_pty(),
        lambda channel: channel.request_x11(),
        lambda channel: channel.invoke_subsystem("netconf"),
    ]
    for ask in asked:
        with pytest.raises(paramiko.SSHException):
            ask(transport.open_session())
    begun: list[Callable[[paramiko.Channel], object]] = [
        lambda channel: channel.invoke_shell(),
        lambda channel: channel.invoke_subsystem("sftp"),
    ]
    for start in begun:
        channel = transport.open_session()
        start(channel)
        channel.sendall(b"id\ntouch x\n\0\0\0\5\1\0\0\0\3")
        assert channel.makefile("rb").read() == b""
        assert channel.recv_exit_status() == 2
    transport.close()
    assert [line.startswith("refused: no") for line in attacker.logged()] == [True] * len(begun)
    attacker.assert_nothing_ran()


def test_variables_change_nothing(attacker: Attacker) -> None:
    """Even where sshd takes all of them: none becomes the command, and none reaches what the agent starts."""
    transport = attacker.connect()
    for name, value in (
        ("COMMAND", "version"),
        ("SSH_ORIGINAL_COMMAND", "version"),
        ("PATH", str(attacker.canary.parent)),
        ("ENV", f"$(touch {attacker.canary})"),
        ("PS4", f"$(touch {attacker.canary})"),
        ("SHELLOPTS", "xtrace"),
        ("IFS", "e"),
        ("LD_PRELOAD", str(attacker.canary)),
        ("BORG_PASSCOMMAND", f"touch {attacker.canary}"),
        ("confdir", "/tmp"),
        ("verbs", "x"),
    ):
        channel = transport.open_session()
        channel.set_environment_variable(name, value)
        channel.exec_command("list web1 0")
        assert channel.makefile("rb").read() == b"", name
        assert channel.recv_exit_status() == 2, name
    transport.close()
    attacker.assert_nothing_ran()
