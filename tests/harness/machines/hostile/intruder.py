"""Code of an attacker inside `borg serve`: a borg that first does what a file in its repository says."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

# It runs orders.py of its repository and writes down what that did; borg's arguments end with the repository.
BORG = """#!/usr/bin/python3 -I
import json, sys
home = sys.argv[-1]
done = {}
with open(home + "/orders.py") as orders:
    exec(orders.read(), {"home": home, "done": done})
with open(home + "/done.json", "w") as answer:
    json.dump(done, answer)
"""

# Each of these is tried; `done` says which succeeded. WHERE holds what there is to find.
ORDERS = """
import ctypes, os, signal, socket
libc = ctypes.CDLL(None, use_errno=True)
other, pid = WHERE["other"], WHERE["pid"]

def attempt(name, function):
    try:
        done[name] = bool(function())
    except OSError as error:
        done[name] = False

def read(path):
    with open(path, "rb") as file:
        return file.read()

def write(path):
    with open(path, "wb") as file:
        return file.write(b"here") == 4

def connect(family, address):
    with socket.socket(family) as one:
        one.settimeout(5)
        one.connect(address)
        return True

def did(path):
    return True

attempt("read another's segment", lambda: read(other + "/data/0/1"))
attempt("read another's config", lambda: read(other + "/config"))
attempt("list another's files", lambda: os.listdir(other + "/data/0"))
attempt("list the repositories", lambda: "web2" in os.listdir(os.path.dirname(other)))
attempt("truncate another's segment", lambda: os.truncate(other + "/data/0/2", 1) is None)
attempt("write over another's segment", lambda: write(other + "/data/0/3"))
attempt("make a file at another's", lambda: write(other + "/data/0/4"))
attempt("remove another's segment", lambda: os.unlink(other + "/data/0/5") is None)
attempt("rename another's segment", lambda: os.rename(other + "/data/0/6", other + "/data/0/7") is None)
attempt("take another's segment over by a link",
        lambda: os.link(other + "/data/0/8", home + "/taken") is None and read(home + "/taken"))
attempt("reach another's by a link of its own",
        lambda: os.symlink(other, home + "/link") is None and os.listdir(home + "/link/data/0"))
attempt("see processes", lambda: str(pid) in os.listdir("/proc"))
attempt("read a command line", lambda: read("/proc/%d/cmdline" % pid))
attempt("read another's memory", lambda: read("/proc/%d/environ" % pid))
attempt("trace another", lambda: libc.ptrace(0x4206, pid, None, None) == 0)  # PTRACE_SEIZE
attempt("signal another", lambda: os.kill(pid, signal.SIGUSR1) is None)
attempt("reach a port", lambda: connect(socket.AF_INET, ("127.0.0.1", WHERE["port"])))
attempt("reach an abstract socket", lambda: connect(socket.AF_UNIX, chr(0) + WHERE["abstract"]))
attempt("reach a service's socket", lambda: connect(socket.AF_UNIX, WHERE["socket"]))
"""


@dataclass(frozen=True)
class Surroundings:
    """What there is to find for an attacker, besides other repositories."""

    pid: int
    port: int
    abstract: str
    socket: str

    def orders(self, other: Path) -> str:
        where = {
            "other": str(other),
            "pid": self.pid,
            "port": self.port,
            "abstract": self.abstract,
            "socket": self.socket,
        }
        return f"WHERE = {where!r}\n{ORDERS}"


@contextmanager
def surroundings(name: str, victim: list[str]) -> Iterator[Surroundings]:
    """A process of another host's, and three sockets that take every connection. `victim` begins its argv."""
    path = f"/run/{name}.sock"
    with (
        socket.create_server(("127.0.0.1", 0)) as port,
        _listening(f"\0{name}") as abstract,
        _listening(path) as service,
    ):
        Path(path).chmod(0o777)
        for one in (port, abstract, service):
            threading.Thread(target=_take_all, args=[one], daemon=True).start()
        # It ends with the test at the latest, and survives the signal that an attacker sends.
        ready, said = os.pipe()
        argv = [*victim, "sh", "-c", 'trap "" USR1; echo ready; exec sleep 120']
        process = subprocess.Popen(argv, stdout=said, env={**os.environ, "SECRET": "of another host"})
        os.close(said)
        try:
            assert os.read(ready, 16) == b"ready\n"
            yield Surroundings(process.pid, port.getsockname()[1], name, path)
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()
            os.close(ready)
            for one in (port, abstract, service):
                one.shutdown(socket.SHUT_RDWR)  # ends the thread that waits in accept
            Path(path).unlink()


def _listening(address: str) -> socket.socket:
    one = socket.socket(socket.AF_UNIX)
    one.bind(address)
    one.listen()
    return one


def _take_all(listening: socket.socket) -> None:
    while True:
        try:
            listening.accept()[0].close()
        except OSError:  # it was closed
            return


def fill(home: Path) -> None:
    """As borg lays a repository out, as far as an attacker looks."""
    (home / "data" / "0").mkdir(parents=True)
    (home / "config").write_text("[repository]\nid = " + "0" * 64 + "\n")
    for number in range(1, 9):
        (home / "data" / "0" / str(number)).write_bytes(b"segment")


def answer(home: Path) -> Mapping[str, bool]:
    found: dict[str, bool] = json.loads((home / "done.json").read_text())
    return found
