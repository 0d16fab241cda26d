"""The sink and hostile clients, behind a real sshd: what they send, how many and how slow they are."""

from __future__ import annotations

import contextlib
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from tests.harness.builders.begin import golden
from tests.harness.checkout import CHECKOUT
from tests.harness.machines.keys import KeyPair, make_key
from tests.harness.machines.sshd import Sshd
from tests.harness.watch import HANG, until
from zborg.cli.offsite import forced as cli
from zborg.zfs import argv
from zborg.zfs.begin import SIZE

ROOT = "vault/zborg"
WEB = f"{ROOT}/web1"
RECEIVE = shlex.join(argv.receive(WEB))
LIST = shlex.join(argv.list_snapshots(WEB))
ACCOUNT = 54_321  # has no processes but ours

_ZFS = """#!/bin/sh
case $1 in
receive) cat >/dev/null ;;
list) head -c 12000000 /dev/zero | tr '\\0' x ;;
send) while :; do printf '12:00:00\\t1\\tx\\n' >&2; sleep 0.1; done ;;
esac
"""
_FORCED = """
import os, pathlib, sys, syslog, tempfile
sys.path.insert(0, "{package}")
tempfile.tempdir = "{directory}/files"
lines = open("{directory}/log", "a", buffering=1)
syslog.openlog, syslog.syslog = (lambda *_: None), (lambda _, words: lines.write(words + "\\n"))
import zborg.cli.offsite.forced as cli
cli.PATH = "{directory}:" + cli.PATH
{lines}
(pathlib.Path("{directory}") / "pid").write_text(str(os.getpid()))
from zborg.__main__ import run
sys.argv = ["zborg", "sink", *{options}, "vault/zborg"]
run()
"""


@dataclass
class Offsite:
    """An off-site's sshd, whose forced command is the sink with limits that a test can wait for."""

    directory: Path
    sshd: Sshd
    key: KeyPair

    def set(self, *lines: str, options: Sequence[str] = ()) -> None:
        """What the forced command's Python does first."""
        words = {"package": CHECKOUT, "directory": self.directory, "options": list(options)}
        text = _FORCED.format(lines="\n".join(lines), **words)
        (self.directory / "forced.py").write_text(text)

    @property
    def log(self) -> str:
        return (self.directory / "log").read_text()

    @property
    def files(self) -> list[Path]:
        """Where the sink would leave what it leaves."""
        return list((self.directory / "files").iterdir())

    def client(self, command: bytes | str) -> subprocess.Popen[bytes]:
        words = [*self.sshd.client(self.key.private), command]
        pipe = subprocess.PIPE
        return subprocess.Popen(words, stdin=pipe, stdout=pipe, stderr=pipe)

    def ask(self, command: bytes | str, data: bytes = b"") -> tuple[int, str]:
        client = self.client(command)
        _, said = client.communicate(data, timeout=120)
        return client.returncode, said.decode()


@pytest.fixture(scope="module")
def reached(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Offsite]:
    base = tmp_path_factory.mktemp("hostile")
    (base / "zfs").write_text(_ZFS)
    (base / "zfs").chmod(0o755)
    (base / "files").mkdir()
    key = make_key(base / "key")
    sshd = Sshd(base / "sshd")
    sshd.authorize(f'restrict,command="{sys.executable} {base}/forced.py" {key.public}')
    with sshd:
        yield Offsite(base, sshd, key)


@pytest.fixture
def offsite(reached: Offsite) -> Offsite:
    (reached.directory / "log").write_text("")
    reached.set()
    return reached


def ended(client: subprocess.Popen[bytes]) -> tuple[int, str]:
    """When it ends by itself: its status, and what it was told."""
    assert client.stderr
    status = client.wait(60)
    return status, client.stderr.read().decode()


def drip(client: subprocess.Popen[bytes]) -> None:
    """A byte now and then, until nobody takes them any more."""
    assert client.stdin
    deadline = time.monotonic() + 60
    with contextlib.suppress(BrokenPipeError):
        while client.poll() is None and time.monotonic() < deadline:
            client.stdin.write(b"x")
            client.stdin.flush()
            time.sleep(0.1)


# --- what they send ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "command",
    [
        b"zfs set zborg:state=ok\xff " + f"{WEB}@zborg_2026-02-12T144933Z".encode(),
        b"zfs receive -s -u " + ROOT.encode() + b"/\xc3\xa4",
        b"\xed\xa0\x80",
        b"zfs list\nzfs destroy vault",
        b"zfs list \x1b[2J",
        b"zfs list " + b"x" * 100_000,
        b"zfs destroy -r vault",
        b"'",
    ],
)
def test_whatever_bytes_come_are_refused_logged_and_leave_nothing(offsite: Offsite, command: bytes) -> None:
    status, said = offsite.ask(command)
    assert status == 4 and re.match("zborg: E_SINK(_COMMAND)? refused by the sink: ", said)
    assert offsite.log.startswith("refused by the sink: ") and "(from 127.0.0.1)" in offsite.log
    assert offsite.log.isascii() and "\x1b" not in offsite.log + said
    assert offsite.files == []


def test_a_bug_is_logged_and_leaves_nothing(offsite: Offsite) -> None:
    offsite.set("import zborg.steps.offsite.sink", "zborg.steps.offsite.sink.serve = lambda *_: {}['here']")
    status, said = offsite.ask("date +%s")
    assert status == 1 and "it failed (KeyError)" in said and "Traceback" not in said
    assert "Traceback" in offsite.log and "KeyError" in offsite.log
    assert offsite.files == []


# --- how many they are ------------------------------------------------------------------------------


