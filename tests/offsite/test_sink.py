"""zborg sink behind a real sshd, with a `zfs` that writes down what it is asked: what comes through, and how.

What real ZFS makes of it is in test_sink_lab.py.
"""

from __future__ import annotations

import os
import re
import shlex
import struct
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.harness.builders.begin import LAYOUT, golden
from tests.harness.checkout import CHECKOUT, GOLDEN_FILES
from tests.harness.machines.keys import make_key
from tests.harness.machines.sshd import Sshd
from zborg.errors import CommandFailed
from zborg.hosts.ssh.connection import SshRunner
from zborg.hosts.ssh.host_keys import write_known_hosts
from zborg.model import P_STATE, Endpoint, SnapshotName
from zborg.model.storage.zfs import P_ABANDON, P_ARRIVED
from zborg.model.text.units import moment
from zborg.process import LocalRunner
from zborg.zfs import argv
from zborg.zfs.commands import CommandZfs
from zborg.zfs.sink import MOST_A_DAY

ROOT = "vault/zborg"
WEB = f"{ROOT}/web1"
OLDER, OLD, NEW = (f"zborg_2026-02-{day}T144933Z" for day in (11, 12, 13))
REST = os.urandom(3_000_000)

# Answers a listing from a file named like its kind, and keeps what it receives.
_ZFS = """#!/bin/sh
cd {directory}
printf '%s\\n' "$(env | sort | tr '\\n' ' ')" >>environment
for word; do printf '[%s]' "$word"; done >>asked
echo >>asked
case "$1 $4" in
    "list filesystem") cat datasets ;;
    "list snapshot") cat snapshots ;;
    get*) cat properties ;;
    receive*) cat >received; cat says >&2; exit "$(cat status)" ;;
esac
"""
_FORCED = """
import atexit, pathlib, resource, sys
peak = pathlib.Path("{directory}/peak")
atexit.register(lambda: peak.write_text(str(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)))
import zborg.cli.offsite.forced
zborg.cli.offsite.forced.PATH = "{directory}:" + zborg.cli.offsite.forced.PATH
from zborg.__main__ import run
sys.argv = ["zborg", "sink", "vault/zborg"]
run()
"""


@dataclass
class Offsite:
    """An off-site host whose sshd has the sink as forced command; `runner` is the sender's."""

    directory: Path
    runner: SshRunner
    client: list[str]

    def holds(self, *rows: str, properties: str = "") -> None:
        (self.directory / "snapshots").write_text("".join(f"{row}\n" for row in rows))
        (self.directory / "properties").write_text(properties)

    def ends(self, status: int, says: str = "") -> None:
        (self.directory / "status").write_text(str(status))
        (self.directory / "says").write_text(says)

    @property
    def asked(self) -> list[list[str]]:
        lines = (self.directory / "asked").read_text().splitlines()
        return [line[1:-1].split("][") for line in lines]

    @property
    def done(self) -> list[list[str]]:
        """What was asked of zfs beside listings."""
        return [words for words in self.asked if words[0] not in ("list", "get")]

    def send(self, data: bytes, command: str = "") -> subprocess.CompletedProcess[bytes]:
        """A stream, as the second half of a sender's pipe brings it."""
        words = [*self.client, command or shlex.join(argv.receive(WEB))]
        return subprocess.run(words, input=data, capture_output=True, timeout=120, check=False)


@pytest.fixture(scope="module")
def reached(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Offsite]:
    base = tmp_path_factory.mktemp("sink")
    zfs = base / "zfs"
    zfs.write_text(_ZFS.format(directory=base))
    zfs.chmod(0o755)
    (base / "forced.py").write_text(_FORCED.format(directory=base))
    key = make_key(base / "key")
    sshd = Sshd(base / "sshd", extra=["AcceptEnv ZFS_*"])
    forced = f"PYTHONPATH={CHECKOUT} {sys.executable} {base}/forced.py"
    sshd.authorize(f'restrict,command="{forced}" {key.public}')
    with sshd:
        endpoint = Endpoint(sshd.user, "127.0.0.1", sshd.port, sshd.host_key, str(key.private))
        write_known_hosts(base / "known_hosts", {"target.offsite": endpoint})
        runner = SshRunner("target.offsite", endpoint, base / "known_hosts", LocalRunner())
        yield Offsite(base, runner, sshd.client(key.private, "SetEnv=ZFS_COLOR=1"))
        runner.close()


