"""Golden files: snapshots, rotation, replication, scrubs and holds."""

from __future__ import annotations

import pytest

from tests.harness.scenes.golden import FILES, Scenes, compare
from tests.harness.scenes.plays import Play, failing
from tests.harness.scenes.stage import Stage, staged

scenes = Scenes()


@scenes
def snapshot(stage: Stage) -> None:
    """Each mark, nothing new, a label, a host without dataset, a clock that went back."""
    bad = failing("PassphraseWrong", "passphrase supplied is incorrect")
    stage.hosts({"web1": Play(), "web2": bad, "web3": Play()})
    stage.config("web1", "web2", "web3", "no-dataset")
    stage.zborg("snapshot")
    stage.zborg("backup", "web1", "web2", shown=False)
    with stage.locked("host-web3"):
        stage.zborg("snapshot", "--dry-run")
        stage.zborg("snapshot")
    stage.zborg("snapshot", "--verbose")
    stage.zborg("snapshot", "--dry-run")
    stage.zborg("snapshot", "--quiet")
    stage.zborg("snapshot", "--label", "before-upgrade")
    stage.zborg("snapshot", "--label", "no good")
    stage.clock.tick(minutes=-30)
    stage.zborg("snapshot")
    stage.zborg("snapshot", "--json")
    stage.clock.tick(minutes=30)
    with stage.locked("snapshot"):
        stage.zborg("snapshot")
    stage.breaks(stage.zfs, ["snapshot"], "cannot create snapshot: out of space")
    stage.zborg("snapshot", "--label", "another")
    stage.breaks(stage.zfs, ["datasets"], "cannot open 'tank': pool I/O is currently suspended")
    stage.zborg("snapshot", "--json")
    stage.zborg("status")
    stage.shows_runs("snapshot")


@scenes
def rotate(stage: Stage) -> None:
    """What is destroyed and what is not."""
    stage.hosts({"web1": Play(), "web2": Play()})
    for _ in range(4):
        stage.night()
    stage.zborg("backup", shown=False)
    stage.zborg("snapshot", "--label", "kept", shown=False)
    stage.zborg("holds", "place", "kept", "web1", shown=False)
    stage.clock.tick(days=1)
    for _ in range(3):
        stage.zborg("backup", shown=False)
        stage.zborg("snapshot", shown=False)
        stage.clock.tick(days=1)
    stage.zborg("rotate", "--dry-run")
    stage.zborg("rotate", "--dry-run", "--json")
    stage.zborg("rotate", "--verbose")
    stage.zborg("rotate", "--json")
    stage.config("web1", "web2", snapshots={"keep": {"last": 0}})
    stage.zborg("rotate")
    stage.config("web1")
    stage.zborg("rotate")
    stage.zborg("status")
    stage.config("web1", "web2")
    stage.clock.tick(days=-3)
    stage.zborg("rotate")
    stage.clock.tick(days=3)
    with stage.locked("dataset-tank:borg:web1"):
        stage.zborg("backup", shown=False)
        stage.zborg("snapshot", shown=False)
        stage.zborg("rotate")
    stage.breaks(stage.zfs, ["snapshots"], "cannot open 'tank': pool I/O is currently suspended")
    stage.zborg("rotate")
    stage.shows_runs("rotate")


@scenes
def rotate_frozen(stage: Stage) -> None:
    """A conflict freezes the rotation of its host until somebody releases it."""
    stage.hosts({"web1": Play(), "web2": Play()})
    stage.night()
    stage.plays["web1"] = failing("Cache.RepositoryReplay", "Cache is newer than repository")
    stage.zborg("backup", shown=False)
    stage.zborg("rotate", "--dry-run")
    stage.zborg("rotate")
    stage.zborg("rotate", "--json")
    stage.zborg("rotate", "--freeze", "web2")
    stage.zborg("status")
    stage.zborg("rotate", "--release", "web1", "--json")
    stage.zborg("rotate", "--release", "web1")
    stage.zborg("rotate", "--release", "web9")
    stage.zborg("rotate", "--freeze", "web1", "--release", "web2")
    stage.zborg("rotate")


@scenes
def replicate(stage: Stage) -> None:
    """What arrives, what is lost on the way, and what is not sent."""
    stage.hosts({"web1": Play(), "web2": Play()})
    stage.zborg("replicate")
    stage.zborg("backup", shown=False)
    stage.zborg("snapshot", shown=False)
    stage.zborg("replicate", "--dry-run")
    stage.zborg("replicate", "--verbose")
    stage.zborg("replicate", "--json")
    stage.clock.tick(days=1)
    stage.zborg("backup", shown=False)
    stage.zborg("snapshot", shown=False)
    with stage.locked("dataset-tank:borg:web1"):
        stage.zborg("replicate")
    stage.zborg("replicate", "--verify")
    stage.zborg("replicate", "offsite", "--json")
    stage.zborg("replicate", "--verify", "--json")
    stage.zborg("replicate", "elsewhere")
    stage.shows_runs("replicate")


