"""One host does not hold up the night of the others: `window`, stragglers, places (docs/failures.md).

Real sshd, agents and borg; the in-memory ZFS takes the snapshots and is the off-site.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import typer

from tests.harness.builders.reports import result
from tests.harness.machines.host import BackedUpHost, find_borg
from tests.harness.machines.hostile.hosts_that_hold import DRIPS, HANGS, LIES, end_stopped, misbehave
from tests.harness.steps import Request, backup, night, snapshot
from tests.harness.watch import next_second
from tests.harness.worlds.local import LocalVault
from tests.harness.worlds.steps import Hours, dataset_only, of, scrubbed, world
from zborg.cli.command import compose, perform
from zborg.cli.command.options import Common
from zborg.errors import Exit
from zborg.model import Event, Message, Outcome, Report, State, Status
from zborg.model.text.units import moment
from zborg.planning.backup import places
from zborg.reporting.notify import message
from zborg.steps.context import Context
from zborg.steps.night import night as night_step

MIB = 1 << 20


def step(report: Report, name: str) -> dict[str, Outcome]:
    return {one.subject: one for one in report.outcomes if one.data.get("step") == name}


def states(vault: LocalVault) -> dict[str, State | None]:
    """Each host's mark on the newest snapshot."""
    newest = max((s for s in vault.zfs.snapshots("tank/borg") if s.name), key=lambda s: s.createtxg)
    same = (s for s in vault.zfs.snapshots("tank/borg") if s.snapname == newest.snapname)
    return {s.dataset.rpartition("/")[2]: s.state for s in same}


def off_site(vault: LocalVault, host: str) -> set[str]:
    return {s.guid for s in vault.far.snapshots(f"vault/zborg/{host}")} if host in _copies(vault) else set()


def _copies(vault: LocalVault) -> set[str]:
    return {dataset.name.rpartition("/")[2] for dataset in vault.far.datasets("vault/zborg")}


def newest_guid(vault: LocalVault, host: str) -> str:
    return [s.guid for s in vault.zfs.snapshots("tank/borg") if s.dataset == f"tank/borg/{host}"][-1]


def fine_pools(vault: LocalVault) -> Context:
    clock = Hours()
    clock.now = datetime.now(UTC)
    scrubbed(vault, clock)
    return vault.context()


# --- one straggler --------------------------------------------------------------------------------------


class Held:
    """A host's borg that begins no backup until it is let go: just slower than the window."""

    def __init__(self, host: BackedUpHost) -> None:
        self._gate = host.directory / "gate"
        self.borg = host.directory / "held-borg"
        wait = f"while [ -d {host.directory} ] && [ ! -e {self._gate} ]; do sleep 0.1; done"
        self.borg.write_text(
            f'#!/bin/sh\ncase " $* " in *" create "*) {wait} ;; esac\nexec {find_borg()} "$@"\n'
        )
        self.borg.chmod(0o755)

    def let_go(self) -> None:
        self._gate.touch()


@pytest.fixture
def held(vault: LocalVault) -> Iterator[Held]:
    """Two hosts that were good before; one of them now outlasts the window of ten seconds."""
    vault.add("quick")
    slow = vault.add("slow")
    assert backup(vault.context()).exit is Exit.OK
    next_second()
    made = Held(slow)
    slow.setup("slow", [slow.data], borg=str(made.borg))
    (slow.data / "new").write_bytes(os.urandom(MIB))
    vault.window, vault.timeouts["slow"] = 10, 120
    yield made
    made.let_go()


def test_a_night_goes_on_without_a_slow_host_and_records_its_end_later(vault: LocalVault, held: Held) -> None:
    context = fine_pools(vault)
    report = night(context)
    assert report.exit is Exit.PARTIAL
    backups = step(report, "backup")
    assert (backups["quick"].status, backups["slow"].status) == (Status.OK, Status.BUSY)
    assert backups["slow"].message.startswith("not finished within window = 10 seconds: at work for ")
    assert states(vault) == {"borg": None, "quick": State.OK, "slow": State.BUSY}
    assert newest_guid(vault, "quick") in off_site(vault, "quick")
    # The next night, or somebody by day, finds it busy.
    again = of(backup(vault.context(), Request(hosts=["slow"])), "slow")
    assert again.status is Status.BUSY
    assert "host-slow is locked by pid" in again.message
    held.let_go()
    (later,) = context.afterwards
    final = later()
    assert final.exit is Exit.OK, final.outcomes
    assert final.run == report.run
    assert step(final, "backup")["slow"].status is Status.OK
    assert states(vault)["slow"] is State.OK
    assert newest_guid(vault, "slow") in off_site(vault, "slow")
    saved = context.runs.read(report.run, "run")
    assert saved is not None and saved.exit is Exit.OK
    assert not context.locks.is_held("host-slow")


def test_without_a_window_a_night_waits_for_all(vault: LocalVault, held: Held) -> None:
    vault.window = 0
    ended: list[str] = []

    def emit(event: Event) -> None:
        if event.kind == "finished" and event.subject in ("quick", "slow"):
            ended.append(event.subject)
            held.let_go()

    context = replace(fine_pools(vault), emit=emit)
    assert night(context).exit is Exit.OK
    assert ended == ["quick", "slow"], "there was somebody to wait for"
    assert context.afterwards == []


