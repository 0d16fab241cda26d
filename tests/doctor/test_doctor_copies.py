"""Planted faults of repositories, pool features and targets: doctor names each with its remedy."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from tests.harness.doctor.clinic import Clinic, Plant
from tests.harness.doctor.faults import BAD, WARN, WEB, Fault, check, configured, settle
from zborg.errors import CommandFailed
from zborg.model import Status
from zborg.steps.doctor import remote as steps
from zborg.zfs.output.messages import explain


def unwritable(plant: Plant) -> None:
    """What `chown -R` by somebody else leaves."""
    data = plant.clinic.vault.zfs.directory(WEB) / "data"
    for path in (data, *data.rglob("*")):
        facts = path.stat()
        os.chown(path, 65533, -1)
        plant.later(os.chown, path, facts.st_uid, -1)


def feature(value: str | None) -> Callable[[Plant], None]:
    """Of a target without a sink: behind one nothing can be asked of its pool."""

    def sow(plant: Plant) -> None:
        far = plant.clinic.far
        plant.attribute(far, "has_sink", False)
        plant.attribute(steps, "_door_of", lambda *_: ())
        changed = {**far.features, "zstd_compress": value}
        plant.attribute(far, "features", {key: one for key, one in changed.items() if one})

    return sow


def other_root(plant: Plant) -> None:
    def refuse(method: str, arguments: tuple[object, ...]) -> None:
        words = "zborg: E_SINK_COMMAND refused by the sink: it does not do 'zfs list vault/zborg'"
        raise explain(CommandFailed(("zfs",), 4, words), ("zfs", "list"))

    plant.attribute(plant.clinic.vault.far, "fail", refuse)


FAULTS = {
    "snapshots that show in each dataset": Fault(
        "properties",
        settle("tank/borg", "snapdir", "visible"),
        WARN,
        "snapdir=visible",
        "zfs set snapdir=hidden tank/borg",
    ),
    "a repository that its account cannot write": Fault(
        "repositories",
        unwritable,
        BAD,
        "its borg serve runs as user 0 and cannot write ",
        " -mindepth 1 '!' -name config '!' -type l -execdir chown -h 0 '{}' +",
    ),
    "a repository whose account lost the right to write": Fault(
        "repositories",
        lambda p: p.mode(p.clinic.vault.zfs.directory(WEB) / "data" / "0", 0o500),
        BAD,
        "/data/0: every backup of web1 fails",
        " -execdir chmod u+rwX '{}' +",
    ),
    "a target's pool without a feature": Fault(
        "targets",
        feature("disabled"),
        WARN,
        "pool vault of offsite has zstd_compress disabled",
        "on offsite, as root:\nzpool set feature@zstd_compress=enabled vault",
    ),
    "an OpenZFS there that does not know a feature": Fault(
        "targets", feature(None), WARN, "OpenZFS on offsite does not know zstd_compress", "upgrade OpenZFS on"
    ),
    "no target at all": Fault(
        "targets", configured(targets=()), WARN, "no target is configured", "zborg doctor --only targets"
    ),
    "a sink of another dataset": Fault(
        "targets", other_root, BAD, "refuses vault/zborg", "grep -n 'zborg sink' /home/zborg-sink/.ssh/"
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_is_named_with_its_remedy(clinic: Clinic, plant: Plant, name: str) -> None:
    check(clinic, plant, FAULTS[name])


def test_behind_a_sink_the_features_are_not_compared_and_that_is_said(clinic: Clinic) -> None:
    (one,) = clinic.look("targets").outcomes
    assert one.status is Status.OK and "does not say what its pool can receive" in one.message
