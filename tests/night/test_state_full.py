"""The state directory's disk fills up, or turns read-only, while zborg works: real mounts, borg and sshd."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import typer

from tests.harness.steps import backup, rotate, snapshot
from tests.harness.worlds.local import LocalVault
from tests.harness.worlds.small import mounted
from tests.harness.worlds.steps import Hours, of, scrubbed, world
from zborg.cli.command import compose, perform
from zborg.cli.command.options import Common
from zborg.errors import Busy, Exit, ZborgError
from zborg.model import Event, Notify, Outcome, Report, State, Status
from zborg.model.text import remedy
from zborg.notify import notifiers
from zborg.state.locks import Locks
from zborg.state.recorded.moment import Moment
from zborg.state.runs import Runs, new_run
from zborg.steps.context import Context, unrecorded
from zborg.steps.night import night as night_step
from zborg.steps.observe.status import saved

HOSTS = ("web1", "web2", "web3", "web4")


@pytest.fixture
def small(vault: LocalVault) -> Iterator[LocalVault]:
    """Its state directory is a file system of its own."""
    with mounted(vault.state, 2):
        for name in ("locks", "runs"):
            (vault.state / name).mkdir(mode=0o700)
        yield vault


def fill(place: Path) -> None:
    """Until nothing more fits; what is there stays."""
    with open(place / "other", "ab", buffering=0) as file:
        try:
            while True:
                file.write(b"x" * 4096)
        except OSError:
            pass


def filling(vault: LocalVault, clock: Hours) -> Context:
    """The disk fills while the second host is at work."""
    vault.backup["parallel"] = 1
    begun = threading.Event()

    def emit(event: Event) -> None:
        vault.events.append(event)
        if event.kind == "started" and begun.is_set():
            fill(vault.state)
        if event.kind == "started":
            begun.set()

    return replace(vault.context(emit), clock=clock)


@contextmanager
def read_only(place: Path) -> Iterator[None]:
    subprocess.run(["mount", "-o", "remount,ro", place], check=True)
    try:
        yield
    finally:
        subprocess.run(["mount", "-o", "remount,rw", place], check=True)


def test_the_night_goes_on_without_its_record(
    small: LocalVault,
    clock: Hours,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name in HOSTS:
        small.add(name)
    scrubbed(small, clock)
    hook = tmp_path / "hook"
    hook.write_text(f"#!/bin/sh\ncat >{tmp_path}/got\n")
    hook.chmod(0o755)
    settings = Notify(command=(str(hook),), timeout=20)
    context = filling(small, clock)
    config = replace(context.config, notify=settings)
    context = replace(context, config=config, notifiers=tuple(notifiers(settings)))

    @contextmanager
    def composed(*_: object, **__: object) -> Iterator[Context]:
        yield context

    monkeypatch.setattr(compose, "compose", composed)
    with pytest.raises(typer.Exit) as left:
        perform.perform(Common("run", "", True, False, False), night_step)
    printed = json.loads(capsys.readouterr().out)
    good = {one["subject"]: one["status"] for one in printed["outcomes"] if one["kind"] == "host"}
    assert good == dict.fromkeys(HOSTS, "ok")
    marks = [one.state for one in small.zfs.snapshots("tank/borg") if one.dataset != "tank/borg"]
    assert marks == [State.OK] * 4, "the snapshot knows the backups of this very night"
    (lost,) = [one for one in printed["outcomes"] if one["kind"] == "state"]
    assert lost["subject"] == str(small.state / "runs")
    assert "No space left on device" in lost["message"]
    assert remedy.parse(lost["remedy"])[1] == (f"df -h {small.state}/runs",)
    assert left.value.exit_code == printed["exit"] == Exit.PARTIAL
    told = json.loads((tmp_path / "got").read_text())
    assert lost in told["outcomes"]
    warned = [e.message for e in small.events if e.kind == "warning" and e.subject == "state"]
    assert len(warned) == 1
    assert str(small.state / "runs") in warned[0]


def test_what_found_no_room_is_written_once_there_is_some(small: LocalVault, clock: Hours) -> None:
    runs = Runs(small.state / "runs")
    fill(small.state)
    first = outcome_report("backup", clock)
    runs.save(first)
    assert runs.unsaved is not None
    assert list(runs.newest_first("backup")) == [first]
    assert list(Moment(runs).newest_first("backup")) == [first]
    assert list((small.state / "runs").iterdir()) == []
    (small.state / "other").unlink()
    clock.tick()
    runs.save(second := outcome_report("snapshot", clock))
    assert runs.unsaved is None
    assert Runs(small.state / "runs").newest("backup") == first
    assert Runs(small.state / "runs").newest("snapshot") == second
    assert list(runs.newest_first("backup")) == [first]


def test_a_later_report_of_a_run_hides_the_one_on_disk(small: LocalVault, clock: Hours) -> None:
    """The report of a fleet is saved with each host's end."""
    runs = Runs(small.state / "runs")
    early = outcome_report("backup", clock)
    runs.save(early)
    fill(small.state)
    late = replace(early, outcomes=(*early.outcomes, Outcome("host", "web2", Status.OK, "x" * 9000)))
    runs.save(late)
    assert list(runs.newest_first("backup")) == [late]
    assert Runs(small.state / "runs").newest("backup") == early