def test_an_end_just_before_a_snapshot_that_found_the_host_busy_is_in_the_next(
    vault: LocalVault, clock: Hours
) -> None:
    """Its outcome was written down, its lock was not let go yet."""
    dataset_only(vault, "web1")
    context = world(vault, clock)
    written = clock.now - timedelta(seconds=2)
    outcome = Outcome("host", "web1", Status.FAILED, result=result("host", {"finished": moment(written)}))
    with context.locks.hold("host-web1"):
        backup_report = backup(context, dry_run=True)
        context.runs.save(replace(backup_report, outcomes=(outcome,)))
        snapshot(context)
        assert states(vault)["web1"] is State.BUSY
    clock.tick()
    snapshot(world(vault, clock))
    assert states(vault)["web1"] is State.FAILED
    clock.tick()
    (vault.zfs.directory("tank/borg") / "news").touch()
    snapshot(world(vault, clock))
    assert states(vault)["web1"] is None, "counted once"


# --- who hears of it ------------------------------------------------------------------------------------


class Hears:
    """A notifier that remembers."""

    name = "hears"

    def __init__(self, then: Callable[[], None]) -> None:
        self.messages: list[Message] = []
        self._then = then

    def begins(self, command: str) -> None:
        pass

    def wants(self, message: Message) -> bool:
        return True

    def send(self, message: Message, timeout: float) -> str:
        self.messages.append(message)
        self._then()
        return ""


@pytest.mark.parametrize("as_json", [False, True])
def test_a_night_is_reported_at_its_end_and_again_when_the_stragglers_have_ended(
    vault: LocalVault,
    held: Held,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    as_json: bool,
) -> None:
    hears = Hears(then=held.let_go)
    context = replace(fine_pools(vault), notifiers=(hears,))

    @contextmanager
    def composed(*_: Any, **__: Any) -> Iterator[Context]:
        yield context

    monkeypatch.setattr(compose, "compose", composed)
    with pytest.raises(typer.Exit) as caught:
        perform.perform(Common("run", "", as_json, False, False), night_step)
    assert caught.value.exit_code == 0
    first, last = hears.messages
    assert "partial" in first.subject.lower()
    assert "slow" in first.text and "not finished within window" in first.text
    assert "not finished" not in last.text
    out = capsys.readouterr().out
    assert out.count('"zborg": 1') == (1 if as_json else 0)
    assert ("not finished within" in out) is not as_json


# --- the fleet ------------------------------------------------------------------------------------------


@pytest.fixture
def hostile(vault: LocalVault) -> Iterator[LocalVault]:
    """A vault whose hosts may stop themselves."""
    yield vault
    end_stopped(vault.hosts.values())


def test_of_twenty_hosts_eight_that_hold_it_up_cost_the_other_twelve_nothing(
    hostile: LocalVault, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four hang, two drip, two lie, and they begin first: four places, and shorter times than real ones."""
    vault = hostile
    bad = {f"bad{n}": how for n, how in enumerate([HANGS] * 4 + [DRIPS] * 2 + [LIES] * 2)}
    good = [f"good{n}" for n in range(12)]
    for name in (*bad, *good):
        host = vault.add(name)
        if name in bad:
            misbehave(host, bad[name])
    monkeypatch.setattr(places, "_UNKNOWN", 6.0)
    vault.backup |= {"parallel": 4, "retries": 0}
    vault.window, vault.stalled_after = 70, 15
    vault.timeouts = dict.fromkeys(["bad6", "bad7"], 85) | dict.fromkeys(good, 600)
    context = fine_pools(vault)
    report = night(context)
    backups = step(report, "backup")
    assert {name for name, one in backups.items() if one.status is Status.OK} == set(good), backups
    for name in list(bad)[:6]:
        assert backups[name].message.startswith("no progress for 15 seconds: "), backups[name]
    for name in ("bad6", "bad7"):
        assert backups[name].status is Status.BUSY
    marks = states(vault)
    assert {name for name, state in marks.items() if state is State.OK} == set(good)
    assert marks["bad6"] is marks["bad7"] is State.BUSY
    assert all(newest_guid(vault, name) in off_site(vault, name) for name in good)
    assert report.exit is Exit.PARTIAL
    mail = message(report, (), context.config.notify.subject)
    assert all(name in mail.text for name in bad)
    # The liars end by their timeout, and their end is recorded.
    final = context.afterwards[0]()
    assert final.exit is Exit.PARTIAL
    assert step(final, "backup")["bad6"].message == "not finished within 85 seconds"
    for name in ("bad6", "bad7"):
        of_it = [s.state for s in vault.zfs.snapshots("tank/borg") if s.dataset == f"tank/borg/{name}"]
        assert State.FAILED in of_it and State.OK not in of_it
    assert not any(context.locks.is_held(f"host-{name}") for name in bad)
