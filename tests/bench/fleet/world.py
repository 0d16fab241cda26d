"""Many hosts and one server on this machine: what scripts/bench fleet measures in.

Each host is a BackedUpHost: an sshd of its own on a port of its own, an agent with configuration, key,
state and repository of its own; the few files they back up are the same for all. The server is `zborg` as
installed, with a zborg.toml; only `zfs` is a stand-in, which lists directories as datasets.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

import tomli_w

from tests.bench.fleet.tables import AUTO, named
from tests.bench.relay import Connection
from tests.harness.checkout import CHECKOUT
from tests.harness.machines.host import BackedUpHost, find_borg
from tests.harness.machines.keys import make_key
from tests.harness.worlds.world import ZBORG

FILES = 20  # of 4 KiB, on every host the same
_END = 30.0  # seconds that zborg has to end in when asked to

# `zfs list -o COLUMNS` of the root and of one dataset per directory below it. No snapshots, no properties.
_ZFS = """\
#!/bin/sh
case $1:$4 in
list:filesystem) ;;
list:snapshot | list:bookmark | get:*) exit 0 ;;
*) echo "zfs: the bench knows no zfs $*" >&2 && exit 1 ;;
esac
printf 'tank/borg\\n' | cat - {names} | awk -v columns="$7" -v pool={pool} '
BEGIN {{ count = split(columns, column, ",") }}
{{
    value["name"] = $1; value["guid"] = NR; value["mounted"] = "yes"; value["used"] = 24576
    value["available"] = "1099511627776"; value["written"] = 0
    value["mountpoint"] = pool substr($1, length("tank/borg") + 1)
    for (at = 1; at <= count; at++) {{
        known = column[at] in value
        printf "%s%s", known ? value[column[at]] : "-", at < count ? "\\t" : "\\n"
    }}
}}'
"""


class RelayProcess:
    """tests.bench.relay before the sshd at `ports`; `ended` are the connections so far, `open` the others."""

    def __init__(self, ports: list[int], one_way: float) -> None:
        argv = [sys.executable, "-m", "tests.bench.relay", str(one_way), *map(str, ports)]
        self._process = subprocess.Popen(
            argv,
            cwd=CHECKOUT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # Ctrl-C is for the bench, which ends it when zborg has ended
        )
        self.pid = self._process.pid
        assert self._process.stdout
        self.listening: list[int] = json.loads(self._process.stdout.readline())
        self.ended: list[Connection] = []
        self.open = 0
        self._reading = threading.Thread(target=self._read)
        self._reading.start()

    def _read(self) -> None:
        assert self._process.stdout
        for line in self._process.stdout:
            one = Connection(**json.loads(line))
            if one.closed is None:
                self.open += 1
            else:
                self.ended.append(one)
                self.open -= 1

    def settle(self) -> None:
        """Wait until the last end has come through. It takes as long as a way takes, once sshd has ended."""
        deadline = time.monotonic() + _END
        while self.open and time.monotonic() < deadline:
            time.sleep(0.01)

    def close(self) -> None:
        assert self._process.stdin
        self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reading.join()


class FleetWorld:
    """`count` hosts with a `round_trip` of that many seconds, None: without a relay, `relay` is not there.

    They back up `data`, else some small files. A context: everything ends with it.
    """

    def __init__(
        self,
        directory: Path,
        count: int,
        round_trip: float | None,
        say: Callable[[str], None] = print,
        data: Path | None = None,
    ) -> None:
        self.directory, self._round_trip, self._say, self._data = directory, round_trip, say, data
        self.names = [f"h{number:03d}" for number in range(count)]
        self.hosts: list[BackedUpHost] = []
        self._closing = ExitStack()

    def __enter__(self) -> Self:
        self._closing.callback(self._sweep)
        try:
            self._make()
        except BaseException:
            self._closing.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.close()

    def repository(self, host: BackedUpHost) -> Path:
        """Where a host's is, or is to be."""
        return self.directory / "pool" / host.name

    @property
    def sshd(self) -> list[int]:
        return [host.sshd.pid for host in self.hosts]

    def start(self, parallel: int, names: Sequence[str]) -> subprocess.Popen[bytes]:
        """`zborg backup` of these hosts, as cron runs it. The caller ends it; end() does."""
        self._write_config(parallel)
        env = {**os.environ, "PATH": f"{self.directory / 'bin'}:{os.environ['PATH']}", "NO_COLOR": "1"}
        argv = [str(ZBORG), "backup", "--config", str(self._config), *names]
        with open(self.directory / "said", "wb") as said:
            return subprocess.Popen(
                argv, env=env, stdin=subprocess.DEVNULL, stdout=said, stderr=said, start_new_session=True
            )

    def good(self) -> int:
        """Hosts with a good outcome in the newest run file."""
        newest = max(
            (self.directory / "vault" / "runs").glob("*.backup.json"),
            key=lambda path: path.stat().st_mtime_ns,
        )
        return sum(one["status"] in ("ok", "warning") for one in json.loads(newest.read_text())["outcomes"])

    def said(self) -> str:
        """What the last zborg has printed."""
        return (self.directory / "said").read_text(errors="replace")

    # --- making ------------------------------------------------------------------------------------------

    def _make(self) -> None:
        self.key = make_key(self.directory / "id_ed25519")
        data = self._data or self._make_data()
        began = time.monotonic()
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            self.hosts = list(pool.map(partial(self._host, data), self.names))
        for host in self.hosts:  # in this thread, whose end would be theirs (PR_SET_PDEATHSIG)
            self._closing.callback(host.sshd.stop)
            host.sshd.start()
        self._say(f"{len(self.hosts)} sshd in {time.monotonic() - began:.0f} s")
        self._make_server()
        self._ports = [host.sshd.port for host in self.hosts]
        if self._round_trip is not None:
            self.relay = RelayProcess(self._ports, self._round_trip / 2)
            self._closing.callback(self.relay.close)
            self._ports = self.relay.listening

    def _make_data(self) -> Path:
        data = self.directory / "data"
        data.mkdir()
        rng = random.Random(20260212)
        for number in range(FILES):
            (data / f"{number}").write_bytes(rng.randbytes(4096))
        return data

    def _host(self, data: Path, name: str) -> BackedUpHost:
        return BackedUpHost(self.directory / name, key=self.key).setup(name, [data])

    def _make_server(self) -> None:
        pool, tools = self.directory / "pool", self.directory / "bin"
        tools.mkdir()
        for name in self.names:
            (pool / name).mkdir(parents=True)
        names = self.directory / "datasets"
        names.write_text("".join(f"tank/borg/{name}\n" for name in self.names))
        (tools / "zfs").write_text(_ZFS.format(names=names, pool=pool))
        (tools / "zfs").chmod(0o755)
        for name in ("locks", "runs"):
            (self.directory / "vault" / name).mkdir(parents=True, mode=0o700)
        self._config = self.directory / "zborg.toml"

    def _write_config(self, parallel: int) -> None:
        hosts = {
            host.name: {"ssh": f"ssh://{host.sshd.user}@127.0.0.1:{port}", "host_key": host.sshd.host_key}
            for host, port in zip(self.hosts, self._ports, strict=True)
        }
        settings = {
            "state_dir": str(self.directory / "vault"),
            "identity": str(self.key.private),
            # Its own user would need a way to this directory; who it is makes no difference to the cost.
            "storage": {"dataset": "tank/borg", "user": self.hosts[0].sshd.user, "borg": find_borg()},
            "backup": {"parallel": parallel if parallel != AUTO else named(AUTO)},
            "hosts": hosts,
        }
        self._config.write_text(tomli_w.dumps(settings))
        self._config.chmod(0o600)

    def _sweep(self) -> None:
        """After everything else: who still has this directory in its command line or environment is ours."""
        deadline = time.monotonic() + 10
        while left := self._left():
            if time.monotonic() > deadline:
                for pid in left:
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                self._say(f"ended by force: {len(left)} processes")
                return
            time.sleep(0.1)

    def _left(self) -> list[int]:
        mark, found = os.fsencode(f"{self.directory}/"), []
        for place in Path("/proc").glob("[1-9]*"):
            with suppress(OSError):  # it may have ended
                if mark in (place / "cmdline").read_bytes() + (place / "environ").read_bytes():
                    found.append(int(place.name))
        return [pid for pid in found if pid != os.getpid()]


def end(process: subprocess.Popen[bytes]) -> None:
    """Ask zborg to stop, as SIGTERM does, and wait; it ends its own children."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(_END)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
