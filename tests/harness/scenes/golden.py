"""Golden files of scenes: what commands print and leave, byte for byte.

A scene is a function that acts on a stage; its name is that of its file below tests/golden/scenes. With
`ZBORG_GOLDEN=write` in the environment the tests write the files instead of comparing them.
"""

from __future__ import annotations

import difflib
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.harness.checkout import GOLDEN_FILES
from tests.harness.scenes.stage import Stage

FILES = GOLDEN_FILES / "scenes"
WRITE = os.environ.get("ZBORG_GOLDEN") == "write"

Scene = Callable[[Stage], None]


class Scenes(dict[str, Scene]):
    """A module's scenes by name; it is the decorator that adds one."""

    def __call__(self, scene: Scene) -> Scene:
        self[scene.__name__.replace("_", "-")] = scene
        return scene


def compare(path: Path, text: str) -> None:
    """Raises AssertionError with a diff; writes the file instead where that was asked for."""
    if WRITE:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return
    assert path.exists(), f"{path} is missing; ZBORG_GOLDEN=write makes it"
    wanted = path.read_text(encoding="utf-8")
    if text != wanted:
        lines = (wanted.splitlines(keepends=True), text.splitlines(keepends=True))
        diff = "".join(difflib.unified_diff(*lines, f"golden/{path.name}", "now"))
        raise AssertionError(f"{path.name} changed (ZBORG_GOLDEN=write accepts it):\n{diff}")


def objects(text: str) -> Iterator[dict[str, Any]]:
    """Every JSON object in a golden file: from a line `{` to the next line `}`."""
    held: list[str] = []
    for line in text.splitlines():
        if line == "{" or held:
            held.append(line)
        if line == "}" and held:
            yield json.loads("\n".join(held))
            held = []
