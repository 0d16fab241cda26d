"""Many hosts in one run: order, waits, retries, and the end of it all; on real sshd, agents and borg."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import timedelta

import pytest

from tests.harness.builders.reports import result
from tests.harness.machines.host import BackedUpHost, find_borg, throttled
from tests.harness.machines.keys import make_key
from tests.harness.processes import backup_process
from tests.harness.steps import backup
from tests.harness.watch import HANG, assert_all_ended, command_line, descendants, kill, next_second, until
from tests.harness.worlds.local import LocalVault
from tests.harness.worlds.steps import dataset_only, of
from zborg.errors import Exit
from zborg.interrupt import cancelled
from zborg.model import Emit, Event, Outcome, Report, Status, utc_now
from zborg.model.events import Planned, Waiting
from zborg.planning.backup import schedule

MIB = 1 << 20


@pytest.fixture
def uncancelled() -> Iterator[None]:
    yield
    cancelled.clear()


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries after one to two seconds."""
    monkeypatch.setattr(schedule, "_FIRST_WAIT", 2.0)


def told(vault: LocalVault, kind: str, subject: str) -> list[Event]:
    return [event for event in vault.events if (event.kind, event.subject) == (kind, subject)]


def once(vault: LocalVault, kind: str, act: Callable[[], object]) -> Emit:
    """A listener that acts at the first event of that kind."""

    def emit(event: Event) -> None:
        first = event.kind == kind and not any(one.kind == kind for one in vault.events)
        vault.events.append(event)
        if first:
            act()

    return emit


def sessions(host: BackedUpHost) -> set[int]:
    """sshd's processes for the connections of the moment."""
    assert host.sshd._process is not None
    listener = host.sshd._process.pid
    return {pid for pid in descendants(listener) - {listener} if command_line(pid).startswith(b"sshd")}


# --- the order ----------------------------------------------------------------------------------------


def test_hosts_start_longest_first_by_their_history(vault: LocalVault) -> None:
    dataset_only(vault, "short", "long", "new", "middle")
    vault.backup["parallel"] = 1
    context = vault.context()
    known = {"short": 10, "long": 3000, "middle": 600}
    outcomes = [
        Outcome("host", name, Status.OK, result=result("host", {"seconds": s})) for name, s in known.items()
    ]
    yesterday = backup(context, dry_run=True)
    yesterday = replace(yesterday, finished=utc_now() - timedelta(days=1), outcomes=tuple(outcomes))
    context.runs.save(yesterday)
    backup(context)
    started = [event.subject for event in vault.events if event.kind == "started"]
    assert started == ["new", "long", "middle", "short"]
    (planned,) = [event for event in vault.events if isinstance(event, Planned)]
    assert planned.parallel == 1
    assert planned.expected == {"new": None, "long": 3000, "middle": 600, "short": 10}


# --- again after a connection error, and only then ----------------------------------------------------


def test_a_host_that_comes_back_is_tried_again(vault: LocalVault, soon: None) -> None:
    host = vault.add("web1")
    vault.backup["retries"] = 2
    port = host.sshd.port
    host.sshd.stop()
    report = backup(vault.context(once(vault, "warning", lambda: host.sshd.start(port))))
    outcome = of(report, "web1")
    assert (outcome.status, outcome.data["tries"]) == (Status.OK, 2)
    (warning,) = told(vault, "warning", "web1")
    assert "no connection to web1" in warning.message
    assert "; again in " in warning.message


def cut_in_the_middle(vault: LocalVault, *conf: str) -> Report:
    """A backup with two retries whose first connection is lost while borg is at work."""
    host = vault.add("web1")
    host.setup("web1", [host.data], borg=throttled(host), extra_conf=conf)
    (host.data / "new").write_bytes(os.urandom(4 * MIB))
    vault.backup["retries"] = 2

    def cut() -> None:
        for pid in sessions(host):
            kill(pid)

    return backup(vault.context(once(vault, "progress", cut)))


def test_a_connection_lost_in_the_middle_is_tried_again_under_a_new_name(
    vault: LocalVault, soon: None
) -> None:
    report = cut_in_the_middle(vault)
    outcome = of(report, "web1")
    assert (outcome.status, outcome.data["tries"]) == (Status.OK, 2), outcome
    assert "lost the connection to web1" in told(vault, "warning", "web1")[0].message
    assert outcome.data["archive"] > f"web1-{report.started:%Y-%m-%dT%H%M%SZ}"
    assert outcome.data["original_bytes"] >= 4 * MIB


