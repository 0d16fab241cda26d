"""kill -9 and power cuts at observed points: the next run mends everything, with no hand.

Three points of each matrix in an ordinary run, ten or twenty with --deep. A point is an event that is waited
for (bytes that went through a process, a progress line, a file), never a time.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.conftest import Lab
from tests.harness.machines.host import BackedUpHost, throttled
from tests.harness.processes import backup_process
from tests.harness.watch import assert_all_ended, kill, newest_pair, next_second, passed, streamed, until
from tests.harness.worlds.local import LocalVault
from tests.harness.worlds.world import World, guids, only, outcomes
from zborg.zfs.output import tokens

KIB, MIB = 1 << 10, 1 << 20
NEW = 6 * MIB  # of random data for each backup that is to be killed

Point = tuple[str, int]  # (what is counted, how many)


def points(seed: int, largest: int, *special: Point) -> list[object]:
    """Ten seeded points in random order; the first three are for every run."""
    chance = random.Random(seed)
    counts = chance.sample(range(64 * KIB, largest), 10 - len(special))
    ten = [*special, *(("bytes", count) for count in counts)]
    chance.shuffle(ten)
    marks = [() if place < 3 else (pytest.mark.deep,) for place in range(10)]
    return [
        pytest.param(point, id=f"{point[0]}-{point[1]}", marks=mark)
        for point, mark in zip(ten, marks, strict=True)
    ]


# --- a backup, on loopback ----------------------------------------------------------------------------


@dataclass
class Nights:
    """One vault, and every archive that was ever reported good."""

    vault: LocalVault
    host: BackedUpHost
    good: list[str] = field(default_factory=list)

    @property
    def home(self) -> Path:
        return self.vault.zfs.directory("tank/borg/web1")

    def start(self) -> subprocess.Popen[str]:
        next_second()
        return backup_process.start(self.vault)

    def succeed(self) -> None:
        process = self.start()
        out, _ = process.communicate(timeout=120)
        assert process.returncode == 0, out + (self.vault.directory / "events").read_text()
        self.good.append(only(json.loads(out))["data"]["archive"])

    def pair(self) -> tuple[int, int] | None:
        """(ssh to the host, borg serve) of the verb that runs now."""
        return newest_pair(self.vault.state, "host-web1")

    def reached(self, point: Point) -> bool:
        kind, count = point
        if kind == "progress":
            return (self.vault.directory / "events").read_text().count("progress web1") >= count
        pair = self.pair()
        return pair is not None and passed(pair[1], "rchar") >= count

    def archives(self) -> list[str]:
        done = self.host.verb(self.home.parent, "list", "web1", "999")
        assert done.status == 0, done.stderr
        text = "\n".join(line[2:] for line in done.stderr.splitlines() if line.startswith("= "))
        return [archive["name"] for archive in json.loads(text)["archives"]]

    def assert_whole(self) -> None:
        """Every archive is there; no process, no lock and no directory of a session is left."""
        assert set(self.good) <= set(self.archives())
        assert_all_ended(self.vault.directory)
        left = [*self.home.glob("lock.*"), *self.vault.state.glob("locks/*.owner")]
        left += [*self.host.run.glob("session.*"), *self.host.run.glob("base.*")]
        left += [*(self.host.state / "borg").rglob("lock.*")]
        assert left == []
        assert not self.vault.context().locks.is_held("host-web1")


@pytest.fixture(scope="module")
def nights(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nights]:
    vault = LocalVault(tmp_path_factory.mktemp("nights"))
    host = vault.add("web1")
    host.setup("web1", [host.data], borg=throttled(host))
    made = Nights(vault, host)
    made.succeed()
    yield made
    vault.close()


def there_or_over(nights: Nights, point: Point, process: subprocess.Popen[str]) -> Callable[[], bool]:
    return lambda: nights.reached(point) or process.poll() is not None


def stopped_at(nights: Nights, point: Point) -> tuple[subprocess.Popen[str], tuple[int, int]]:
    """A backup at that point. On a busy machine one may be over before it was seen there: then another."""
    for _ in range(4):
        (nights.host.data / "new").write_bytes(os.urandom(NEW))
        process = nights.start()
        until(there_or_over(nights, point, process), f"{point}")
        pair = nights.pair()
        if pair is not None and process.poll() is None:
            return process, pair
        process.communicate(timeout=120)
    raise AssertionError("every backup was over before its point")


@pytest.mark.parametrize("victim", ["zborg", "ssh", "serve"])
@pytest.mark.parametrize("point", points(20260212, NEW - MIB, ("bytes", 1), ("progress", 1), ("progress", 3)))
def test_after_a_kill_in_a_backup_the_next_one_is_good(nights: Nights, victim: str, point: Point) -> None:
    process, pair = stopped_at(nights, point)
    kill({"zborg": process.pid, "ssh": pair[0], "serve": pair[1]}[victim])
    out, _ = process.communicate(timeout=120)
    assert process.returncode == (-9 if victim == "zborg" else 4), out
    nights.succeed()
    nights.assert_whole()


@pytest.mark.parametrize("victim", ["zborg", "ssh", "serve"])
def test_after_a_kill_in_the_very_first_backup_the_next_one_is_good(tmp_path: Path, victim: str) -> None:
    """While the repository is being made: between `config` on the server and the id on the host."""
    vault = LocalVault(tmp_path)
    host = vault.add("web1")
    nights = Nights(vault, host)
    try:
        process = nights.start()
        until((nights.home / "config").exists, "the server has begun a repository")
        pair = nights.pair()
        assert pair is not None
        kill({"zborg": process.pid, "ssh": pair[0], "serve": pair[1]}[victim])
        process.communicate(timeout=120)
        assert process.returncode in (-9, 4)
        nights.succeed()
        nights.assert_whole()
    finally:
        vault.close()


# --- a backup, with borg serve on the storage guest ---------------------------------------------------


@pytest.fixture(scope="module")
def remote(lab: Lab) -> World:
    world = lab.world("kills")
    host = lab.host(world, "cut1")
    (host.data / "first").write_bytes(os.urandom(100_000))
    world.write_config()
    world.report("init")
    host.setup("cut1", [host.data], borg=throttled(host))
    world.report("backup")
    return world


@pytest.mark.lab
@pytest.mark.parametrize(
    ("victim", "point"),
    [
        ("zborg", 1 * MIB),
        ("serve", 2 * MIB),
        *(
            pytest.param(victim, count, marks=pytest.mark.deep)
            for victim in ("zborg", "serve")
            for count in random.Random(20260213).sample(range(64 * KIB, 5 * MIB), 9)
        ),
    ],
)
def test_after_a_kill_on_the_storage_the_next_backup_is_good(remote: World, victim: str, point: int) -> None:
    (remote.hosts["cut1"].data / "new").write_bytes(os.urandom(NEW))
    next_second()
    process = remote.start("backup", "--json")
    pair = until(lambda: newest_pair(remote.state, "host-cut1"), "the verb starts")
    until(lambda: passed(pair[1], "rchar") > point, f"{point} bytes went to the storage")
    pids = serving(remote)
    assert len(pids) == 1
    if victim == "zborg":
        kill(process.pid)
    else:
        remote.vault.ssh(["kill", "-9", *pids])
    out, _ = process.communicate(timeout=120)
    assert process.returncode == (-9 if victim == "zborg" else 4), out
    next_second()
    assert remote.report("backup")["status"] == "ok"
    until(lambda: not serving(remote), "borg serve has ended on the storage")
    assert remote.vault.sh("ls -d /tank/borg/cut1/lock.* 2>/dev/null || :") == ""
    assert list((remote.state / "locks").glob("*.owner")) == []


def serving(world: World) -> list[str]:
    found = world.vault.ssh(["pgrep", "-u", "zborg-serve", "-f", "serve --append-only"], check=False)
    return found.stdout.split()


# --- a replication ------------------------------------------------------------------------------------


LARGE = 10 * MIB
ON_THE_WAY = 7 * MIB  # what a pipe and two ssh with their windows may hold before anything has arrived


@dataclass
class Line:
    """One dataset and its copy; `step` makes the next snapshot."""

    world: World
    count: int = 0

    def step(self, size: int) -> None:
        self.count += 1
        name = f"tank/line/a@zborg_2026-01-01T0300{self.count:02d}Z"
        self.world.vault.sh(f"head -c {size} /dev/urandom >/tank/line/a/data; zfs snapshot {name}")

    def start(self) -> subprocess.Popen[str]:
        """`replicate`, with its stream begun."""
        process = self.world.start("replicate", "--json")
        until(lambda: newest_pair(self.world.state, "dataset-tank:line:a"), "the stream starts")
        return process

    @property
    def there(self) -> dict[str, str]:
        assert self.world.offsite is not None
        return guids(self.world.offsite, "vault/line")

    def token(self) -> str:
        assert self.world.offsite is not None
        argv = ["zfs", "get", "-H", "-o", "value", "receive_resume_token", "vault/line/a"]
        return self.world.offsite.ssh(argv).stdout.strip().strip("-")

    def received(self) -> int:
        """Bytes of a cut stream that the target keeps."""
        token = self.token()
        return tokens.decode(token).received if token else 0

    def assert_mended(self, before: dict[str, str]) -> None:
        """The next run sends what is missing, and of a cut stream only the rest."""
        assert before.items() <= self.there.items()
        received = self.received()
        report = self.world.report("replicate")
        data = outcomes(report)["offsite:vault/line/a"]["data"]
        if received:
            assert any("resume tank/line/a@" in line for line in report["plan"]), report["plan"]
        # A resumed stream begins at a whole record, and its announced size is an estimate.
        assert 0 < data["bytes"] <= LARGE * 1.03 - received
        assert data["lost_bytes"] == 0
        here = {k: v for k, v in guids(self.world.vault, "tank/line").items() if k.startswith("/")}
        assert self.there == here
        assert list((self.world.state / "locks").glob("*.owner")) == []
        assert_all_ended(self.world.directory)


@pytest.fixture(scope="module")
def line(lab: Lab) -> Line:
    """The first stream has arrived, so that the killed ones are increments."""
    world = lab.world("line", "tank/line", "vault/line")
    world.write_config()
    world.report("init")
    lab.vault.sh("zfs create -o recordsize=128k tank/line/a")
    made = Line(world)
    made.step(1000)
    world.report("replicate")
    return made


@pytest.mark.lab
@pytest.mark.parametrize("point", points(20260218, LARGE - 2 * MIB, ("bytes", 1)))
def test_after_a_kill_in_a_replication_the_next_one_sends_the_rest(line: Line, point: Point) -> None:
    line.step(LARGE)
    before = line.there
    process = line.start()
    until(lambda: streamed(process.pid) >= point[1], f"{point}")
    kill(process.pid)
    process.communicate(timeout=120)
    assert process.returncode == -9
    if point[1] > ON_THE_WAY:
        until(line.received, "the target keeps what arrived")
    line.assert_mended(before)


@pytest.mark.lab
@pytest.mark.parametrize(
    "point",
    [
        pytest.param(n, marks=() if place < 3 else pytest.mark.deep)
        for place, n in enumerate(random.Random(20260215).sample(range(64 * KIB, LARGE - 64 * KIB), 20))
    ],
)
def test_after_a_power_cut_of_the_target_the_next_replication_is_good(line: Line, point: int) -> None:
    """kill -9 of the guest, anywhere from the first record of a stream to its last."""
    assert line.world.offsite is not None
    line.step(LARGE)
    before = line.there
    process = line.start()
    until(lambda: streamed(process.pid) >= point, f"{point} bytes were sent")
    line.world.offsite.kill()
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 4, out
    line.world.offsite.start()
    line.assert_mended(before)
