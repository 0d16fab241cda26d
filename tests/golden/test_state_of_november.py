"""A state directory, a history and a zborg.toml of the version of November 2026, whose results were mappings.

tests/golden/state-2026-11 was written by that version, and so was shown.json: what it showed of it.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
import time
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.harness.checkout import GOLDEN_FILES
from zborg.config import Config, load
from zborg.model import Report
from zborg.model.serial.report import from_dict, to_dict
from zborg.state.history import History
from zborg.state.locks import Locks
from zborg.state.runs import Runs
from zborg.steps.observe.history import history
from zborg.steps.observe.html_report import gathered, report
from zborg.steps.observe.status import saved

pytestmark = pytest.mark.unit

LEFT = GOLDEN_FILES / "state-2026-11"
NOW = datetime(2026, 11, 30, 12, 0, tzinfo=UTC)


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Config:
    """What it left, with its history made of its dump."""
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    shutil.copy(LEFT / "zborg.toml", tmp_path)
    shutil.copytree(LEFT / "runs", tmp_path / "state" / "runs")
    (tmp_path / "state" / "locks").mkdir()
    with closing(sqlite3.connect(tmp_path / "state" / "history.db")) as database:
        database.executescript((LEFT / "history.sql").read_text())
    return load(tmp_path / "zborg.toml")


def shown(one: Report) -> dict[str, Any]:
    """Without the id of the run, in which there is chance."""
    table: dict[str, Any] = json.loads(json.dumps(to_dict(one) | {"run": "RUN"}))
    return table


def test_it_is_shown_as_that_version_showed_it(config: Config) -> None:
    expected = json.loads((LEFT / "shown.json").read_text())
    runs, past = Runs(config.state_dir / "runs"), History(config.state_dir / "history.db")
    status = saved(config, runs, Locks(config.state_dir / "locks", "test"), NOW)
    assert shown(status) == expected["status"]
    assert shown(history(past, config, "", 30, NOW)) == expected["history"]
    assert shown(history(past, config, "host00", 30, NOW)) == expected["host"]
    figures = gathered(past, config, 30, NOW)
    assert shown(report(figures, config, NOW, ())) == expected["report"]


@pytest.mark.parametrize("path", sorted((LEFT / "runs").iterdir()), ids=lambda path: path.stem)
def test_no_run_file_loses_a_key_or_its_place(path: Path) -> None:
    table = json.loads(path.read_text())
    assert json.dumps(to_dict(from_dict(table))) == json.dumps(table)
