"""A snapshot that cannot be destroyed because it is used: what is printed shows who uses it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from zborg.errors import CommandFailed
from zborg.model.text.remedy import is_command, parse
from zborg.zfs.output.messages import explain

DESTROY = ("zfs", "destroy", "tank/two words@a,b")
CANNOT = "cannot destroy snapshot tank/two words@a: "


def remedy(said: str, note: str = "") -> str:
    return explain(CommandFailed(DESTROY, 1, said), DESTROY, note).remedy


@pytest.mark.unit
@pytest.mark.parametrize(
    ("said", "note"),
    [
        (CANNOT + "dataset is busy", ""),
        (CANNOT + "dataset is busy", "held by keep on tank/two words@a"),
        (CANNOT + "it's being held. Run 'zfs holds -r tank/two words@a' to see holders.", ""),
        (CANNOT + "snapshot has dependent clones", ""),
        ("cannot destroy 'tank/two words': pool or dataset is busy", ""),
    ],
)
def test_whoever_uses_a_snapshot_is_shown_by_commands(said: str, note: str) -> None:
    sentence, commands = parse(remedy(said, note))
    assert "tank/two words" in sentence
    assert len(commands) == 3 and all(map(is_command, commands))
    assert commands[0].endswith(" name,userrefs,clones 'tank/two words'")


def test_a_process_that_stands_in_a_snapshot_is_found(tmp_path: Path) -> None:
    place = tmp_path / ".zfs/snapshot/a"
    place.mkdir(parents=True)
    with subprocess.Popen(["sleep", "60"], cwd=place) as shell:
        typed = parse(remedy(CANNOT + "dataset is busy"))[1][-1]
        found = subprocess.run(
            ["bash", "-c", typed], capture_output=True, text=True, timeout=120, check=False
        )
        shell.kill()
    assert f"/proc/{shell.pid}/cwd {place}\n" in found.stdout