def test_only_so_many_wait_at_once(offsite: Offsite) -> None:
    """The kernel counts: who is killed has left, and who comes then is let in."""
    offsite.set(
        "import zborg.model.text.remedy, zborg.process, zborg.steps.offsite.sink, zborg.zfs.commands",
        "cli.TASKS = 4",
        f"pathlib.Path.write_text = lambda *_: None; os.setresuid(*[{ACCOUNT}] * 3)",
    )
    with ExitStack() as closing:
        waiting = []
        for number in range(1, 4):
            waiting.append(closing.enter_context(_client(offsite)))
            until(partial(_come, number), "a sink waits")
        for _ in range(3):
            status, said = offsite.ask(RECEIVE)
            assert status == 4 and "4 processes of this account run already" in said
        assert offsite.log.count("run already") == 3 and _running() == 3
        waiting[0].kill()
        until(lambda: _running() == 2, "the sink of a client that is gone ends")
        assert offsite.ask("echo zborg")[0] == 0


@contextlib.contextmanager
def _client(offsite: Offsite, command: str = RECEIVE) -> Iterator[subprocess.Popen[bytes]]:
    with offsite.client(command) as client:
        try:
            yield client
        finally:
            client.kill()


def _come(number: int) -> bool:
    return _running() == number


def _running() -> int:
    """Sinks of the account that have come as far as waiting: their probe is gone."""
    found = subprocess.run(["ps", "-o", "stat=", "-U", str(ACCOUNT)], capture_output=True, check=False)
    return len(found.stdout.split())


def test_who_waits_costs_little_more_than_a_python(offsite: Offsite) -> None:
    with _client(offsite), _client(offsite, "echo zborg") as other:
        assert other.wait(30) == 0  # the first is past its start too
        until(lambda: _private(offsite) > 0, "a sink waits")
        # With what forced.py imports before the sink.
        bare = [sys.executable, "-c", "import os, pathlib, sys, syslog, tempfile; sys.stdin.read()"]
        with subprocess.Popen(bare, stdin=subprocess.PIPE) as python:
            until(lambda: _waits(python.pid), "a Python waits")
            least = _dirty(python.pid)
            python.kill()
        assert _private(offsite) < least + 2048  # KiB; with all that a stream needs it is 5,000 more


def _private(offsite: Offsite) -> int:
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if str(offsite.directory / "forced.py").encode() in path.read_bytes().split(b"\0"):
                pid = int(path.parent.name)
                return _dirty(pid) if _waits(pid) else 0
    return 0


def _waits(pid: int) -> bool:
    """Blocked in a read of its stdin."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/syscall").read_text().startswith("0 0x0 ")
    return False


def _dirty(pid: int) -> int:
    found = re.search(r"Private_Dirty:\s+(\d+)", Path(f"/proc/{pid}/smaps_rollup").read_text())
    assert found
    return int(found[1])


def test_what_is_read_early_is_one_record() -> None:
    assert cli._RECORD == SIZE


# --- how slow they are ------------------------------------------------------------------------------


@pytest.mark.parametrize("behave", [drip, lambda _: None])
@pytest.mark.parametrize("name", ["web1", "'two words'"])
def test_who_brings_no_first_record_is_ended(
    offsite: Offsite, name: str, behave: Callable[[subprocess.Popen[bytes]], None]
) -> None:
    offsite.set("cli.FIRST_RECORD = 2", "import zborg.steps.offsite.sink as step; step._FIRST_BYTES = 2")
    begun = time.monotonic()
    with _client(offsite, f"zfs receive -s -u {ROOT}/{name}".replace(f"{ROOT}/'", f"'{ROOT}/")) as client:
        behave(client)
        status, said = ended(client)
    assert status == 4 and "refused by the sink" in offsite.log, said
    assert time.monotonic() - begun < HANG


@pytest.mark.parametrize("behave", [drip, lambda _: None])
def test_a_stream_that_stalls_is_ended(
    offsite: Offsite, behave: Callable[[subprocess.Popen[bytes]], None]
) -> None:
    _may_receive(offsite)
    with _client(offsite) as client:
        assert client.stdin
        client.stdin.write(golden()["full"] + bytes(1000))
        client.stdin.flush()
        behave(client)
        status, said = ended(client)
    assert status == 4 and "stalled" in said and "stalled" in offsite.log


def test_a_slow_stream_is_not_ended(offsite: Offsite) -> None:
    """As slow as is allowed, for longer than a stall may last."""
    _may_receive(offsite)
    with _client(offsite) as client:
        assert client.stdin
        client.stdin.write(golden()["full"])
        for _ in range(5):
            client.stdin.write(bytes(1 << 16))
            client.stdin.flush()
            time.sleep(1)
        client.stdin.close()
        assert client.wait(30) == 0
    assert offsite.log == ""


def _may_receive(offsite: Offsite) -> None:
    offsite.set(
        "import zborg.steps.offsite.sink as step",
        "step._STALLED, step._held, step._note_arrival = 3, (lambda *_: []), (lambda *_: None)",
    )


def test_who_does_not_read_an_answer_is_ended(offsite: Offsite) -> None:
    offsite.set("cli.ANSWER = 3")
    with _client(offsite, LIST):
        until(lambda: "nothing moved for too long" in offsite.log, "the sink gives up", seconds=30)


def test_a_reader_who_takes_nothing_is_ended(offsite: Offsite) -> None:
    from zborg.model import Stream

    offsite.set("cli.ANSWER = 3", options=["--read"])
    command = shlex.join(argv.send(Stream(f"{WEB}@zborg_2026-02-12T144933Z")))
    with _client(offsite, command) as client:
        assert ended(client)[0] == 4
    assert "nothing moved for too long" in offsite.log
