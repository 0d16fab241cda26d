"""A borg that loses something, a borg or a zborg that is killed: what was alive stays alive."""

from __future__ import annotations

import os

import pytest

from tests.harness.audit.compaction import (
    Countdown,
    Killed,
    changing_borg,
    killable,
    killed_borg,
    losing_borg,
    no_wall,
)
from tests.harness.audit.vault import AuditedVault, audited_vault
from tests.harness.steps import compact
from tests.harness.worlds.local import LocalVault
from tests.harness.worlds.steps import Seconds, of, world
from zborg.model import Status
from zborg.model.ledger.compacted import COMPACTED
from zborg.steps.compact.facts import records_of
from zborg.steps.ledger.begun import folder_of
from zborg.steps.ledger.store import opened


@pytest.fixture
def clock() -> Seconds:
    return Seconds()


@pytest.fixture
def scene(vault: LocalVault, clock: Seconds, monkeypatch: pytest.MonkeyPatch) -> AuditedVault:
    """What was pruned lies between what is alive, so that a compaction has to copy."""
    no_wall(vault.directory, monkeypatch)
    made = audited_vault(vault, clock)
    for number in range(4):
        for part in range(6):
            (made.host.data / f"part{part}").write_bytes(os.urandom(40_000 if part % 2 else 30_000 + number))
        assert made.backed_up().status.good
    for part in range(0, 6, 2):
        (made.host.data / f"part{part}").unlink()
    assert made.pruned().status is Status.OK
    return made


def compactions(scene: AuditedVault) -> list[str]:
    """What was undone in each that the ledger has; "" for nothing."""
    context = world(scene.vault, scene.clock)
    ledger = opened(context, context.storage.zfs.datasets(context.config.storage.ledger))
    return [str(one.table["undone"]) for one in ledger.history()["web1"] if one.kind == COMPACTED]


def assert_well(scene: AuditedVault, archives: list[str]) -> None:
    """Whatever happened: the next night is good, and the host has what it had."""
    assert scene.night().status is Status.OK
    assert scene.archives()[: len(archives)] == archives
    assert scene.checks()
    assert not records_of(world(scene.vault, scene.clock)).unfinished("web1")


@pytest.mark.parametrize("faulty", [losing_borg, changing_borg])
def test_a_compaction_that_changes_what_is_alive_is_undone(scene: AuditedVault, faulty: object) -> None:
    archives = scene.archives()
    whole = scene.vault.borg
    faulty(scene)  # type: ignore[operator]  # a function that the parameter names
    outcome = scene.compacted()
    assert outcome.status is Status.DAMAGED, outcome
    assert "changed what is alive" in outcome.message and "again what it was before" in outcome.message
    assert "web1" in scene.vault.context().frozen.now()
    scene.vault.borg = whole
    assert scene.archives() == archives
    assert scene.checks()
    assert len(compactions(scene)) == 1 and "were alive before" in compactions(scene)[0]
    assert not records_of(world(scene.vault, scene.clock)).unfinished("web1")
    assert scene.night().status is Status.OK, "audit compares with what was put back"


POINTS = range(1, 19)


@pytest.mark.parametrize(
    "count", [pytest.param(n, marks=() if n in (2, 5, 9) else (pytest.mark.deep,)) for n in POINTS]
)
def test_a_borg_that_is_killed_leaves_what_was_alive(scene: AuditedVault, count: int) -> None:
    archives = scene.archives()
    whole = scene.vault.borg
    killed_borg(scene, count)
    outcome = scene.compacted()
    assert outcome.status in (Status.FAILED, Status.OK), outcome  # with fewer writes it lived to the end
    scene.vault.borg = whole
    assert_well(scene, archives)
    assert set(compactions(scene)) == {""}


EFFECTS = range(1, 61)


@pytest.mark.parametrize(
    "count", [pytest.param(n, marks=() if n in (9, 19, 31) else (pytest.mark.deep,)) for n in EFFECTS]
)
def test_a_zborg_that_is_killed_is_gone_on_with(scene: AuditedVault, count: int) -> None:
    archives, countdown = scene.archives(), Countdown(count)
    with pytest.MonkeyPatch.context() as patch:
        context = killable(scene, countdown, patch)
        try:
            compact(context, ["web1"])
        except Killed:
            pass
        else:
            assert countdown.left > 0
    assert_well(scene, archives)
    outcome = of(compact(world(scene.vault, scene.clock), ["web1"]), "web1")
    assert outcome.status in (Status.OK, Status.SKIPPED), outcome
    assert set(compactions(scene)) == {""}
    assert scene.archives()[: len(archives)] == archives


def test_what_cannot_be_read_of_it_stops_the_work_and_not_silently(scene: AuditedVault) -> None:
    context = world(scene.vault, scene.clock)
    (folder_of(context.config) / "compact-web1.json").write_text("{")
    outcome = scene.compacted()
    assert outcome.status is Status.FAILED and "cannot be read" in outcome.message
    made = scene.backed_up()
    assert made.status is Status.FAILED and "compact-web1.json cannot be read" in made.message