@pytest.fixture
def offsite(reached: Offsite) -> Offsite:
    for name in ("asked", "environment", "received", "datasets"):
        (reached.directory / name).write_bytes(b"")
    reached.holds()
    reached.ends(0)
    return reached


def full() -> bytes:
    return golden()["full"] + REST


def row(raw: str, guid: str = "12276400017160084904", dataset: str = WEB, txg: int = 100) -> str:
    return f"{dataset}@{raw}\t{guid}\t{txg}\t1795512044\t0\t0\t-"


# --- listing ----------------------------------------------------------------------------------------


def test_the_senders_adapter_lists_through_it(offsite: Offsite) -> None:
    offsite.holds(row(OLD), properties=f"{WEB}@{OLD}\tzborg:state\tok\n")
    (found,) = CommandZfs(offsite.runner).snapshots(ROOT)
    assert (found.full, found.properties) == (f"{WEB}@{OLD}", {P_STATE: "ok"})
    assert [("zfs", *words) for words in offsite.asked] == [
        argv.list_snapshots(ROOT),
        argv.snapshot_properties(ROOT),
    ]


def test_zfs_runs_with_a_clean_environment(offsite: Offsite) -> None:
    done = offsite.send(b"", shlex.join(argv.list_snapshots(ROOT)))
    assert done.returncode == 0, done.stderr
    (environment,) = (offsite.directory / "environment").read_text().splitlines()
    names = {word.partition("=")[0] for word in environment.split()}
    assert names <= {"PATH", "LC_ALL", "TZ", "PWD", "OLDPWD", "SHLVL", "_"} and "LC_ALL=C" in environment


def test_what_zfs_says_of_a_failure_reaches_the_sender(offsite: Offsite) -> None:
    (offsite.directory / "snapshots").unlink()
    done = offsite.send(b"", shlex.join(argv.list_snapshots(ROOT)))
    assert (done.returncode, done.stdout) == (1, b"") and b"snapshots: No such file" in done.stderr


@pytest.mark.parametrize(
    "command",
    [
        "zfs destroy -r vault/zborg",
        f"zfs receive -s -u -F {WEB}",
        f"zfs receive -s -u {WEB}; zfs destroy {WEB}",
        f"zfs receive -s -u {ROOT}",
        f"zfs receive -s -u {ROOT}/../other",
        f"zfs set {P_ARRIVED}=2020-01-01T00:00:00Z {WEB}@{OLD}",
        f"zfs rollback {WEB}@{OLD}\n",
        "sh",
    ],
)
def test_what_is_refused_reaches_no_zfs(offsite: Offsite, command: str) -> None:
    done = offsite.send(golden()["full"], command)
    assert done.returncode == 4 and re.match(rb"zborg: E_SINK(_COMMAND)? refused by the sink: ", done.stderr)
    assert offsite.asked == []