@contextmanager
def at_work(host: BackedUpHost) -> Iterator[None]:
    """The agent's lock is held, as by an earlier verb."""
    with open(host.run / "lock", "a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def test_a_host_that_is_busy_after_a_cut_is_tried_again(vault: LocalVault, soon: None) -> None:
    """Its sshd has not noticed the cut yet, and the verb of the first try still runs there."""
    host = vault.add("web1")
    vault.backup["retries"] = 4
    port = host.sshd.port
    host.sshd.stop()
    steps = ExitStack()

    def emit(event: Event) -> None:
        vault.events.append(event)
        if event.kind != "warning":
            return
        if len(told(vault, "warning", "web1")) == 1:
            steps.enter_context(at_work(host))
            host.sshd.start(port)
        else:
            steps.close()

    outcome = of(backup(vault.context(emit)), "web1")
    assert (outcome.status, outcome.data["tries"]) == (Status.OK, 3), outcome
    assert "is at work on this host; again in" in told(vault, "warning", "web1")[1].message


def test_a_cut_that_uses_up_the_host_s_interval_is_not_called_skipped(vault: LocalVault, soon: None) -> None:
    """The host counts the backup that was cut, and allows no second one: nothing was backed up."""
    report = cut_in_the_middle(vault, "min_interval = 1h")
    outcome = of(report, "web1")
    assert (report.exit, outcome.status) == (Exit.FAILED, Status.FAILED), outcome
    assert "lost the connection to web1" in outcome.message
    assert "not now: this host allows a backup every 3600 seconds" in outcome.message


def test_a_host_that_is_busy_at_the_first_try_is_left_alone(vault: LocalVault, soon: None) -> None:
    host = vault.add("web1")
    vault.backup["retries"] = 4
    with at_work(host):
        outcome = of(backup(vault.context()), "web1")
    assert outcome.status is Status.BUSY
    assert told(vault, "warning", "web1") == []


def test_a_dead_host_is_told_with_the_number_of_tries(vault: LocalVault, soon: None) -> None:
    dataset_only(vault, "gone")
    vault.backup["retries"] = 1
    outcome = of(backup(vault.context()), "gone")
    assert outcome.status is Status.FAILED
    assert outcome.message.endswith("(tried 2 times)")
    assert len(told(vault, "warning", "gone")) == 1


@pytest.mark.parametrize("fault", ["another host key", "no key of ours", "out of time", "no time for it"])
def test_what_another_try_cannot_mend_is_not_tried_again(vault: LocalVault, fault: str) -> None:
    host = vault.add("web1")
    vault.backup["retries"] = 2
    if fault == "another host key":
        pinned = make_key(vault.directory / "other").public
        vault.endpoints["web1"] = vault.endpoint(host.sshd.port, pinned)
    elif fault == "no key of ours":
        (host.sshd.directory / "authorized_keys").write_text("")
    elif fault == "out of time":
        slow = host.directory / "slow"
        slow.write_text(
            f'#!/bin/sh\ncase "$*" in *--version*) exec {find_borg()} "$@";; esac\nexec sleep 300\n'
        )
        slow.chmod(0o755)
        host.setup("web1", [host.data], borg=str(slow))
        vault.timeouts["web1"] = 2
    else:
        host.sshd.stop()
        vault.timeouts["web1"] = 3  # the shortest wait is of 5 s
    began = time.monotonic()
    outcome = of(backup(vault.context()), "web1")
    assert outcome.status is Status.FAILED
    assert told(vault, "warning", "web1") == []
    assert time.monotonic() - began < HANG


def test_one_deadline_for_all_verbs_of_a_host(vault: LocalVault) -> None:
    """init takes most of it, and create gets the rest."""
    host = vault.add("web1")
    slow = host.directory / "slow"
    slow.write_text(
        '#!/bin/sh\ncase "$*" in *" init "*) sleep 3;; *" create "*) exec sleep 300;; esac\n'
        f'exec {find_borg()} "$@"\n'
    )
    slow.chmod(0o755)
    host.setup("web1", [host.data], borg=str(slow))
    vault.timeouts["web1"] = 6
    began = time.monotonic()
    outcome = of(backup(vault.context()), "web1")
    assert outcome.message == "not finished within 6 seconds"
    assert time.monotonic() - began < HANG


# --- jitter -------------------------------------------------------------------------------------------


def test_each_host_waits_by_chance_before_its_connection(vault: LocalVault) -> None:
    dataset_only(vault, *"abcdef")
    vault.backup |= {"parallel": 6, "jitter": 1}
    backup(vault.context())
    waits = [event.seconds for event in vault.events if isinstance(event, Waiting)]
    assert len(set(waits)) == 6
    assert all(0 < seconds <= 1 for seconds in waits)


# --- the end of it all --------------------------------------------------------------------------------


def stopped(vault: LocalVault, process: subprocess.Popen[str]) -> tuple[float, dict[str, str]]:
    """Ask it to stop; (seconds until it had ended, each host's status)."""
    began = time.monotonic()
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=120)
    assert process.returncode == Exit.INTERRUPTED, out
    took = time.monotonic() - began
    outcomes = json.loads(out)["outcomes"]
    saved = vault.context().runs.newest("backup")
    assert saved is not None and saved.exit is Exit.INTERRUPTED
    assert {one.subject for one in saved.outcomes} == {one["subject"] for one in outcomes}
    return took, {one["subject"]: one["status"] for one in outcomes}


