"""A machine behind a real sshd, and what zborg knows of it."""

from __future__ import annotations

import random
import subprocess
from pathlib import Path

from tests.harness.machines.keys import KeyPair, make_key
from tests.harness.machines.sshd import Sshd
from zborg.hosts.ssh.connection import SshRunner
from zborg.hosts.ssh.host_keys import write_known_hosts
from zborg.model import Endpoint
from zborg.process import LocalRunner
from zborg.streams import pump

TYPES = ("ed25519", "ecdsa", "rsa")


class Machine:
    """An sshd with a host key of each type, and what zborg knows of it."""

    def __init__(self, directory: Path, *options: str) -> None:
        self.directory = directory
        self.keys: dict[str, str] = {}
        for kind in TYPES:
            path = directory / f"host_{kind}"
            subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-C", "", "-f", path], check=True)
            self.keys[kind] = " ".join(Path(f"{path}.pub").read_text().split()[:2])
        extra = [f"HostKey {directory}/host_{kind}" for kind in TYPES[1:]]
        self.sshd = Sshd(directory / "sshd", [*extra, *options]).start()
        self.keys["ed25519"] = self.sshd.host_key
        self.identity: KeyPair = make_key(directory / "id")
        self.sshd.authorize(self.identity.public)

    def endpoint(self, kind: str = "ed25519") -> Endpoint:
        return Endpoint(
            self.sshd.user, "127.0.0.1", self.sshd.port, self.keys[kind], str(self.identity.private)
        )

    def runner(self, endpoint: Endpoint | None = None) -> SshRunner:
        endpoint = endpoint or self.endpoint()
        known_hosts = self.directory / f"known_hosts.{random.randrange(10**9)}"
        write_known_hosts(known_hosts, {"web1": endpoint})
        return SshRunner("web1", endpoint, known_hosts, LocalRunner())

    def accepted(self) -> int:
        return self.sshd.log().count("Accepted publickey")


def said(runner: SshRunner, *argv: str) -> tuple[int, str]:
    """Run by OpenSSH, as data is: (ssh's status, what it said on stderr)."""
    lines: list[str] = []
    child = runner.start(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    status = pump({"it": child}, lambda _, came: lines.extend(came), timeout=120)["it"]
    return status, child.connection.text or "\n".join(lines)


def sharing(endpoint: Endpoint, directory: Path) -> SshRunner:
    write_known_hosts(directory / "known_hosts", {"web1": endpoint})
    return SshRunner("web1", endpoint, directory / "known_hosts", LocalRunner(), share=True)


def master(runner: SshRunner) -> int:
    """The pid of the process that has the connection."""
    assert runner._shared is not None and runner._shared._master is not None
    return runner._shared._master.pid
