"""What a server can keep busy on a host: sessions, the time of a verb, what a restore writes past its cap."""

from __future__ import annotations

import fcntl
import os
import subprocess
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from tests.harness.machines.agent import A1, A2, SNAPSHOT, Lab, wait_until
from tests.harness.machines.host import BackedUpHost
from tests.harness.watch import HANG
from zborg.borg.log import BorgLog
from zborg.borg.verdict import judge
from zborg.model import Status

STARVING = ("sh", "-c", "exec sleep 600")  # a `borg serve` that never takes a byte, nor sends one
MIB = 1 << 20
# What a stand-in for borg does otherwise: --setup and version ask borg, too.
ONLY_CREATE = 'case "$*" in *" create "*) ;; *) exit 0 ;; esac\n'
ONLY_EXTRACT = 'case "$*" in *" extract "*) ;; *) exit 0 ;; esac\n'


@pytest.fixture(params=["sh", "busybox", "bash"])
def lab(request: pytest.FixtureRequest, tmp_path: Path, enrolled: Path) -> Iterator[Lab]:
    made = Lab(tmp_path, "busybox" if request.param == "busybox" else "sh", "auto")
    if request.param == "bash":
        by_bash(made.host)
    made.init(enrolled)
    with made.host:
        yield made


def by_bash(host: BackedUpHost) -> None:
    """As where /bin/sh is bash."""
    (place := host.directory / "bash").mkdir()
    (place / "sh").symlink_to("/bin/bash")
    text = host.agent.read_text()
    assert text.count("\nsh=/bin/sh\n") == 1
    host.agent.write_text(text.replace("\nsh=/bin/sh\n", f"\nsh={place}/sh\n"))


# --- time ---


