"""Golden files: nights, and what is seen of them."""

from __future__ import annotations

import pytest

from tests.harness.golden import FILES, Scenes, compare
from tests.harness.plays import Play, created, failing, stops
from tests.harness.stage import Stage, staged

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


@pytest.mark.parametrize("name", scenes)
def test_it_reads_like_its_golden_file(name: str) -> None:
    with staged() as stage:
        scenes[name](stage)
    compare(FILES / f"{name}.txt", stage.text)
