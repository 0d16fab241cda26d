"""An off-site as its own zborg sees it, and what arrives there."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from tests.harness.worlds.local import LocalVault
from tests.harness.worlds.steps import Hours, world
from zborg.model import Policy, Snapshot, SnapshotName
from zborg.model.storage.zfs import P_ARRIVED
from zborg.model.text.units import moment
from zborg.steps.context import Context

ROOT = "vault/zborg"


def offsite(vault: LocalVault, clock: Hours, keep: Policy | None = None) -> Context:
    """The far side of the vault, as its own zborg sees it."""
    context = world(vault, clock)
    storage = replace(context.config.storage, dataset=ROOT, received=True)
    config = replace(context.config, storage=storage, keep=keep or Policy(last=1), hosts=(), targets=())
    return replace(context, storage=replace(context.storage, zfs=vault.far), config=config)


def arrive(vault: LocalVault, clock: Hours, name: str, named: timedelta = timedelta()) -> Snapshot:
    """A copy that comes now; its name says another time."""
    dataset = f"{ROOT}/{name}"
    raw = str(SnapshotName.of(clock.now + named))
    vault.far.clock = clock
    if not vault.far.datasets(dataset):
        vault.far.create(dataset, {})
    vault.far.snapshot(dataset, raw, {})
    vault.far.set([f"{dataset}@{raw}"], {P_ARRIVED: moment(clock.now)})
    return vault.far.snapshots(dataset)[-1]