def test_a_starving_server_does_not_keep_what_before_stopped(lab: Lab, tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    hooks = [f"{kind} = echo $ZBORG_HOOK $ZBORG_STATUS >>{seen}" for kind in ("before", "after", "on_error")]
    lab.configure("max_time = 2s", *hooks)
    began = time.monotonic()
    with lab.host.pair(lab.root, "create", "web1", A1, serve=STARVING) as pair:
        wait_until(lambda: pair.left.poll() is not None, pair.left_stderr)
        took, status = time.monotonic() - began, pair.left.returncode
        said = pair.left_stderr()
    assert status == 67, said
    assert "zborg-agent: E_TOO_LONG create stopped: it took longer than 2 seconds (max_time in " in said
    assert took < HANG, "it ended because the server did"
    assert seen.read_text().split("\n") == ["before 0", "after 67", "on_error 67", ""]
    lab.assert_clean()


def test_a_borg_that_does_not_want_to_end_is_killed(lab: Lab) -> None:
    stubborn = lab.script("stubborn", f"{ONLY_CREATE}trap '' TERM\nwhile :; do sleep 1; done\n")
    lab.configure("max_time = 1s", borg=stubborn)
    began = time.monotonic()
    assert lab.host.verb(lab.root, "create", "web1", A1, serve=("true",)).status == 67
    assert time.monotonic() - began < HANG
    lab.assert_clean()


def test_every_verb_that_holds_the_lock_has_an_end(lab: Lab) -> None:
    lab.configure("max_time = 1s", "keep_last = 1")
    for words in (("prune", "web1"), ("list", "web1", "1"), ("sample", "web1", A2)):
        with lab.host.pair(lab.root, *words, serve=STARVING) as pair:
            wait_until(lambda: pair.left.poll() is not None, pair.left_stderr)  # noqa: B023  # called in this turn
            assert pair.left.returncode == 67, pair.left_stderr()


def test_a_backup_in_time_is_not_disturbed(lab: Lab) -> None:
    lab.configure("max_time = 1m")
    assert "stopped" not in lab.ok("create", "web1", A1).stderr


@pytest.mark.parametrize("value", ["0s", "60", "h"])
def test_a_time_that_is_none_is_refused(lab: Lab, value: str) -> None:
    (lab.host.confdir / "agent.conf").open("a").write(f"max_time = {value}\n")
    assert lab.host.call("version").returncode == 2


def test_the_server_says_what_the_host_allows() -> None:
    log = BorgLog()
    log.feed('{"type": "log_message", "levelname": "ERROR", "message": "terminated by SIGTERM"}')
    log.feed("zborg-agent: borg ended with 143")
    log.feed("zborg-agent: create stopped: it took longer than 2 seconds (max_time in /etc/zborg/agent.conf)")
    status, message, remedy = judge(67, log)
    assert status is Status.FAILED and message.startswith("zborg-agent: create stopped")
    assert "max_time" in remedy


# --- sessions ---


@contextmanager
def taken(lab: Lab, kind: str, places: Iterable[int]) -> Iterator[None]:
    """These places of a kind are held by others."""
    with ExitStack() as stack:
        for number in places:
            place = os.open(lab.host.run / f"place.{kind}.{number}", os.O_WRONLY | os.O_CREAT, 0o600)
            stack.callback(os.close, place)
            fcntl.flock(place, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield


@pytest.mark.parametrize(("kind", "most"), [("version", 4), ("escrow", 2), ("lend", 1)])
def test_verbs_without_the_lock_are_few_at_once(agent: Lab, kind: str, most: int) -> None:
    words = f"{kind} web1" if kind == "lend" else kind
    with taken(agent, kind, range(1, most + 1)):
        refused = agent.host.call(words)
        assert refused.returncode == 75, refused.stderr
        assert f"busy: {most} sessions with {kind} are at work on this host".encode() in refused.stderr
    if kind == "version":
        with taken(agent, kind, range(1, most)):
            assert agent.host.call(words).returncode == 0, "one place is free"
    agent.assert_clean()


@contextmanager
def asking(lab: Lab, count: int) -> Iterator[None]:
    """So many sessions that ask for the version of a borg that does not answer; killed at the end."""
    lab.configure(borg=lab.script("slow", 'case "$*" in --version) exec sleep 60 ;; esac\n'))
    null = subprocess.DEVNULL
    sessions = [subprocess.Popen(lab.host.ssh("version"), stdout=null, stderr=null) for _ in range(count)]
    try:
        yield
    finally:
        for line in lab.processes():
            subprocess.run(["kill", "-9", line.split()[0]], check=False, stderr=null)
        for session in sessions:
            session.wait(20)


def test_of_many_at_once_four_are_let_in_and_killed_ones_make_room(lab: Lab) -> None:
    """By flock(1), and where there is none (Debian's busybox) by links that hold a pid."""
    with asking(lab, 8):
        wait_until(lambda: slow(lab) == 4, lambda: f"{slow(lab)} at work")
        refused = lab.host.call("version")
        assert refused.returncode == 75 and b"busy: 4 sessions with version" in refused.stderr
        assert slow(lab) == 4
    lab.configure()
    assert lab.host.call("version").returncode == 0, "whoever was killed holds nothing"
    lab.assert_clean()


def slow(lab: Lab) -> int:
    return sum("sleep" in line and "60" in line for line in lab.processes())


# --- what a restore writes ---


def test_a_restore_passes_its_cap_by_little(lab: Lab) -> None:
    """By a stand-in for borg that writes about 200 MiB a second, as borg does where data compresses well."""
    writing = (
        "n=0\nwhile [ $n -lt 100 ]; do head -c 4194304 /dev/zero >>dense; n=$((n + 1)); sleep 0.02; done\n"
    )
    lab.configure(borg=lab.script("writer", f"{ONLY_EXTRACT}{writing}"))
    cap = 60 * MIB
    lab.allow(lab.data, cap=cap)
    peak, ended = [0], threading.Event()

    def watch() -> None:
        file = lab.restored("one") / "dense"
        while not ended.is_set():
            with suppress(FileNotFoundError):
                peak[0] = max(peak[0], file.stat().st_blocks * 512)
            time.sleep(0.005)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        result = lab.host.verb(
            lab.root, "restore", "web1", A1, "one", SNAPSHOT, str(lab.data), serve=("true",)
        )
    finally:
        ended.set()
        thread.join()
    assert result.status == 2 and "restore stopped: over" in result.stderr, result
    assert cap <= peak[0] < 1.2 * cap, f"{peak[0] / MIB:.0f} MiB"
    assert not lab.restored("one").exists()
