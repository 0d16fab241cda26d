"""Golden files: what the command line says of itself, and of what it cannot take."""

from __future__ import annotations

from importlib.metadata import version

import pytest

from tests.harness.checkout import GOLDEN_FILES
from tests.harness.scenes.golden import FILES, Scenes, compare
from tests.harness.scenes.stage import Stage, commands, staged

scenes = Scenes()

MISTAKES = GOLDEN_FILES / "config" / "five_mistakes.toml"


@scenes
def help_of_commands(stage: Stage) -> None:
    """Of each one. `-h`, `--help` and `help` are the same, which another test holds."""
    for words in commands():
        stage.zborg(*words, "-h", tick=False)
    stage.zborg("help", "host", "add", tick=False)
    stage.zborg()
    stage.columns = 200
    stage.zborg("--help")
    stage.zborg("backup", "--help")


@scenes
def usage(stage: Stage) -> None:
    """Command lines that are none, as text and for a script."""
    stage.zborg("--version")
    stage.text = stage.text.replace(version("zborg"), "@VERSION@")
    for words in (
        ("no-such",),
        ("-x",),
        ("backup", "--no-such-option"),
        ("backup", "--json", "--no-such-option"),
        ("help", "snapshoot"),
        ("restore",),
        ("restore", "no-such"),
        ("restore", "files"),
        ("restore", "files", "web1"),
        ("history", "--days", "many"),
        ("history", "--days", "0", "--json"),
        ("host",),
        ("host", "add"),
        ("import",),
        ("holds",),
        ("replicate", "elsewhere"),
        ("rotate", "--release", "web9"),
        ("doctor", "--only", "nothing"),
        ("status", "web1"),
    ):
        stage.zborg(*words)


@scenes
def configuration(stage: Stage) -> None:
    """zborg.toml that is not there, has mistakes, may be written by others, or names nobody."""
    for words in (("backup",), ("status",), ("status", "--nagios"), ("history",), ("backup", "--json")):
        stage.zborg(*words, "--config", "none.toml")
    path = stage.write("zborg.toml", MISTAKES.read_text())
    stage.zborg("backup")
    stage.zborg("backup", "--json")
    stage.zborg("status", "--nagios")
    stage.zborg("doctor", "--only", "config")
    stage.write("zborg.toml", "name = \n")
    stage.zborg("run")
    stage.config("web1")
    path.chmod(0o666)
    stage.zborg("run")
    stage.config()
    for words in (("backup",), ("run",), ("status",), ("host", "list"), ("host", "test"), ("snapshot",)):
        stage.zborg(*words)
    stage.config("web1", hosts={"Web_1": stage.machine("web2")})
    stage.zborg("run")
    stage.config("web1", hosts={"web2": {"ssh": "web2", "host_key": "none"}})
    stage.zborg("run")
    stage.config("web1", storage={"dataset": "tank"}, snapshots={"keep": {"daily": "x"}})
    stage.zborg("run", "--json")


@scenes
def state_directory(stage: Stage) -> None:
    """One that is not there, and commands that ask for what was never done."""
    stage.config("web1")
    for words in (("log",), ("history",), ("history", "web1"), ("history", "web9"), ("log", "nothing")):
        stage.zborg(*words)
    stage.zborg("history", "--rebuild", "--dry-run")
    stage.zborg("history", "--rebuild")
    stage.zborg("history", "--rebuild", "--json")
    (stage.directory / "state").rename(stage.directory / "moved")
    for words in (("backup",), ("status",), ("history",), ("log",), ("run", "--json"), ("host", "list")):
        stage.zborg(*words)


@pytest.mark.parametrize("name", scenes)
def test_it_reads_like_its_golden_file(name: str) -> None:
    with staged() as stage:
        scenes[name](stage)
    compare(FILES / f"{name}.txt", stage.text)
