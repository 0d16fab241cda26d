"""Clocks of hosts, storage and targets that are not ours: told with both, and no snapshot named falsely."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.harness.steps import backup, replicate, snapshot
from tests.harness.worlds.local import LocalVault
from tests.harness.worlds.steps import Hours, dataset_only, nights, of, shown, snapnames, world
from zborg.errors import Exit
from zborg.model import Status
from zborg.planning.clocks import APART, FAR, REMEDY, apart
from zborg.steps.context import Context

NOW = datetime(2026, 2, 12, 14, 49, 33, tzinfo=UTC)
GAPS = st.timedeltas(timedelta(days=-9000), timedelta(days=9000))


def test_both_clocks_are_told() -> None:
    assert apart("web1", NOW - timedelta(hours=2), NOW) == (
        "the clock of web1 says 2026-02-12T12:49:33Z and is 2 hours behind: here it is 2026-02-12T14:49:33Z"
    )
    assert "and is 10 minutes ahead" in apart("web1", NOW + timedelta(minutes=10), NOW)


@given(gap=GAPS, limit=st.sampled_from([APART, FAR]))
def test_what_is_apart_is_so_from_both_sides_and_beyond_the_limit_alone(
    gap: timedelta, limit: timedelta
) -> None:
    told = apart("x", NOW + gap, NOW, limit)
    assert bool(told) == (abs(gap) > limit) == bool(apart("x", NOW, NOW + gap, limit))


def test_a_host_with_a_wrong_clock_is_backed_up_and_told(vault: LocalVault, clock: Hours) -> None:
    host = vault.add("web1")
    text = host.agent.read_text()
    late = text.replace('say "clock $now"', 'say "clock $((now - 7200))"')
    assert late != text
    host.agent.write_text(late)
    outcome = of(backup(world(vault, clock)), "web1")
    assert outcome.status is Status.WARNING
    assert "the clock of web1 says " in outcome.message and "2 hours behind: here it is " in outcome.message
    assert outcome.remedy == REMEDY
    assert "the clock of web1" in shown(vault, clock, "web1").message
    host.agent.write_text(text)
    clock.tick()
    assert of(backup(world(vault, clock)), "web1").status is Status.OK


def remote(vault: LocalVault, clock: Hours, skew: timedelta) -> Context:
    """The storage on a machine of its own, whose clock differs by `skew`."""
    context = world(vault, clock)
    vault.zfs.clock = lambda: clock() + skew
    storage = replace(context.config.storage, endpoint=vault.endpoint(1, "ssh-ed25519 AAAA"))
    return replace(context, config=replace(context.config, storage=storage))


@pytest.mark.parametrize("side", [-1, 1])
def test_no_snapshot_is_named_by_a_clock_that_the_storage_contradicts(
    vault: LocalVault, clock: Hours, side: int
) -> None:
    dataset_only(vault, "web1")
    report = snapshot(remote(vault, clock, side * timedelta(hours=3)))
    assert report.exit is Exit.CONFLICT
    assert "the clock of the storage says " in report.outcomes[0].message
    assert snapnames(vault, "tank/borg/web1") == []
    warned = snapshot(remote(vault, clock, side * timedelta(minutes=20)))
    assert (warned.exit, of(warned, "the storage").status) == (Exit.OK, Status.WARNING)
    assert len(snapnames(vault, "tank/borg/web1")) == 1
    clock.tick()
    assert snapshot(remote(vault, clock, timedelta(seconds=30))).status is Status.OK


def test_a_target_with_a_wrong_clock_is_told_and_still_gets_all(vault: LocalVault, clock: Hours) -> None:
    dataset_only(vault, "web1")
    nights(vault, clock, 2)
    context = world(vault, clock)
    vault.far.clock = lambda: clock() - timedelta(days=400)
    report = replicate(context, ())
    assert (report.exit, report.status) == (Exit.OK, Status.WARNING)
    assert "400 days behind" in of(report, "offsite").message
    assert len(vault.far.snapshots("vault/zborg/web1")) == 2
    seen = shown(vault, clock, "replicate offsite")
    assert seen.status is Status.WARNING
