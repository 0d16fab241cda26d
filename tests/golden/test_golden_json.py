"""Every report in a golden file can be read back, and every key that docs/json.md names is in one."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness.checkout import CHECKOUT
from tests.harness.scenes.golden import FILES, objects
from tests.harness.scenes.stage import reread

DOCUMENTED = (CHECKOUT / "docs" / "json.md").read_text(encoding="utf-8")


def rows() -> Iterator[tuple[str, str, str]]:
    """(command, kind, key) of each key of `data` in the tables."""
    section = ""
    for line in DOCUMENTED.splitlines():
        section = line.removeprefix("## ") if line.startswith("## ") else section
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if not line.startswith("| `") or not section:
            continue
        kind = cells[0].strip("`")
        commands = re.findall(r"`([a-z]+)`", cells[1] if section == "Outcomes by kind" else section)
        for command in commands:
            for key in re.findall(r"`([a-z_]+)`(?! to)", re.sub(r"\(.*?\)|as of `[a-z]+`", "", cells[-1])):
                yield command, kind, key


@pytest.mark.parametrize("path", sorted(FILES.iterdir()), ids=lambda path: path.stem)
def test_every_report_is_read_back(path: Path) -> None:
    for found in objects(path.read_text(encoding="utf-8")):
        if "outcomes" in found and found["run"]:
            told = {key: value for key, value in found.items() if key not in ("news", "subject")}
            assert json.dumps(reread(told)) == json.dumps(told)


def test_every_documented_key_is_in_a_golden_file() -> None:
    shown = {
        (report["command"], one["kind"], key)
        for path in FILES.iterdir()
        for report in objects(path.read_text(encoding="utf-8"))
        for one in report.get("outcomes", ())
        for key in one["data"]
    }
    wanted = set(rows())
    assert len(wanted) > 50
    assert not wanted - shown
