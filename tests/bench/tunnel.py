"""One backup by eight ways: to a local repository, pushed by SSH, by the double SSH of 2020, by zborg.

Every way has a repository, a key and a cache of its own, made before and new in each round; a full backup of
the data, then one with nothing changed. Host and server are this machine, over loopback.

Two of them are what a user does: the whole `zborg backup HOST` as cron runs it, with its configuration,
locks, run files and every connection that it makes, and a push to an sshd whose key can do nothing but this
`borg serve`. As in scripts/bench fleet, `zfs` is a stand-in that lists directories, and `borg serve` runs as
the caller.
"""

from __future__ import annotations

import os
import random
import shlex
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

from tests.bench.fleet.world import FleetWorld
from tests.bench.pairs import machine, table
from tests.harness.machines.host import BackedUpHost, find_borg
from tests.harness.machines.keys import KeyPair, make_key
from tests.harness.machines.sshd import Sshd
from tests.harness.watch import next_second
from zborg.hosts.ssh.algorithms import CIPHERS
from zborg.hosts.ssh.host_keys import write_known_hosts
from zborg.hosts.tunnel import SshTunnel
from zborg.model import Child, Endpoint, Host
from zborg.process import LocalRunner

_PASSPHRASE = "bench"
_REFERENCE = "push, same cipher"
_DOUBLE = "double SSH (2020)"
_FORCED = "push, forced serve"
Way = Callable[[Path, str], None]  # (round's directory, archive)


def main(rounds: int, *, small: bool) -> None:
    with tempfile.TemporaryDirectory(prefix="zborg-bench-") as name:
        bench = Bench(Path(name), scale=100 if small else 1)
        try:
            full, unchanged = bench.measure(rounds)
        finally:
            bench.close()
    print(f"\n{machine()}; borg {_version()}; {bench.described}; {rounds} rounds")
    for title, measured in (("Full", full), ("Unchanged", unchanged)):
        print(f"\n{title}:\n\n" + "\n".join(table(measured, _REFERENCE, _DOUBLE, _FORCED)))


def _version() -> str:
    return subprocess.run([find_borg(), "--version"], capture_output=True, text=True).stdout.split()[-1]