def assert_all_free(vault: LocalVault) -> None:
    """No process, no lock of ours and none of borg's, here or on the hosts."""
    assert_all_ended(vault.directory)
    locks = vault.context().locks
    assert [name for name in vault.hosts if locks.is_held(f"host-{name}")] == []
    left = [*vault.state.glob("locks/*.owner"), *vault.directory.glob("pool/**/lock.exclusive")]
    left += [path for host in vault.hosts.values() for path in (host.state / "borg").rglob("lock.exclusive")]
    assert left == []


def test_a_signal_ends_all_that_run_or_wait_and_keeps_who_is_done(vault: LocalVault) -> None:
    """One is done, three are in the middle of borg's work, one waits to try again, two have not begun."""
    slow = ["slow1", "slow2", "slow3"]
    for name in ("done", *slow, "down", "late1", "late2"):
        host = vault.add(name)
        if name in slow:
            host.setup(name, [host.data], borg=throttled(host, rate=256))
            (host.data / "new").write_bytes(os.urandom(8 * MIB))
    vault.hosts["down"].sshd.stop()
    vault.backup |= {"parallel": 5, "retries": 9}
    blocker = throttled(vault.hosts["late1"], rate=64)  # takes the slot of the one that is done
    vault.hosts["late1"].setup("late1", [vault.hosts["late1"].data], borg=blocker)
    (vault.hosts["late1"].data / "new").write_bytes(os.urandom(8 * MIB))
    process = backup_process.start(vault)
    events = vault.directory / "events"
    wanted = [f"progress {name}" for name in (*slow, "late1")] + ["finished done", "waiting down"]
    until(lambda: all(line in events.read_text() for line in wanted), "all are where they should be")
    took, statuses = stopped(vault, process)
    assert took < HANG
    assert statuses == {"done": "ok", "late2": "skipped"} | dict.fromkeys(
        [*slow, "down", "late1"], "interrupted"
    )
    assert_all_free(vault)
    for name in vault.hosts:
        vault.hosts[name].setup(name, [vault.hosts[name].data])
    vault.hosts["down"].sshd.start()
    vault.endpoints["down"] = vault.endpoint(vault.hosts["down"].sshd.port, vault.hosts["down"].sshd.host_key)
    next_second()
    assert backup(vault.context()).exit is Exit.OK


def test_a_signal_ends_a_fleet_that_waits_for_its_first_connections(vault: LocalVault) -> None:
    for name in "abcdefgh":
        vault.add(name)
    vault.backup |= {"parallel": 6, "jitter": 36_000}
    process = backup_process.start(vault)
    events = vault.directory / "events"
    until(lambda: events.read_text().count("waiting") == 6, "six wait")
    took, statuses = stopped(vault, process)
    assert took < HANG
    assert sorted(statuses.values()) == ["interrupted"] * 6 + ["skipped"] * 2
    assert_all_free(vault)


def test_a_signal_before_the_first_connection_sends_nothing(vault: LocalVault, uncancelled: None) -> None:
    host = vault.add("web1")
    report = backup(vault.context(once(vault, "started", cancelled.set)))
    assert of(report, "web1").status is Status.INTERRUPTED
    assert "Accepted" not in host.sshd.log()
