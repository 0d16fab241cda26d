"""Rotation on a real pool: for a target that is away, and of very many snapshots at once."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from tests.conftest import Lab
from tests.harness.worlds.world import World, guids, outcomes
from zborg.model import SnapshotName

pytestmark = [pytest.mark.lab, pytest.mark.timeout(3600)]

ROOT, COPY = "tank/away", "vault/away"
LONG_AGO = datetime(2026, 1, 1, 3, tzinfo=UTC)


@pytest.fixture(scope="module")
def away(lab: Lab) -> World:
    world = lab.world("away", ROOT, COPY)
    world.write_config(snapshots={"keep": {"last": 1}})
    target = world.settings["targets"]["offsite"] | {"max_unreplicated_age": "10d"}
    world.write_config(snapshots={"keep": {"last": 1}}, targets={"offsite": target})
    world.report("init")
    return world


def night(world: World, name: str, day: int) -> str:
    """Something new in the dataset, and its snapshot of that day."""
    raw = str(SnapshotName(LONG_AGO + timedelta(days=day)))
    world.vault.sh(f"echo {day} >/{ROOT}/{name}/data && zfs snapshot {ROOT}/{name}@{raw}")
    return raw


def test_the_base_of_a_target_that_is_away_becomes_a_bookmark_that_serves(away: World) -> None:
    """Row 11."""
    assert away.offsite is not None
    away.vault.sh(f"zfs create {ROOT}/web1")
    away.forget("web1")
    base = night(away, "web1", 0)
    away.report("replicate")
    # As if that had been in January: by its report the target would be up to date.
    for notes in away.directory.glob("state/runs/*.replicate.json"):
        notes.unlink()
    away.vault.sh(f"zfs destroy {ROOT}/web1#{base}")  # replication's own; rotation makes sure of one
    night(away, "web1", 1)
    newest = night(away, "web1", 2)
    report = away.report("rotate")
    assert "stays as a bookmark, for offsite" in outcomes(report)[f"{ROOT}/web1"]["message"]
    assert outcomes(report)["offsite"]["status"] == "warning"
    assert list(guids(away.vault, f"{ROOT}/web1")) == [f"@{newest}"]
    away.report("replicate")
    assert list(guids(away.offsite, f"{COPY}/web1")) == [f"@{base}", f"@{newest}"]


@pytest.mark.deep
def test_two_thousand_snapshots_go_in_one_pass(away: World) -> None:
    away.vault.sh(f"zfs create {ROOT}/many")
    away.forget("many")
    names = [f"{ROOT}/many@{SnapshotName(LONG_AGO + timedelta(hours=hour))}" for hour in range(2000)]
    away.vault.sh(f"for one in {' '.join(names)}; do zfs snapshot $one; done", timeout=3000)
    report = away.report("rotate", timeout=1800)
    assert len(outcomes(report)[f"{ROOT}/many"]["data"]["destroyed"]) == 1999
    asked = away.vault.sh(f"zpool history tank | grep -c 'zfs destroy {ROOT}/many@'")
    assert int(asked) == 2, "some 1,500 names fit into one command"