class Bench:
    """The data, two sshd (the host's and the server's) and the ways."""

    def __init__(self, directory: Path, scale: int) -> None:
        self.directory, self.data = directory, directory / "data"
        self.described = self._make_data(scale)
        self.key: KeyPair = make_key(directory / "key")
        self.server = Sshd(directory / "server").start()
        self.server.authorize(self.key.public)
        self.host_sshd = Sshd(directory / "host").start()
        self.host_sshd.authorize(self.key.public)
        self.agents: list[BackedUpHost] = []
        self.worlds = ExitStack()
        self.world: FleetWorld | None = None  # that of the last round
        self.ways: dict[str, Way] = {
            "local repository": self.local,
            "push, default cipher": lambda place, archive: self.push(place, archive, []),
            _REFERENCE: lambda place, archive: self.push(place, archive, ["-c", CIPHERS]),
            _DOUBLE: self.double,
            "zborg, python connector": lambda place, archive: self.zborg(place, archive, "python"),
            "zborg, cat connector": lambda place, archive: self.zborg(place, archive, "cat"),
            _FORCED: self.forced,
            "zborg backup, whole": self.whole,
        }

    def close(self) -> None:
        self.worlds.close()
        for sshd in (self.server, self.host_sshd, *(agent.sshd for agent in self.agents)):
            sshd.stop()

    def _make_data(self, scale: int) -> str:
        """Half of each file is random and half repeats, so that lz4 has something to do."""
        rng = random.Random(20260212)
        for kind, count, size in (("big", 2000 // scale, 1 << 19), ("small", 20_000 // scale, 1000)):
            for number in range(count):
                path = self.data / kind / str(number % 100) / f"{number}"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(rng.randbytes(size // 2) + bytes(str(number), "ascii") * (size // 8))
        total = sum(file.stat().st_size for file in self.data.rglob("*") if file.is_file())
        return f"{total / 2**20:.0f} MiB in {2000 // scale} files and {20_000 // scale} small ones"

    def measure(self, rounds: int) -> tuple[list[dict[str, float]], list[dict[str, float]]]:
        full: list[dict[str, float]] = []
        unchanged: list[dict[str, float]] = []
        for number in range(rounds):
            full.append({})
            unchanged.append({})
            # Another order each round: whoever comes after the big writer pays for its dirty pages.
            for way in random.Random(number).sample(list(self.ways), len(self.ways)):
                place = self.directory / f"{number}-{list(self.ways).index(way)}"
                full[-1][way], unchanged[-1][way] = self.both(way, place)
                shutil.rmtree(place)
                print(
                    f"round {number + 1}, {way}: {full[-1][way]:.2f} / {unchanged[-1][way]:.2f} s", flush=True
                )
        ordered = list(self.ways)
        return [[{w: r[w] for w in ordered} for r in one] for one in (full, unchanged)]  # type: ignore[return-value]  # a pair

    def both(self, name: str, place: Path) -> tuple[float, float]:
        """The seconds of a full backup by this way, and of one with nothing changed."""
        place.mkdir()
        way = self.ways[name]
        way(place, "")  # makes the repository
        return tuple(self._timed(way, place, at) for at in ("000001", "000002"))  # type: ignore[return-value]  # a pair

    def _timed(self, way: Way, place: Path, at: str) -> float:
        os.sync()
        next_second()  # an archive of zborg's has the second in its name
        started = time.monotonic()
        way(place, f"web1-2026-02-12T{at}Z")
        return time.monotonic() - started

    # --- the ways: with archive "" they make the repository ------------------------------------------

    def local(self, place: Path, archive: str) -> None:
        self._borg(place, str(place / "web1"), archive)

    def push(self, place: Path, archive: str, options: list[str]) -> None:
        self._borg(place, self.url(place), archive, options)

    def forced(self, place: Path, archive: str) -> None:
        """With zborg's cipher, and a key that can append to this repository and do nothing else."""
        if not archive:
            key = make_key(place / "key").public
            argv = [find_borg(), "serve", "--append-only", "--restrict-to-repository", f"{place}/web1"]
            serve = shlex.join(["env", f"BORG_BASE_DIR={place}/serve", *argv])
            self.server.authorize(f'restrict,command="{serve}" {key}')
        self._borg(place, self.url(place), archive, ["-c", CIPHERS], place / "key")

    def url(self, place: Path) -> str:
        return f"ssh://{self.server.user}@127.0.0.1:{self.server.port}{place}/web1"

    def double(self, place: Path, archive: str) -> None:
        """The server opens SSH with a way back (-R); inside it the host opens SSH to the server."""
        port = self.server.port + 1
        url = f"ssh://{self.server.user}@localhost:{port}{place}/web1"
        words = [f"{key}={value}" for key, value in self.environment(place, []).items()]
        remote = shlex.join(["env", "-i", *words, *self._command(url, archive)])
        outer = self.host_sshd.client(self.key.private, "ExitOnForwardFailure=yes")
        back = f"127.0.0.1:{port}:127.0.0.1:{self.server.port}"
        subprocess.run([*outer[:1], "-R", back, *outer[1:], remote], check=True, capture_output=True)

    def zborg(self, place: Path, archive: str, connector: str) -> None:
        """The verb as `zborg backup` runs it: agent, FIFOs, one ssh joined with one borg serve."""
        agent = self._agent(place, connector)
        (place / "web1").mkdir(exist_ok=True)
        words = ["create", "web1", archive] if archive else ["init", "web1"]
        self._verb(place, agent, self.key, place / "web1", words)

    def whole(self, place: Path, archive: str) -> None:
        """The program as cron runs it. Its repository is made by the verb alone."""
        if not archive:
            self.world = FleetWorld(place, 1, None, lambda _: None, self.data)
            self.worlds.enter_context(self.world)
            (host,) = self.world.hosts
            return self._verb(place, host, self.world.key, self.world.repository(host), ["init", host.name])
        assert self.world
        with self.world.start(1, self.world.names) as process:
            status = process.wait()
        if status or not self.world.good():
            raise RuntimeError(f"zborg backup: {status}: {self.world.said()}")
        return None

    def _verb(self, place: Path, agent: BackedUpHost, key: KeyPair, home: Path, words: list[str]) -> None:
        endpoint = Endpoint("root", "127.0.0.1", agent.sshd.port, agent.sshd.host_key, str(key.private))
        write_known_hosts(place / "known_hosts", {agent.name: endpoint})

        def serve(_: str, stdin: int, stdout: int) -> Child:
            argv = [find_borg(), "serve", "--append-only", "--restrict-to-repository", str(home)]
            run = LocalRunner(env={"BORG_BASE_DIR": str(place / "serve")})
            return run.start(["env", "-C", str(home.parent), *argv], stdin=stdin, stdout=stdout)

        tunnel = SshTunnel(place / "known_hosts", LocalRunner(), serve, None)
        said: list[str] = []
        status = tunnel.verb(Host(agent.name, endpoint, 0, 600), words, lambda _, lines: said.extend(lines))
        if status:
            raise RuntimeError(f"{words}: {status}: {said[-5:]}")

    def _agent(self, place: Path, connector: str) -> BackedUpHost:
        if not (place / "agent").exists():
            host = BackedUpHost(place / "agent", key=self.key)
            host.setup("web1", [self.data], extra_conf=[f"connector = {connector}"])
            host.sshd.start()
            self.agents.append(host)
        return self.agents[-1]

    def _borg(
        self,
        place: Path,
        url: str,
        archive: str,
        options: Sequence[str] = (),
        identity: Path | None = None,
    ) -> None:
        environment = self.environment(place, options, identity)
        subprocess.run(self._command(url, archive), env=environment, check=True, capture_output=True)

    def _command(self, url: str, archive: str) -> list[str]:
        if not archive:
            return [find_borg(), "init", "-e", "keyfile-blake2", url]
        return [find_borg(), "create", "--json", "--compression", "lz4", f"{url}::{archive}", str(self.data)]

    def environment(
        self, place: Path, options: Sequence[str], identity: Path | None = None
    ) -> dict[str, str]:
        ssh = self.server.client(identity or self.key.private, *(["HostKeyAlias=harness"]))
        plain = [word for word in ssh[:-1] if word not in ("-p", str(self.server.port))]
        return {
            "PATH": os.environ["PATH"],
            "BORG_PASSPHRASE": _PASSPHRASE,
            "BORG_BASE_DIR": str(place / "base"),
            "BORG_RSH": shlex.join([*plain, *options]),
            "BORG_REMOTE_PATH": find_borg(),
        }
