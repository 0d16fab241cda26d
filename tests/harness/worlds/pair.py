"""One Zfs with two parents, for the contract of model.Zfs: in memory, in the lab, inside a guest."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.harness.fake_zfs.zfs import FakeZfs
from tests.lab import Guest
from zborg.hosts.ssh.connection import SshRunner
from zborg.hosts.ssh.host_keys import write_known_hosts
from zborg.model import Child, Endpoint, Stream, Zfs
from zborg.process import LocalRunner
from zborg.zfs.commands import CommandZfs

KIB = 1024


@dataclass
class Pair:
    """One Zfs with two parents: `root` is mounted, `away` (mountpoint none) is for receiving."""

    zfs: Zfs
    root: str
    away_name: str
    write: Callable[[str, str, int], None]  # (dataset, file, KiB): random bytes
    exists: Callable[[str], bool]  # a path on that machine
    now: Callable[[], float] = time.time  # that machine's clock, in seconds since 1970
    pause: float = 0  # seconds until a blocked `zfs send` has told its progress
    _made: set[str] = field(default_factory=set)

    @property
    def pool(self) -> str:
        return self.root.split("/")[0]

    @property
    def away(self) -> str:
        """Made when a test first asks: every command in the lab has its price."""
        if self.away_name not in self._made:
            self.zfs.create(self.away_name, {})
            self._made.add(self.away_name)
        return self.away_name

    def child(self, name: str, size: int = 0) -> str:
        """A new dataset below root with one file of `size` KiB."""
        dataset = f"{self.root}/{name}"
        self.zfs.create(dataset, {})
        if size:
            self.write(dataset, "data", size)
        return dataset

    def snap(self, dataset: str, raw: str) -> str:
        self.zfs.snapshot(dataset, raw, {})
        return f"{dataset}@{raw}"

    def names(self, dataset: str) -> list[str]:
        return [snapshot.snapname for snapshot in self.zfs.snapshots(dataset)]

    def guid(self, full: str) -> str:
        return next(s.guid for s in self.zfs.snapshots(full.partition("@")[0]) if s.full == full)

    def destroy(self, dataset: str, *snapnames: str) -> tuple[str, ...]:
        """Those of these that are there, whatever their guid."""
        guids = {s.snapname: s.guid for s in self.zfs.snapshots(dataset) if s.dataset == dataset}
        return self.zfs.destroy(dataset, {raw: guids.get(raw, "1") for raw in snapnames})

    def token(self, dataset: str) -> str | None:
        return self.zfs.datasets(dataset)[0].resume_token

    def transfer(self, stream: Stream, target: str) -> tuple[int, int, str]:
        """Send and receive by one pipe: both statuses, and what was said on stderr."""
        reading, writing = os.pipe()
        sender = self.zfs.send(stream, writing)
        receiver = self.zfs.receive(target, reading)
        os.close(reading)
        os.close(writing)
        words = [drain(sender), drain(receiver)]
        # mypy does not count what a generator yields: two statuses.
        return (*(ended(child) for child in (sender, receiver)), "".join(w() for w in words))  # type: ignore[return-value]  # two, and a text

    def cut(self, stream: Stream, target: str, after: int) -> None:
        """Send, but let only `after` bytes arrive."""
        of_sender, to_receiver = os.pipe(), os.pipe()
        sender = self.zfs.send(stream, of_sender[1])
        receiver = self.zfs.receive(target, to_receiver[0])
        os.close(of_sender[1])
        os.close(to_receiver[0])
        words = [drain(sender), drain(receiver)]
        while after > 0 and (chunk := os.read(of_sender[0], min(after, 65536))):
            after -= len(chunk)
            os.write(to_receiver[1], chunk)
        os.close(to_receiver[1])
        os.close(of_sender[0])
        assert ended(receiver) != 0
        sender.stop()
        assert all(isinstance(word(), str) for word in words)


def drain(child: Child) -> Callable[[], str]:
    """Read a child's stderr to its end, in a thread; returns a function that waits for the text."""
    parts: list[bytes] = []

    def read() -> None:
        while chunk := os.read(child.stderr, 65536):
            parts.append(chunk)

    thread = threading.Thread(target=read, daemon=True)
    thread.start()

    def text() -> str:
        thread.join(30)
        return b"".join(parts).decode()

    return text


def ended(child: Child) -> int:
    for _ in range(1200):
        status = child.poll()
        if status is not None:
            return status
        threading.Event().wait(0.025)
    raise AssertionError(f"{child.argv} did not end in 30 s")


def until(done: Callable[[], bool]) -> None:
    """ZFS counts what is written with the next transaction group, five seconds later at most."""
    for _ in range(300):
        if done():
            return
        threading.Event().wait(0.1)
    raise AssertionError("not in 30 s")


def fake_pair(base: Path) -> Pair:
    zfs = FakeZfs(base)

    def write(dataset: str, name: str, size: int) -> None:
        (zfs.directory(dataset) / name).write_bytes(os.urandom(size * KIB))

    return Pair(zfs, "tank/borg", "tank/away", write, lambda path: Path(path).exists())


class _LabRunner(SshRunner):
    """Streams over the lab's open connection: a new one costs a second, and each test needs several."""

    opened: Callable[[Sequence[str]], list[str]]

    def start(self, argv: Sequence[str], *, stdin: int, stdout: int) -> Child:
        return LocalRunner().start(self.opened(argv), stdin=stdin, stdout=stdout)


def lab_pair(base: Path, guest: Guest) -> Pair:
    """A pool of its own, on a file: others scrub the guest's disk, and these tests look at scrubs."""
    guest.sh("mkdir -p /vdev && truncate -s 2G /vdev/contract && zpool create contract /vdev/contract")
    endpoint = Endpoint("root", guest.address, guest.port, guest.host_key, str(guest.key_file))
    known_hosts = base / "known_hosts"
    write_known_hosts(known_hosts, {"vault": endpoint})
    runner = _LabRunner("vault", endpoint, known_hosts, LocalRunner())
    runner.opened = guest.remote().argv
    guest.remote().connect(30)

    def write(dataset: str, name: str, size: int) -> None:
        runner.run(["dd", "if=/dev/urandom", f"of=/{dataset}/{name}", "bs=1024", f"count={size}"])

    def now() -> float:
        """By the time of a file that is made now, not by `date`, which the adapter asks."""
        return float(runner.run(["sh", "-c", "touch /run/now && stat -c %Y /run/now"]).stdout)

    def exists(path: str) -> bool:
        return runner.run(["sh", "-c", 'test -e "$1" && echo yes || echo no', "-", path]).stdout == "yes\n"

    return Pair(CommandZfs(runner), "contract/borg", "contract/away", write, exists, now, 2.5)


def inside_pair(base: Path) -> Pair:
    """Inside a guest that has python3-libzfs, as root."""
    from zborg.zfs.libzfs import LibZfs

    del base
    runner = LocalRunner()
    runner.run(["truncate", "-s", "2G", "/vdev/contract"])
    runner.run(["zpool", "create", "contract", "/vdev/contract"])

    def write(dataset: str, name: str, size: int) -> None:
        Path(f"/{dataset}/{name}").write_bytes(os.urandom(size * KIB))

    adapter = LibZfs(CommandZfs(runner))
    return Pair(adapter, "contract/borg", "contract/away", write, lambda path: Path(path).exists(), pause=2.5)
