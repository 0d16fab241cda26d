"""Every report in a golden file can be read back, and every key that docs/json.md names is in one."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path

import pytest

from tests.harness.scenes.golden import FILES, objects
from tests.harness.scenes.stage import reread
from zborg.model.results import Result
from zborg.model.serial.results import classes

UNSEEN = {"given_up", "script", "skipped"}
"""No scene shows these: a stream given up off-site, a bundle on the screen, a device in a repository."""


@pytest.mark.parametrize("path", sorted(FILES.iterdir()), ids=lambda path: path.stem)
def test_every_report_is_read_back(path: Path) -> None:
    for found in objects(path.read_text(encoding="utf-8")):
        if "outcomes" in found and found["run"]:
            told = {key: value for key, value in found.items() if key not in ("news", "subject")}
            assert json.dumps(reread(told)) == json.dumps(told)


def test_every_field_of_a_result_is_in_a_golden_file() -> None:
    shown: dict[str, set[str]] = defaultdict(set)
    for path in FILES.iterdir():
        for report in objects(path.read_text(encoding="utf-8")):
            for one in report.get("outcomes", ()):
                shown[one["kind"]] |= one["data"].keys()
    kinds: dict[str, set[str]] = defaultdict(set)
    fields: dict[str, set[str]] = {}
    for (_, kind), candidates in classes().items():
        for cls in candidates:
            kinds[cls.__name__].add(kind)
            fields[cls.__name__] = set(cls._fields) - set(Result._fields) - {cls._by_name}
    assert sum(map(len, fields.values())) > 100
    seen = {name: set().union(*(shown[kind] for kind in kinds[name])) for name in fields}
    assert {(name, key) for name in fields for key in fields[name] - seen[name] - UNSEEN} == set()