@scenes
def replicate_failures(stage: Stage) -> None:
    """A target that is away, and one whose copy is another history."""
    stage.hosts({"web1": Play(), "web2": Play(), "web3": Play()})
    stage.night()
    stage.zborg("backup", shown=False)
    stage.zborg("snapshot", shown=False)
    stage.breaks(stage.far, ["datasets"], "ssh: connect to host offsite: No route to host", 255)
    stage.zborg("replicate")
    stage.zborg("replicate", "--verify")
    stage.zborg("status")
    stage.breaks(stage.far, ["receive"], "cannot receive incremental stream: out of space")
    stage.zborg("replicate")
    stage.far.fail = None
    for one in stage.far.snapshots("vault/zborg/web1"):
        stage.far.destroy("vault/zborg/web1", {one.snapname: one.guid})
    stage.far.snapshot("vault/zborg/web1", "zborg_2026-02-12T023000Z", {})
    stage.far.snapshot("vault/zborg/web2", "by-hand", {})
    stage.far.create("vault/zborg/web9", {"mountpoint": "none"})
    stage.zborg("replicate", "--dry-run")
    stage.zborg("replicate")
    stage.zborg("replicate", "--verify")
    stage.clock.tick(days=3)
    stage.zborg("status")
    stage.zborg("status", "--json")
    stage.shows_runs("replicate")


@scenes
def scrub(stage: Stage) -> None:
    """Pools in every state."""
    stage.zborg("scrub")
    stage.zborg("scrub", "--dry-run", "--start", "--wait")
    stage.pools()
    stage.zborg("scrub")
    stage.zborg("scrub", "--verbose")
    stage.zborg("scrub", "--quiet")
    stage.zborg("scrub", "--json")
    stage.pools(health="DEGRADED", device_errors=3, devices=("mirror-0", "sda"))
    stage.zborg("scrub")
    stage.pools(errors=2, repaired=4096, damaged=("tank/borg/web1:/data/0/7",))
    stage.host("web1")
    stage.config("web1")
    stage.zborg("scrub")
    stage.zborg("scrub", "--json")
    stage.zborg("status")
    stage.zborg("status", "--nagios")
    stage.pools(free=5 << 30)
    stage.zborg("scrub")
    stage.pools()
    stage.zborg("scrub", "--start")
    stage.zborg("status", "--live")
    stage.pools()
    stage.clock.tick(days=40)
    stage.zborg("scrub")
    stage.breaks(stage.zfs, ["pool"], "cannot open 'tank': no such pool")
    stage.breaks(stage.far, ["pool"], "ssh: connect to host offsite: No route to host", 255)
    stage.zborg("scrub")
    stage.zborg("status", "--live")
    stage.zborg("status", "--nagios")
    stage.shows_runs()


@scenes
def holds(stage: Stage) -> None:
    """Holds are listed, placed and released."""
    stage.hosts({"web1": Play(), "web2": Play()})
    stage.zborg("holds", "list")
    stage.night()
    stage.zborg("holds", "list")
    stage.zborg("snapshot", "--label", "gold", shown=False)
    stage.zborg("holds", "place", "gold", "--dry-run")
    stage.zborg("holds", "place", "gold", "--until", "2026-03-01", "--owner", "alice")
    stage.zborg("holds", "place", "gold", "web1", "--json")
    stage.zborg("holds", "place", "silver")
    stage.zborg("holds", "place", "gold", "--until", "2020-01-01")
    stage.zborg("holds", "place", "gold", "--until", "soon")
    stage.zborg("holds", "place", "gold", "--owner", "no good")
    stage.zborg("holds", "list")
    stage.zborg("holds", "list", "--json")
    stage.clock.tick(days=30)
    stage.zborg("holds", "list")
    stage.zborg("holds", "release", "--stale", "--dry-run")
    stage.zborg("holds", "release", "--stale")
    stage.zborg("holds", "release", "--stale", "--json")
    stage.zborg("holds", "release", "tank/borg/web1@none", "zborg:keep:root")
    stage.zborg("holds", "release")
    stage.zborg("rotate", "--dry-run")
    stage.shows_runs("holds place", "holds release")


@scenes
def init(stage: Stage) -> None:
    """What is missing is made, and the rest left alone."""
    stage.config("web1", "web2")
    stage.zborg("init", "--dry-run")
    stage.zborg("init", "web1")
    stage.zborg("init", "--dry-run", "--json")
    stage.zborg("init", "--json")
    stage.zborg("init")
    stage.zfs.unmount("tank/borg/web2")
    stage.zborg("init")
    stage.zborg("init", "web9")
    stage.breaks(stage.zfs, ["create"], "cannot create 'tank/borg/web3': out of space")
    stage.config("web1", "web2", "web3")
    stage.zborg("init")
    (stage.directory / "id").unlink()
    stage.zborg("init", "--dry-run")
    stage.shows_runs()


@pytest.mark.parametrize("name", scenes)
def test_it_reads_like_its_golden_file(name: str) -> None:
    with staged() as stage:
        scenes[name](stage)
    compare(FILES / f"{name}.txt", stage.text)
