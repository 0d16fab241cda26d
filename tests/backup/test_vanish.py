"""A host whose network goes away in the middle (docs/failures.md, 20): a link goes down, nobody is told."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator

import pytest

from tests.harness.machines.host import throttled
from tests.harness.places import Network, network
from tests.harness.steps import Request, backup
from tests.harness.watch import assert_all_ended, command_line, next_second, until
from tests.harness.worlds.local import LocalVault
from tests.harness.worlds.steps import of
from zborg.errors import Exit
from zborg.hosts.ssh import connection
from zborg.model import Emit, Event, Status
from zborg.planning.backup import schedule

MIB = 1 << 20
SLACK = 10.0  # seconds; a busy machine, and stopping the other side


@pytest.fixture
def far() -> Iterator[Network]:
    with network() as made:
        yield made


def add_far_host(vault: LocalVault, far: Network, interval: int) -> None:
    """Its sshd has the keepalives of README, with another interval."""
    alive = (f"ClientAliveInterval {interval}", "ClientAliveCountMax 4")
    host = vault.add("far", place=far, sshd_options=alive)
    host.setup("far", [host.data], borg=throttled(host, rate=1024))
    (host.data / "new").write_bytes(os.urandom(4 * MIB))


def at_work(far: Network) -> bool:
    return any(b"borg" in command_line(pid) for pid in far.pids())


def listening(vault: LocalVault, acts: dict[str, Callable[[], None]]) -> Emit:
    """Does what `acts` has for a kind of event when "far" has its first one."""

    def emit(event: Event) -> None:
        if event.subject == "far" and (act := acts.pop(event.kind, None)):
            act()
        vault.events.append(event)

    return emit


@pytest.mark.parametrize(
    "interval", [pytest.param(1, id="1s"), pytest.param(15, id="15s", marks=pytest.mark.deep)]
)
def test_a_host_that_vanishes_ends_within_the_keepalive_limit_and_the_next_run_is_good(
    vault: LocalVault, far: Network, monkeypatch: pytest.MonkeyPatch, interval: int
) -> None:
    assert (connection._ALIVE_INTERVAL, connection._ALIVE_COUNT) == (15, 4)
    monkeypatch.setattr(connection, "_ALIVE_INTERVAL", interval)
    add_far_host(vault, far, interval)
    vault.timeouts["far"] = 40 * interval
    for name in ("web2", "web3"):
        vault.add(name)
    times: list[float] = []

    def note() -> None:
        times.append(time.monotonic())

    def pull() -> None:
        far.cut()
        note()

    report = backup(vault.context(listening(vault, {"progress": pull, "finished": note})))
    assert report.exit is Exit.PARTIAL
    assert of(report, "web2").status is of(report, "web3").status is Status.OK
    outcome = of(report, "far")
    assert (outcome.status, outcome.message.partition(":")[0]) == (
        Status.FAILED,
        "lost the connection to far",
    )
    limit = interval * connection._ALIVE_COUNT
    assert limit / 2 < times[1] - times[0] < limit + interval + SLACK
    far.mend()
    until(lambda: not at_work(far), "the host has noticed as well", limit + interval + SLACK)
    next_second()
    assert backup(vault.context(), Request(hosts=["far"])).exit is Exit.OK
    assert_all_ended(vault.directory)


def test_a_host_that_comes_back_in_time_is_good_in_the_same_run(
    vault: LocalVault, far: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "_ALIVE_INTERVAL", 1)
    monkeypatch.setattr(schedule, "_FIRST_WAIT", 2.0)
    add_far_host(vault, far, 1)
    vault.backup["retries"] = 3

    emit = listening(vault, {"progress": far.cut, "warning": far.mend})
    outcome = of(backup(vault.context(emit)), "far")
    assert outcome.status is Status.OK, outcome
    assert outcome.data["tries"] >= 2
    assert outcome.data["original_bytes"] >= 4 * MIB
