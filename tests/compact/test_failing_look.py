"""A look of the night that fails is tried again less and less often, and stays in sight meanwhile."""

from __future__ import annotations

import pytest

from tests.harness.audit.written import written_hosts
from tests.harness.steps import audit, compact, snapshot
from tests.harness.worlds.inventory import status
from tests.harness.worlds.local import LocalVault
from tests.harness.worlds.steps import Hours, of, world
from zborg.model import Outcome, Status
from zborg.steps.compact import facts
from zborg.steps.compact.facts import records_of
from zborg.steps.compact.step import nightly
from zborg.steps.context import begin


@pytest.fixture
def host(vault: LocalVault, clock: Hours) -> LocalVault:
    vault.backup["compact_every"] = 7 * 86400
    written_hosts(vault, clock, "web1")
    clock.tick()
    snapshot(world(vault, clock))
    audit(world(vault, clock))
    return vault


def night(vault: LocalVault, clock: Hours) -> list[Outcome]:
    clock.tick(24)
    outcomes = nightly(begin(world(vault, clock), "run")).outcomes
    return [one for one in outcomes if one.kind == "compact"]


def test_a_look_that_takes_too_long_does_so_in_ever_fewer_nights(
    host: LocalVault, clock: Hours, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(facts, "_SHORT", 0.0)
        nights = [night(host, clock) for _ in range(8)]
    assert [len(one) for one in nights] == [1, 1, 0, 1, 0, 0, 0, 1]
    failed = nights[-1][0]
    assert (
        failed.status is Status.FAILED
        and "that was so 4 times in turn, and is tried again from" in failed.message
    )
    night(host, clock)
    line = next(one for one in status(world(host, clock), clock).outcomes if one.kind == "compact")
    assert line.status is Status.FAILED and "4 times in turn" in line.message, "status goes on showing it"
    named = of(compact(world(host, clock), ["web1"]), "web1")
    assert named.status is Status.SKIPPED, "by name it is looked at whenever somebody asks"
    assert records_of(world(host, clock)).of("web1").failed == 0


def test_what_fails_for_another_reason_is_tried_each_night(host: LocalVault, clock: Hours) -> None:
    (host.zfs.directory("tank/borg/web1") / "README").write_text("news")
    clock.tick()
    snapshot(world(host, clock))  # which nobody audits
    nights = [night(host, clock) for _ in range(3)]
    assert [one.status for some in nights for one in some] == [Status.FAILED] * 3
    assert all("was not audited yet" in some[0].message for some in nights)
