"""Steps on a LocalVault: real borg and sshd, the in-memory ZFS, and a clock that is turned by hand."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from tests.harness.steps import snapshot
from tests.harness.worlds.local import LocalVault
from zborg.model import Outcome, Report, Scrub, Zfs
from zborg.steps.context import Context
from zborg.steps.observe.status import saved


class Hours:
    """A clock that goes on by an hour with each step, so that no test waits for the next second."""

    def __init__(self) -> None:
        self.now = datetime(2026, 2, 12, 14, 49, 33, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def tick(self, hours: float = 1) -> None:
        self.now += timedelta(hours=hours)


class Seconds(Hours):
    """The same, and each look at it is a second later: for what takes two snapshots within one step."""

    def __call__(self) -> datetime:
        self.now += timedelta(seconds=1)
        return self.now


def world(vault: LocalVault, clock: Hours) -> Context:
    vault.zfs.clock = vault.far.clock = clock
    return replace(vault.context(), clock=clock)


def dataset_only(vault: LocalVault, *names: str) -> None:
    """Datasets of hosts that are never reached: enough for everything but backup and restore."""
    for name in names:
        vault.zfs.create(f"tank/borg/{name}", {})
        vault.endpoints[name] = vault.endpoint(1, "ssh-ed25519 AAAA")


def snapnames(vault: LocalVault, dataset: str) -> list[str]:
    return [s.snapname for s in vault.zfs.snapshots(dataset) if s.dataset == dataset]


def guids(zfs: object, dataset: str) -> list[str]:
    return [s.guid for s in zfs.snapshots(dataset)]  # type: ignore[attr-defined]  # either FakeZfs


def destroy(zfs: Zfs, dataset: str, *names: str) -> tuple[str, ...]:
    """By hand, as it were: whatever is called so."""
    found = [s for s in zfs.snapshots(dataset) if s.dataset == dataset]
    return zfs.destroy(dataset, {s.snapname: s.guid for s in found if s.snapname in names})


def of(report: Report, subject: str) -> Outcome:
    return next(outcome for outcome in report.outcomes if outcome.subject == subject)


def news(vault: LocalVault, clock: Hours) -> None:
    """Something new below the storage's root, or no snapshot would be taken."""
    (vault.zfs.directory("tank/borg") / "news").write_text(str(clock.now))


def nights(vault: LocalVault, clock: Hours, count: int) -> None:
    for _ in range(count):
        news(vault, clock)
        snapshot(world(vault, clock))
        clock.tick(24)


def scrubbed(vault: LocalVault, clock: Hours, scrub_state: Scrub = Scrub.FINISHED, **changes: object) -> None:
    for zfs, name in ((vault.zfs, "tank"), (vault.far, "vault")):
        fine = replace(zfs.pools[name], scrub=scrub_state, finished=clock.now, **changes)  # type: ignore[arg-type]  # a test names them
        zfs.pools[name] = fine


def shown(vault: LocalVault, clock: Hours, subject: str) -> Outcome:
    context = world(vault, clock)
    return of(saved(context.config, context.runs, context.locks, clock.now), subject)
