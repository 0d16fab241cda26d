"""What a killed restore leaves: who reports it, and who removes it. The killed one is a real process."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from tests.harness.steps import rotate
from tests.harness.watch import until
from tests.harness.worlds.local import LocalVault
from tests.harness.worlds.steps import Hours, dataset_only, nights, shown, snapnames, world
from zborg.errors import Exit, Unreachable
from zborg.model import Machine, Outcome, Policy, Status, Zfs
from zborg.process import LocalRunner
from zborg.state.locks import Locks
from zborg.steps.doctor.storage import StorageCache, scratch
from zborg.steps.observe.status import saved
from zborg.steps.restore.interrupted import killed
from zborg.steps.restore.leftovers import findings
from zborg.steps.restore.source import scratch_host

RUN = "20260212T000000Z-dead"
CLONE = f"tank/zborg-scratch/{RUN}/web1"
_HOLD = """
import sys, time
from pathlib import Path
from zborg.state.locks import Locks
with Locks(Path(sys.argv[1]), sys.argv[2]).hold("restore-web1"):
    time.sleep(600)
"""


@contextmanager
def restoring(
    vault: LocalVault, command: str = "zborg restore serve web1"
) -> Iterator[subprocess.Popen[bytes]]:
    """A process that holds the lock of web1's restores."""
    argv = [sys.executable, "-c", _HOLD, str(vault.state / "locks"), command]
    with subprocess.Popen(argv) as process:
        try:
            until((vault.state / "locks" / "restore-web1.owner").exists, "it holds the lock")
            yield process
        finally:
            process.kill()


@pytest.fixture
def snapshots(vault: LocalVault, clock: Hours) -> list[str]:
    """Three nights of web1, the first of which is cloned for a restore."""
    dataset_only(vault, "web1")
    nights(vault, clock, 3)
    names = snapnames(vault, "tank/borg/web1")
    vault.zfs.clone(f"tank/borg/web1@{names[0]}", CLONE)
    vault.keep = Policy(last=1)
    return names


def below_scratch(zfs: Zfs, pool: str = "tank") -> list[str]:
    return [one.name for one in zfs.datasets(pool) if "/zborg-scratch/" in one.name]


def reported(vault: LocalVault, clock: Hours) -> list[Outcome]:
    context = world(vault, clock)
    report = saved(context.config, context.runs, context.locks, clock.now)
    return [one for one in report.outcomes if one.kind == "restore"]


def doctors(vault: LocalVault, clock: Hours) -> list[Status]:
    context = world(vault, clock)
    return [one.level for one in scratch(StorageCache(context, context.config), context.config)]


def test_status_and_doctor_name_it_and_rotate_removes_it(
    vault: LocalVault, clock: Hours, snapshots: list[str]
) -> None:
    with restoring(vault):
        pass  # and killed
    (outcome,) = reported(vault, clock)
    assert outcome.status is Status.WARNING and outcome.remedy == "zborg rotate"
    assert "zborg restore serve web1 (pid " in outcome.message and "was killed" in outcome.message
    assert "tank/zborg-scratch" in outcome.message
    context = world(vault, clock)
    (found,) = findings(context.config, context.locks, vault.zfs.datasets("tank/zborg-scratch"))
    assert (found.subject, found.remedy) == (CLONE, "zborg rotate")
    assert doctors(vault, clock) == [Status.WARNING]
    dry = rotate(context, dry_run=True)
    assert below_scratch(vault.zfs), f"a dry run removes nothing: {dry.plan}"
    report = rotate(world(vault, clock))
    assert report.exit is Exit.OK, report.outcomes
    assert f"removed {CLONE}" in " ".join(one.message for one in report.outcomes)
    assert not below_scratch(vault.zfs) and not reported(vault, clock)
    assert doctors(vault, clock) == [Status.OK]
    assert snapnames(vault, "tank/borg/web1") == snapshots[-1:], (
        "its snapshot went by the rules, in the same run"
    )


