"""A fault that is planted in doctor's world, and what must be said of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tests.harness.doctor.clinic import Clinic, Plant
from zborg.errors import Exit
from zborg.model import Status
from zborg.model.text import remedy

BAD, WARN = Status.FAILED, Status.WARNING
WEB = "tank/borg/web1"


@dataclass(frozen=True)
class Fault:
    """What is planted, the area that is looked at, and what must be said of it, with its mend."""

    area: str
    sow: Callable[[Plant], None]
    level: Status
    says: str
    mend: str


def settle(name: str, key: str, value: str, far: bool = False) -> Callable[[Plant], None]:
    """A native property of a dataset, as somebody set it."""

    def sow(plant: Plant) -> None:
        runner = plant.clinic.far if far else plant.clinic.near
        plant.entry(runner.own, (name, key), value)

    return sow


def configured(**changes: object) -> Callable[[Plant], None]:
    def sow(plant: Plant) -> None:
        for name, value in changes.items():
            plant.entry(plant.clinic.config_changes, name, value)

    return sow


def check(clinic: Clinic, plant: Plant, fault: Fault) -> None:
    """It is the one bad finding of its area, with its level, its words and its remedy."""
    fault.sow(plant)
    report = clinic.look(fault.area)
    (bad,) = [one for one in report.outcomes if one.status is not Status.OK]
    assert (bad.kind, bad.status) == (fault.area, fault.level), bad
    assert fault.says in bad.message, bad
    assert fault.mend in bad.remedy, bad
    assert list(remedy.parse(bad.remedy)[1]) == bad.data.get("commands", [])
    expected = {WARN: Exit.OK, Status.DAMAGED: Exit.DAMAGE}.get(fault.level, Exit.FAILED)
    assert report.exit is expected
