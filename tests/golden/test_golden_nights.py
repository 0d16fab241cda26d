"""Golden files: nights, and what is seen of them."""

from __future__ import annotations

import pytest
import tomli_w

from tests.harness.scenes.golden import FILES, Scenes, compare
from tests.harness.scenes.plays import Play, created, ended, failing, stops
from tests.harness.scenes.stage import Stage, staged

scenes = Scenes()
STATUS = (("status",), ("status", "--verbose"), ("status", "--json"), ("status", "--live"))


@scenes
def first_night(stage: Stage) -> None:
    """Everything is well, from the first night on."""
    stage.host("web1")
    stage.host("db1", Play(created(files=80, original=3 << 40, seconds=7250.0)))
    stage.config("web1", "db1")
    stage.zborg("status")
    stage.zborg("run", "--dry-run")
    stage.zborg("run")
    for words in STATUS:
        stage.zborg(*words)
    stage.zborg("history")
    stage.zborg("log")
    stage.shows_runs()
    stage.shows_history()


@scenes
def bad_night(stage: Stage) -> None:
    """A good night, and then one in which hosts fail."""
    for name in ("web1", "web2", "web3", "web4"):
        stage.host(name)
    stage.config("web1", "web2", "web3", "web4")
    stage.zborg("run", shown=False)
    stage.clock.tick(days=1)
    stage.plays["web1"] = failing("PassphraseWrong", "passphrase supplied in BORG_PASSPHRASE is incorrect")
    stage.plays["web2"] = failing("Cache.RepositoryReplay", "Cache is newer than repository", 2)
    stage.plays["web3"] = stops(78, "zborg-agent: not now: the host is in use")
    stage.zborg("run")
    for words in STATUS:
        stage.zborg(*words)
    stage.columns = 200
    stage.zborg("status")
    stage.zborg("history")
    stage.zborg("history", "--json")
    stage.zborg("history", "web1")
    stage.zborg("history", "web4")
    stage.shows_runs()
    stage.shows_history()


@scenes
def ten_nights(stage: Stage) -> None:
    """Long enough for what is usual, for a forecast, and for a backup at work meanwhile."""
    stage.host("web1")
    stage.host("web2")
    stage.config("web1", "web2")
    for number in range(10):
        stage.plays["web1"] = Play(created(original=(50 + number) << 30, seconds=300.0 + number))
        stage.zfs.available -= 1 << 30
        stage.pools(free=(500 - 10 * number) << 30)
        stage.zborg("run", shown=False)
        stage.clock.tick(days=1, minutes=-1)
    told = '= {"restored": "/var/lib/zborg/restore/x", "files": 12, "bytes": 9000}'
    listed = Play(('= {"archives": [{"name": "web1-2026-02-12T023000Z"}]}', ended(0)))
    stage.plays["web1"] = Play(others={"list": listed, "restore": Play((told, ended(0)))})
    stage.zborg("restore", "files", "web1", "/etc", shown=False)
    with stage.locked("host-web1"):
        stage.zborg("status")
        stage.zborg("status", "--json")
        stage.zborg("status", "--nagios")
        stage.zborg("run")
        stage.zborg("status")
    stage.zborg("history")
    stage.zborg("history", "web1", "--verbose")
    stage.zborg("report", "--json")


@scenes
def run_options(stage: Stage) -> None:
    """What the command line of a whole night changes, and one whose hosts are all skipped."""
    bad = failing("PassphraseWrong", "passphrase supplied is incorrect")
    stage.host("web1", bad)
    stage.host("web2")
    stage.config("web1", "web2")
    stage.pools()
    for words in (("--json",), ("--allow-partial",), ("--quiet",), ("--dry-run", "--json"), ("--verbose",)):
        stage.zborg("run", *words)
    stage.plays["web1"] = stage.plays["web2"] = stops(78, "zborg-agent: not now: the host is in use")
    stage.zborg("run")
    with stage.locked("snapshot"):
        stage.zborg("run")
    stage.plays["web1"] = stage.plays["web2"] = Play()
    stage.zborg("run", "--quiet")


@scenes
def off_site(stage: Stage) -> None:
    """The off-site has a zborg of its own, and leaves word for the server."""
    stage.host("web1")
    stage.host("web2")
    stage.config("web1", "web2")
    table = {"dataset": "vault/zborg", "received": True, "zfs": "commands"}
    own = {"name": "offsite", "state_dir": "there", "log": {"to": "file"}, "storage": table}
    stage.write("offsite.toml", tomli_w.dumps(own | {"snapshots": {"keep": {"last": 2}, "max_age": "26h"}}))
    for name in ("", "locks", "runs"):
        (stage.directory / "there" / name).mkdir(mode=0o700)
    there = ("--config", "offsite.toml")
    stage.zborg("run", *there)
    for _ in range(4):
        stage.night()
        came = [one.full for one in stage.far.snapshots("vault/zborg") if not one.arrived]
        stage.far.set(came, {"zborg:arrived": f"{stage.clock.now:%Y-%m-%dT%H:%M:%SZ}"})  # as its sink does
        stage.zborg("run", *there, shown=False)
    stage.zborg("status", *there)
    stage.zborg("run", *there)
    stage.zborg("rotate", *there, "--dry-run")
    stage.zborg("run", *there, "--json")
    stage.zborg("snapshot", *there)
    stage.pools(health="DEGRADED")
    stage.zborg("run")
    stage.zborg("status", "--json")
    stage.clock.tick(days=5)
    stage.zborg("run", *there)
    stage.zborg("status", *there)
    stage.zborg("scrub")
    stage.zborg("status")


@pytest.mark.parametrize("name", scenes)
def test_it_reads_like_its_golden_file(name: str) -> None:
    with staged() as stage:
        scenes[name](stage)
    compare(FILES / f"{name}.txt", stage.text)
