"""Where a host of the tests may live: namespaces of its own. Linux, and root like zborg itself."""

from __future__ import annotations

import os
import secrets
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tests.harness.watch import kill


@dataclass(frozen=True)
class Place:
    """Its address, and the command that starts a process there."""

    address: str = "127.0.0.1"
    prefix: tuple[str, ...] = ()


# Nobody else's processes are seen there, and all of them end with the first.
ALONE = Place(prefix=("unshare", "--pid", "--fork", "--kill-child", "--mount-proc"))


def ip(*words: str) -> str:
    return subprocess.run(["ip", *words], check=True, capture_output=True, text=True).stdout


@dataclass(frozen=True)
class Network(Place):
    """A network namespace, joined to ours by a veth pair of which `link` is our end."""

    name: str = ""
    link: str = ""

    def run(self, *argv: str) -> str:
        done = subprocess.run([*self.prefix, *argv], check=True, capture_output=True, text=True)
        return done.stdout

    def sockets(self) -> list[str]:
        """What listens there, and every socket that waits for anybody: TCP, UDP, Unix."""
        lines = self.run("ss", "-H", "-lntuxp").splitlines()
        return sorted(" ".join(line.split()) for line in lines)

    def pids(self) -> list[int]:
        return [int(pid) for pid in ip("netns", "pids", self.name).split()]

    def cut(self) -> None:
        """As if somebody pulled the cable: nobody is told."""
        ip("link", "set", self.link, "down")

    def mend(self) -> None:
        ip("link", "set", self.link, "up")


@contextmanager
def network() -> Iterator[Network]:
    """Needs root; without it the test fails."""
    assert os.geteuid() == 0, "making a network namespace needs root"
    tag = secrets.token_hex(3)
    net = f"10.{secrets.randbelow(200) + 30}.{secrets.randbelow(250) + 2}"
    name, link = f"zborg-{tag}", f"zb{tag}"
    made = Network(f"{net}.2", ("ip", "netns", "exec", name), name, link)
    ip("netns", "add", name)
    try:
        ip("link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", name)
        ip("addr", "add", f"{net}.1/30", "dev", link)
        ip("link", "set", link, "up")
        made.run("ip", "addr", "add", f"{made.address}/30", "dev", "eth0")
        made.run("ip", "link", "set", "eth0", "up")
        made.run("ip", "link", "set", "lo", "up")
        yield made
    finally:
        for pid in made.pids():
            kill(pid)
        ip("netns", "delete", name)  # and its end of the veth pair, which takes ours along
