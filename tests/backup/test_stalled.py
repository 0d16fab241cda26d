"""A backup without progress is ended after `stalled_after`, with the silent side (docs/failures.md, 45).

Real sshd, agent and borg. The storage that takes nothing is a `borg serve` stopped by SIGSTOP.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.harness.machines.host import BackedUpHost, find_borg, slowed, throttled
from tests.harness.machines.hostile.drip import Drip
from tests.harness.steps import backup
from tests.harness.watch import HANG, adopted, command_line, descendants, next_second, until
from tests.harness.worlds.local import LocalVault
from tests.harness.worlds.steps import of
from zborg import process
from zborg.activity import FLOOR, Floor, Side, Watch
from zborg.errors import TimedOut
from zborg.model import Child, Event, Outcome, Status
from zborg.model.storage.zfs import SUSPENDED
from zborg.model.text import remedy
from zborg.process import LocalRunner, Process
from zborg.state.locks import Locks

MIB = 1 << 20
WINDOW = 3


@contextmanager
def frozen() -> Iterator[Callable[[int], None]]:
    """Stops processes; they go on, or are gone, when the block ends."""
    stopped: list[int] = []

    def freeze(pid: int) -> None:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)
            stopped.append(pid)

    try:
        yield freeze
    finally:
        for pid in stopped:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
                os.kill(pid, signal.SIGCONT)


def with_data(vault: LocalVault, rate: int = 128, files: int = 64) -> BackedUpHost:
    """A host with an earlier backup, and files of 64 KiB to send at `rate` KiB/s."""
    host = vault.add("web1")
    assert backup(vault.context()).status is Status.OK
    next_second()
    host.setup("web1", [host.data], borg=throttled(host, rate=rate))
    for number in range(
        files
    ):  # borg counts between files: one large file may give a single sign of progress
        (host.data / f"new{number}").write_bytes(os.urandom(MIB // 16))
    vault.stalled_after, vault.backup["retries"] = WINDOW, 2
    vault.events.clear()
    return host


def on_host(host: BackedUpHost) -> list[int]:
    """What runs in the host's sessions, without its sshd."""
    found = descendants(host.sshd.pid)
    return [pid for pid in found if not command_line(pid).startswith((b"sshd", b"/usr/sbin/sshd"))]


def stalled(vault: LocalVault, at_progress: Callable[[], None]) -> Outcome:
    """One backup in which this happens at the second sign of progress; it was ended soon after the window."""
    seen: list[float] = []

    def emit(event: Event) -> None:
        vault.events.append(event)
        if event.kind == "progress":
            seen.append(time.monotonic())
            if len(seen) == 2:
                at_progress()

    outcome = of(backup(vault.context(emit)), "web1")
    took = time.monotonic() - seen[1]
    assert outcome.status is Status.FAILED
    assert outcome.message.startswith(f"no progress for {WINDOW} seconds: "), outcome
    assert WINDOW <= took < WINDOW + HANG
    assert not [event for event in vault.events if event.kind == "warning"], (
        "another try would only wait again"
    )
    assert not vault.context().locks.is_held("host-web1")
    return outcome


# --- what is ended --------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["its processes", "its sshd too"])
def test_a_frozen_host_is_ended_and_named(vault: LocalVault, what: str) -> None:
    host = with_data(vault)
    with frozen() as freeze:

        def act() -> None:
            pids = on_host(host) if what == "its processes" else descendants(host.sshd.pid)
            for pid in pids:
                freeze(pid)

        outcome = stalled(vault, act)
    assert f"web1 ({vault.endpoints['web1']}) is silent" in outcome.message
    assert remedy.parse(outcome.remedy)[0] == "on web1, as root:"


