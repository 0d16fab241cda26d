"""doctor's probe of the ledger, in a world that is well but for one thing."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from tests.harness.doctor.clinic import Clinic, Plant
from tests.harness.doctor.faults import BAD, WARN, Fault, check
from tests.harness.steps import night
from tests.harness.worlds.arrivals import arrive, offsite
from tests.harness.worlds.local import LocalVault
from tests.harness.worlds.steps import Hours
from zborg.model import Status, utc_now
from zborg.model.ledger.sealed import Living
from zborg.model.text.units import moment
from zborg.state.ledger import arrived
from zborg.state.ledger.compactions import Begun, CompactionRecords, Compactions, Undeleting
from zborg.steps.doctor.ledger import received


def folder(plant: Plant) -> Path:
    return plant.clinic.vault.state / "ledger"


def aged(plant: Plant) -> None:
    path = folder(plant) / "newest.json"
    text = path.read_text()
    at = text.partition('"at": "')[2].partition('"')[0]
    plant.replaced(path, at, moment(utc_now() - timedelta(days=9)))


def interrupted(plant: Plant, killed: str, host: str = "web1") -> None:
    begun = Begun("killed", "zborg_x", "1", Living(0, 0, "", 0)) if killed == "compact" else None
    undeleting = Undeleting("killed", "1", "tank/borg/web1@zborg_x") if killed == "undelete" else None
    records = CompactionRecords(folder(plant))
    records.put(host, Compactions(begun=begun, undeleting=undeleting))
    plant.later(records.path(host).unlink)


FAULTS: dict[str, tuple[Callable[[Plant], None], Status, str, str]] = {
    "not begun": (lambda plant: plant.away(folder(plant) / "key"), WARN, "no ledger was begun", "zborg init"),
    "no public key": (
        lambda plant: plant.away(folder(plant) / "key.pub"),
        BAD,
        "it holds no public key of a ledger",
        "ls -l",
    ),
    "another public key": (
        lambda plant: plant.text(
            folder(plant) / "key.pub", "a+ad8b8a32+AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\n"
        ),
        BAD,
        "public key",
        "ls -l",
    ),
    "no checkpoint yet": (
        lambda plant: plant.away(folder(plant) / "newest.json"),
        WARN,
        "it has no checkpoint yet",
        "zborg audit",
    ),
    "an interrupted compaction": (
        lambda plant: interrupted(plant, "compact"),
        WARN,
        "its `zborg compact` was interrupted",
        "zborg compact web1",
    ),
    "an interrupted undelete": (
        lambda plant: interrupted(plant, "undelete"),
        WARN,
        "its `zborg undelete` was interrupted",
        "zborg undelete web1",
    ),
    "an interrupted compaction of a host that is gone": (
        lambda plant: interrupted(plant, "compact", "gone"),
        WARN,
        "its `zborg compact` was interrupted",
        "compact-gone.json",
    ),
    "a record of compactions that cannot be read": (
        lambda plant: plant.text(folder(plant) / "compact-web1.json", "{"),
        BAD,
        "compact-web1.json cannot be read",
        "rm ",
    ),
    "an old checkpoint": (aged, BAD, "its last checkpoint is 9 days old", "zborg audit"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_is_found(clinic: Clinic, plant: Plant, fault: str) -> None:
    sow, level, words, fix = FAULTS[fault]
    check(clinic, plant, Fault("ledger", sow, level, words, fix))


def test_a_world_that_is_well_names_its_witnesses(clinic: Clinic) -> None:
    (found,) = clinic.look("ledger").outcomes
    assert found.message == "it is there and signed; 1 host of 1 are witnesses of it"


def test_a_host_that_keeps_none_is_named(clinic: Clinic, plant: Plant) -> None:
    runs = clinic.vault.state / "runs"
    for path in runs.glob("*.backup.json"):
        plant.text(path, path.read_text().replace('"witness": ', '"unknown": '))
    (found,) = clinic.look("ledger").outcomes
    assert found.status is Status.WARNING and "1 host no witness of it yet: web1" in found.message


def test_an_off_site_says_what_it_accepted(vault: LocalVault, clock: Hours) -> None:
    context = offsite(vault, clock)
    (found,) = received(context.config)
    assert "no ledger has arrived yet" in found.message
    arrive(vault, clock, "zborg-ledger")
    night(context)
    assert arrived.load(context.config.state_dir / "ledger" / arrived.NAME) is None, "there is none in it"