def test_two_versions_that_do_not_fit_are_told_as_such(
    offsite: Offsite, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One machine is upgraded before the other, and the columns that are asked for have changed."""
    monkeypatch.setattr(argv, "DATASET_COLUMNS", "name,guid,mounted,mountpoint")
    with pytest.raises(CommandFailed, match="it does not do") as refused:
        CommandZfs(offsite.runner).datasets(ROOT)
    assert "another version of zborg answers there:\nzborg doctor" in refused.value.remedy


@pytest.mark.parametrize("root", ["vault/zborgs", "vault", "tank/copies", f"{ROOT[:-1]}"])
def test_a_root_of_another_name_is_reported_as_such(offsite: Offsite, root: str) -> None:
    """The forced command and zborg.toml name different datasets: no other version of zborg is to blame."""
    for ask in (CommandZfs(offsite.runner).datasets, CommandZfs(offsite.runner).snapshots):
        with pytest.raises(CommandFailed, match=f"{root} is not below it") as refused:
            ask(root)
        assert f"this key is for {ROOT}" in refused.value.message
        assert "version" not in refused.value.remedy and "zborg replicate --dry-run" in refused.value.remedy
    assert offsite.asked == []


def test_a_login_without_a_command_is_refused(offsite: Offsite) -> None:
    done = subprocess.run(offsite.client, input=b"", capture_output=True, timeout=120, check=False)
    assert done.returncode == 4 and b"this key opens no shell" in done.stderr and offsite.asked == []


@pytest.mark.parametrize("options", [[], ["--read"]])
def test_it_starts_without_what_it_does_not_need(options: list[str]) -> None:
    """sshd starts it for each of a sender's commands: each of these costs as much again as the whole."""
    heavy = ("typer", "paramiko", "rich", "cattrs", "filelock", "zborg.config", "zborg.cli.main")
    program = (
        "import atexit, sys\nfrom zborg.__main__ import run\n"
        f"atexit.register(lambda: print([name for name in {heavy} if name in sys.modules]))\n"
        f"sys.argv = {['zborg', 'sink', *options, 'nopool/x']}\nrun()"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={"SSH_ORIGINAL_COMMAND": "date +%s", "PYTHONPATH": str(CHECKOUT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    told, loaded = done.stdout.splitlines()
    assert told.isdigit() and loaded == "[]"


# --- receiving --------------------------------------------------------------------------------------


def test_a_stream_arrives_whole_under_the_name_it_may_have(offsite: Offsite) -> None:
    offsite.holds(row(NEW, dataset=f"{WEB}/sub"))  # of a child: it says nothing of this dataset
    done = offsite.send(full())
    assert done.returncode == 0, done.stderr
    assert (offsite.directory / "received").read_bytes() == full()
    received, noted = offsite.done
    assert received == ["receive", "-s", "-u", f"{WEB}@{OLD}"]
    assert noted[0] == "set" and noted[1].startswith(f"{P_ARRIVED}=20") and noted[2:] == [f"{WEB}@{OLD}"]


def test_the_senders_adapter_starts_such_a_stream(offsite: Offsite) -> None:
    with (offsite.directory / "stream").open("wb+") as stream:
        stream.write(full())
        stream.seek(0)
        child = CommandZfs(offsite.runner).receive(WEB, stream.fileno())
        while os.read(child.stderr, 4096):
            pass
        assert child.stop(grace=10) == 0
        child.close()
    assert (offsite.directory / "received").read_bytes() == full()


def test_an_arrival_that_was_not_written_down_is_made_good(offsite: Offsite) -> None:
    """The sink was killed after an earlier stream."""
    known = f"{WEB}@{OLDER}\t{P_ARRIVED}\t2026-02-11T15:00:00Z\n"
    offsite.holds(row(OLDER, guid="1", txg=50), row(OLD), properties=known)
    assert offsite.send(golden()["increment"] + REST).returncode == 0
    assert offsite.done[-1][2:] == [f"{WEB}@{OLD}", f"{WEB}@{NEW}"]


def test_a_stream_that_zfs_refuses_leaves_no_arrival(offsite: Offsite) -> None:
    offsite.ends(1, "cannot receive new filesystem stream: out of space\n")
    done = offsite.send(full())
    assert (done.returncode, done.stderr) == (1, b"cannot receive new filesystem stream: out of space\n")
    assert [words[0] for words in offsite.done] == ["receive"]


@pytest.mark.parametrize("name", ["raw", "clone", "volume", "props", "replicate", "all", "increment"])
def test_streams_that_may_not_come_are_not_received(offsite: Offsite, name: str) -> None:
    done = offsite.send(golden()[name] + REST)
    assert done.returncode == 4 and b"refused by the sink: " in done.stderr
    assert offsite.done == []


@pytest.mark.parametrize("data", [b"", b"x" * 100, b"x" * 1000])
def test_what_is_no_stream_is_not_received(offsite: Offsite, data: bytes) -> None:
    done = offsite.send(data)
    assert done.returncode == 4 and b"not the beginning of a zfs stream" in done.stderr
    assert offsite.done == []


# --- marks and cut streams --------------------------------------------------------------------------


def test_a_mark_is_written_once_on_the_newest(offsite: Offsite) -> None:
    sender = CommandZfs(offsite.runner)
    offsite.holds(row(OLD))
    sender.set([f"{WEB}@{OLD}"], {P_STATE: "ok"})
    assert offsite.done == [["set", f"{P_STATE}=ok", f"{WEB}@{OLD}"]]
    offsite.holds(row(OLD), properties=f"{WEB}@{OLD}\t{P_STATE}\tok\n")
    with pytest.raises(CommandFailed, match="has zborg:state already"):
        sender.set([f"{WEB}@{OLD}"], {P_STATE: "failed"})
    assert len(offsite.done) == 1


def test_giving_up_is_noted_and_refused(offsite: Offsite) -> None:
    sender = CommandZfs(offsite.runner)
    sender.abort_receive(WEB)  # nothing there counts as done
    token = (GOLDEN_FILES / "zfs" / "token-full.txt").read_text().strip()
    (offsite.directory / "datasets").write_text(f"{WEB}\t1\tno\t1\t1\t{token}\t0\toff\tnone\n")
    with pytest.raises(CommandFailed, match="a sender gives nothing up"):
        sender.abort_receive(WEB)
    assert offsite.done == [["set", f"{P_ABANDON}={0xC0AF418CEB721632}", WEB]]


# --- a flood ----------------------------------------------------------------------------------------

TEN_THOUSAND = 10_000


@dataclass
class Flood:
    """Streams that build on each other, as fast as they come; `held` is what was taken, with its arrival."""

    offsite: Offsite
    base: int = 0
    held: list[tuple[str, str]] = field(default_factory=list)  # a row, and its property
    at: datetime = datetime(2026, 2, 12, tzinfo=UTC)

    def fill(self, count: int, arrived: datetime) -> None:
        """As if so many had been taken then."""
        for _ in range(count):
            self._take(arrived)
        self._show()

    def send(self) -> subprocess.CompletedProcess[bytes]:
        done = self.offsite.send(self._next())
        if done.returncode == 0:
            self._take(datetime.now(UTC))
            self._show()
        return done

    def _next(self) -> bytes:
        head = list(struct.unpack(LAYOUT, golden()["increment" if self.base else "full"]))
        name = f"tank/borg/web1@{SnapshotName.of(self.at + timedelta(seconds=1))}"
        head[7:] = [self.base + 1, self.base, name.encode()]
        return struct.pack(LAYOUT, *head)

    def _take(self, arrived: datetime) -> None:
        self.base, self.at = self.base + 1, self.at + timedelta(seconds=1)
        raw = str(SnapshotName.of(self.at))
        mark = f"{WEB}@{raw}\t{P_ARRIVED}\t{moment(arrived)}"
        self.held.append((row(raw, guid=str(self.base), txg=self.base), mark))

    def _show(self) -> None:
        rows, marks = zip(*self.held, strict=True)
        self.offsite.holds(*rows, properties="".join(f"{mark}\n" for mark in marks))


def test_with_ten_thousand_held_a_stream_still_costs_little(offsite: Offsite) -> None:
    """A sender's flood of earlier days makes neither itself nor an honest stream slow or large."""
    flood = Flood(offsite)
    flood.fill(TEN_THOUSAND, datetime.now(UTC) - timedelta(days=2))
    before = datetime.now(UTC)
    assert flood.send().returncode == 0
    assert datetime.now(UTC) - before < timedelta(seconds=15)
    assert int((offsite.directory / "peak").read_text()) < 100_000  # KiB


def test_a_flood_ends_with_the_500th_stream_of_a_day(offsite: Offsite) -> None:
    flood = Flood(offsite)
    flood.fill(MOST_A_DAY - 1, datetime.now(UTC) - timedelta(hours=1))
    assert flood.send().returncode == 0
    for _ in range(2):
        refused = flood.send()
        assert refused.returncode == 4 and b"500 snapshots arrived here within a day" in refused.stderr
    assert [words[0] for words in offsite.done] == ["receive", "set"]


@pytest.mark.deep
@pytest.mark.timeout(3600)
def test_a_flood_of_a_thousand_streams(offsite: Offsite) -> None:
    """Really sent, one after the other: a half is taken, a half refused, and nothing else happens."""
    flood = Flood(offsite)
    statuses = [flood.send().returncode for _ in range(2 * MOST_A_DAY)]
    assert statuses == [0] * MOST_A_DAY + [4] * MOST_A_DAY
    assert [words[0] for words in offsite.done] == ["receive", "set"] * MOST_A_DAY