def test_a_suspended_pool_is_named_and_not_the_host_that_waits_for_it(vault: LocalVault) -> None:
    """All that the host sent lies in buffers: from outside both sides are silent."""
    host = with_data(vault)
    with frozen() as freeze:

        def act() -> None:
            vault.zfs.pools["tank"] = replace(vault.zfs.pools["tank"], health=SUSPENDED)
            for pid in on_host(host):
                freeze(pid)

        outcome = stalled(vault, act)
    assert outcome.message.endswith("the pool tank of this machine is suspended")
    assert remedy.parse(outcome.remedy)[1] == ("zpool status -v tank", "zpool clear tank")


def test_a_storage_that_takes_no_data_is_ended_and_named(vault: LocalVault) -> None:
    host = with_data(vault, rate=4096)  # what is on its way, 3 MiB in buffers, still moves
    (host.data / "more").write_bytes(os.urandom(12 * MIB))
    pids: list[int] = []
    with frozen() as freeze:

        def act() -> None:
            pids.append(adopted(vault.state, "host-web1")[-1])
            for pid in descendants(pids[0]):  # a wall may be a process of its own
                freeze(pid)

        outcome = stalled(vault, act)
    assert (
        f"the storage's side (borg serve of web1's repository, pid {pids[0]}) takes no data"
        in outcome.message
    )
    first, commands = remedy.parse(outcome.remedy)
    assert (first, commands[0]) == ("on this machine, as root:", "zpool status -v tank")


def test_a_host_that_drips_counts_as_stalled(vault: LocalVault) -> None:
    host = with_data(vault)
    with Drip(host.sshd.port) as drip:
        vault.endpoints["web1"] = replace(vault.endpoints["web1"], port=drip.port)
        outcome = stalled(vault, drip.begin)
    assert "is silent, and its connection stands" in outcome.message


# --- what is not ----------------------------------------------------------------------------------------


def test_a_slow_line_is_not_ended(vault: LocalVault) -> None:
    with_data(vault, rate=16, files=2)
    began = time.monotonic()
    assert of(backup(vault.context()), "web1").status is Status.OK
    assert time.monotonic() - began > 2 * WINDOW, "slow enough to be of use"


def test_hashing_a_large_file_without_news_is_not_ended(vault: LocalVault) -> None:
    """No byte moves for several windows; borg's progress lines, and what they count, are the sign of life."""
    host = vault.add("web1")
    large = host.data / "large"
    large.touch()
    os.truncate(large, 64 * MIB)
    assert backup(vault.context()).status is Status.OK
    next_second()
    os.truncate(large, 6 << 30)  # nothing but chunks that the repository has
    vault.stalled_after, vault.timeouts["web1"] = 5, 600
    with slowed(host):
        outcome = of(backup(vault.context()), "web1")
    assert outcome.status is Status.OK, outcome
    assert outcome.data["new_bytes"] < MIB
    assert outcome.data["seconds"] > 2 * vault.stalled_after, "long enough to be of use"


def test_a_wait_for_a_lock_that_is_shorter_than_the_window_is_not_ended(vault: LocalVault) -> None:
    host = vault.add("web1")
    assert backup(vault.context()).status is Status.OK
    next_second()
    host.setup("web1", [host.data], extra_conf=["lock_wait = 60"])
    vault.stalled_after = 30
    home = vault.zfs.directory("tank/borg/web1")
    env = {**os.environ, "BORG_HOST_ID": "elsewhere", "BORG_BASE_DIR": str(vault.directory / "elsewhere")}
    argv = [find_borg(), "with-lock", str(home), "sleep", "4"]
    with subprocess.Popen(argv, env=env, stdin=subprocess.DEVNULL):
        until(lambda: list(home.glob("lock.exclusive/elsewhere*")), "it is locked")
        outcome = of(backup(vault.context()), "web1")
        assert not list(home.glob("lock.exclusive/elsewhere*")), "it waited for that"
    assert outcome.status is Status.OK, outcome


# --- the judge ------------------------------------------------------------------------------------------