def test_one_that_is_alive_is_left_alone(vault: LocalVault, clock: Hours, snapshots: list[str]) -> None:
    with restoring(vault):
        assert not reported(vault, clock) and doctors(vault, clock) == [Status.OK]
        report = rotate(world(vault, clock))
        assert CLONE in below_scratch(vault.zfs)
        assert not [one for one in report.outcomes if one.kind == "restore"]
        assert snapshots[0] in snapnames(vault, "tank/borg/web1")


def test_a_clone_without_any_record_is_found_by_its_snapshot(
    vault: LocalVault, clock: Hours, snapshots: list[str]
) -> None:
    assert rotate(world(vault, clock)).exit is Exit.OK
    assert not below_scratch(vault.zfs) and snapnames(vault, "tank/borg/web1") == snapshots[-1:]


def test_clones_of_other_people_are_none_of_zborg_s(vault: LocalVault, clock: Hours) -> None:
    dataset_only(vault, "web1")
    nights(vault, clock, 2)
    (first, _) = snapnames(vault, "tank/borg/web1")
    vault.zfs.clone(f"tank/borg/web1@{first}", "tank/mine/20260212T000000Z-dead/web1")
    with restoring(vault):
        pass
    rotate(world(vault, clock))
    assert "tank/mine/20260212T000000Z-dead/web1" in [one.name for one in vault.zfs.datasets("tank")]


def test_what_was_cloned_on_a_target_goes_as_well(
    vault: LocalVault, clock: Hours, snapshots: list[str]
) -> None:
    vault.far.create("vault/zborg/web1", {})
    vault.far.snapshot("vault/zborg/web1", snapshots[0], {})
    vault.far.clone(f"vault/zborg/web1@{snapshots[0]}", f"vault/zborg-scratch/{RUN}/web1")
    with restoring(vault, "zborg restore repo web1 --from offsite --to /srv/x"):
        pass
    rotate(world(vault, clock))
    assert not below_scratch(vault.far, "vault") and not below_scratch(vault.zfs)


class Away:
    """A target's ZFS that cannot be reached."""

    def datasets(self, root: str) -> None:
        raise Unreachable(("ssh",), 255, "", "offsite is away")


def test_a_target_that_is_away_costs_rotate_a_warning(
    vault: LocalVault, clock: Hours, snapshots: list[str]
) -> None:
    with restoring(vault, "zborg restore repo web1 --from=offsite --to /srv/x"):
        pass

    report = rotate(replace(world(vault, clock), target=lambda _: Machine(LocalRunner(), Away())))  # type: ignore[arg-type]  # raises
    assert report.exit is Exit.OK
    (outcome,) = [one for one in report.outcomes if one.kind == "restore"]
    assert outcome.status is Status.WARNING and "offsite is away" in outcome.message


def test_a_record_of_a_process_before_a_power_cut_is_one_of_a_killed(vault: LocalVault, clock: Hours) -> None:
    dataset_only(vault, "web1")
    record = vault.state / "locks" / "restore-web1.owner"
    record.write_text('{"pid": 1, "start": "before", "command": "zborg restore serve web1", "since": "x"}')
    assert list(killed(vault.config, Locks(vault.state / "locks", "zborg test"))) == ["web1"]
    assert shown(vault, clock, "web1").kind == "host", "the host's own line stays"


@pytest.mark.parametrize(
    ("dataset", "host"),
    [
        (CLONE, "web1"),
        (f"tank/zborg-scratch/from-{RUN}/web1", "web1"),
        (f"tank/zborg-scratch/{RUN}", ""),
        (f"tank/zborg-scratch/{RUN}/web1/below", ""),
        (f"tank/other/{RUN}/web1", ""),
        ("tank/borg/web1", ""),
    ],
)
def test_which_datasets_a_restore_made(dataset: str, host: str) -> None:
    assert scratch_host(dataset) == host