def outcome_report(command: str, clock: Hours) -> Report:
    one = Outcome("host", "web1", Status.OK, "x" * 9000)
    return Report(command, new_run(clock.now), "test", clock.now, clock.now, Status.OK, Exit.OK, (one,))


def test_a_state_directory_that_turned_read_only_stops_no_backup(small: LocalVault, clock: Hours) -> None:
    for name in HOSTS[:2]:
        small.add(name)
    assert backup(world(small, clock)).exit is Exit.OK
    snapshot(world(small, clock))
    clock.tick()
    with read_only(small.state):
        context = world(small, clock)
        context.runs.prune()
        report = unrecorded(context, backup(context))
        assert [one.status for one in report.outcomes] == [Status.OK, Status.OK, Status.FAILED]
        assert "Read-only file system" in report.outcomes[-1].message
        assert report.exit is Exit.PARTIAL
        clock.tick()
        assert snapshot(replace(context, clock=clock)).exit is Exit.OK
        assert of(saved(context.config, context.runs, context.locks, clock.now), "web1").status is Status.OK


def test_a_lock_on_a_read_only_disk_is_the_same_lock(small: LocalVault) -> None:
    mine, other = Locks(small.state / "locks", "zborg one"), Locks(small.state / "locks", "zborg two")
    with mine.hold("host-web1"):
        pass
    with read_only(small.state):
        with mine.hold("host-web1"):
            assert other.is_held("host-web1")
            with pytest.raises(Busy), other.hold("host-web1"):
                pass
        assert not other.is_held("host-web1")
        with (
            pytest.raises(ZborgError, match=r"host-new\.lock cannot be made") as error,
            mine.hold("host-new"),
        ):
            pass
        assert remedy.parse(error.value.remedy)[1] == (f"df -h {small.state}/locks",)


def test_one_host_without_a_lock_fails_alone(small: LocalVault, clock: Hours) -> None:
    small.add("web1")
    assert backup(world(small, clock)).exit is Exit.OK
    small.add("new")
    clock.tick()
    context = world(small, clock)
    with read_only(small.state):
        report = backup(context)
    assert of(report, "web1").status is Status.OK
    assert str(small.state / "locks" / "host-new.lock") in of(report, "new").message


def test_pinned_keys_are_written_elsewhere_for_this_command(small: LocalVault) -> None:
    small.endpoints["web1"] = small.endpoint(22, "ssh-ed25519 AAAA")
    place = small.state / "known_hosts"
    with read_only(small.state), ExitStack() as closing:
        found = compose._known_hosts(place, small.endpoints, closing)
        assert found != place
        assert found.read_text() == "web1 ssh-ed25519 AAAA\n"
    assert not found.exists()
    with ExitStack() as closing:
        assert compose._known_hosts(place, small.endpoints, closing) == place
    with read_only(small.state), ExitStack() as closing:  # it says the same already
        assert compose._known_hosts(place, small.endpoints, closing) == place


def test_a_step_that_must_remember_names_the_file(small: LocalVault, clock: Hours) -> None:
    """Rotation destroys nothing before it has written down whom an alarm froze."""
    small.add("web1")
    now = clock.now
    alarm = Outcome("host", "web1", Status.CONFLICT, "an alarm")
    context = world(small, clock)
    context.runs.save(
        Report("backup", new_run(now), "test", now, now, Status.CONFLICT, Exit.CONFLICT, (alarm,))
    )
    snapshot(context)
    clock.tick()
    (small.state / "frozen").mkdir()
    fill(small.state)
    with pytest.raises(OSError, match="frozen/web1.json"):
        rotate(context)


def test_a_run_that_was_recorded_says_nothing_of_it(small: LocalVault, clock: Hours) -> None:
    context = world(small, clock)
    report = outcome_report("scrub", clock)
    context.runs.save(report)
    assert unrecorded(context, report) == report