@given(
    window=st.integers(1, 1000),
    steps=st.lists(st.tuples(st.floats(0.01, 50), st.floats(0, 1e5)), min_size=1, max_size=60),
)
def test_whoever_is_above_the_floor_in_every_window_is_never_ended(
    window: int, steps: list[tuple[float, float]]
) -> None:
    """And whoever is below it for a whole one is."""
    floor, now, total = Floor(window, 0.0), 0.0, 0.0
    seen = [(0.0, 0.0)]
    for seconds, moved in steps:
        now, total = now + seconds, total + moved
        seen.append((now, total))
        # by hand: the newest look that is a whole window old
        older = [(at, count) for at, count in seen if at <= now - window]
        expected = bool(older) and total - older[-1][1] < FLOOR * (now - older[-1][0])
        assert floor.stalled(now, total) is expected


def test_a_byte_a_minute_is_stalled_and_a_slow_line_is_not() -> None:
    drip, line = Floor(5400, 0.0), Floor(5400, 0.0)
    ended = [minute for minute in range(1, 120) if drip.stalled(60.0 * minute, minute)]
    assert ended[0] == 90
    assert not any(line.stalled(60.0 * minute, 1000.0 * 60 * minute) for minute in range(1, 600))


@pytest.mark.parametrize(
    ("line", "unread", "expected"),
    [
        ("", b"", Side.HOST),
        ("", b"data", Side.STORAGE),
        ('{{"original_size": {bytes}, "nfiles": 3, "type": "archive_progress"}}', b"", None),
        ('{{"original_size": 5, "nfiles": {files}, "type": "archive_progress"}}', b"", None),
        ('{{"current": {bytes}, "type": "progress_percent"}}', b"data", None),
        ('{{"original_size": 5, "nfiles": 3, "type": "archive_progress"}}', b"", Side.HOST),
    ],
)
def test_counts_that_grow_are_progress_and_repeated_ones_are_not(
    line: str, unread: bytes, expected: Side | None
) -> None:
    """Two processes that move nothing: a slow disk, of which a chunk comes now and then."""
    sleepers = [sleeping(), sleeping()]
    reading, writing = os.pipe()
    os.write(writing, unread)
    try:
        watch = Watch([one.pid for one in sleepers], reading, 1)
        found: set[Side | None] = set()
        for nth in range(25):
            watch.note([line.format(bytes=nth * 50_000, files=nth * 10)])
            found.add(watch.silent())
            time.sleep(0.1)
        assert found - {None} == {expected} - {None}
    finally:
        for one in sleepers:
            one.stop()
            one.close()
        os.close(reading)
        os.close(writing)


# --- what not even SIGKILL ends -------------------------------------------------------------------------


@pytest.fixture
def unkillable(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Signals to a group do nothing, as to processes that wait for a suspended pool."""
    real, pids = os.killpg, []

    def killpg(pid: int, number: int) -> None:
        pids.append(pid)
        real(pid, 0)

    monkeypatch.setattr(process, "_DYING", 0.3)
    monkeypatch.setattr(os, "killpg", killpg)
    yield pids
    monkeypatch.undo()
    for pid in set(pids):
        with suppress(ProcessLookupError):
            real(pid, signal.SIGKILL)


def sleeping() -> Child:
    return LocalRunner().start(["sleep", "600"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)


def test_a_process_that_cannot_be_ended_is_left_behind_and_stays_on_record(
    tmp_path: Path, unkillable: list[int]
) -> None:
    locks = Locks(tmp_path, "zborg test")
    began = time.monotonic()
    with locks.hold("host-web1") as lock:
        child = sleeping()
        assert isinstance(child, Process)
        lock.adopt(child)
        assert child.stop(grace=0.2) == -signal.SIGKILL
        child.close()
    assert time.monotonic() - began < HANG
    assert (tmp_path / "host-web1.owner").exists(), "the next run finds it there"
    assert locks.owner("host-web1") is not None


def test_a_command_that_cannot_be_ended_times_out_all_the_same(unkillable: list[int]) -> None:
    began = time.monotonic()
    with pytest.raises(TimedOut):
        LocalRunner().run(["sleep", "600"], timeout=0.3)
    assert time.monotonic() - began < HANG
