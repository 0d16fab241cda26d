"""A year of nights, its page, and a browser that shows it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from selenium.webdriver import Chrome

from tests.bench.year import Year, fill
from tests.harness.browser import browser, console, looks, requests
from tests.harness.builders.reports import outcome, report
from tests.harness.worlds.report_page import DAYS, EVIL, zborg
from zborg.model import Status
from zborg.state.history import History
from zborg.state.runs import Runs


@pytest.fixture(scope="session")
def year(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A short one of few hosts, in whose last night one more host fails in words meant for the browser."""
    now = datetime.now(UTC).replace(microsecond=0)
    config = fill(tmp_path_factory.mktemp("year"), Year(hosts=4, nights=60, now=now))
    state = config.parent / "state"
    last = History(state / "history.db").runs("backup")[-1]
    failed = [outcome(Status.FAILED, name, message=EVIL, remedy=EVIL) for name in (EVIL, "host03")]
    night = report(
        *failed, run=f"{last.run}ff", started=last.finished, finished=last.finished, command="backup"
    )
    Runs(state / "runs").save(night)
    History(state / "history.db").record(night)
    return config


@pytest.fixture(scope="session")
def page(year: Path) -> Path:
    place = year.parent / "page.html"
    made = zborg(year, "--days", str(DAYS), "--to", str(place))
    assert made.returncode == 0, made.stderr
    return place


@pytest.fixture(scope="session")
def chrome(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    with browser(tmp_path_factory.mktemp("chromium")) as one:
        yield one


@pytest.fixture
def shown(chrome: Chrome, page: Path) -> Chrome:
    """The page as it has just been opened; what came before is not in the browser's logs."""
    chrome.get("about:blank")
    looks(chrome, 1200)
    console(chrome)
    requests(chrome)
    chrome.get(page.as_uri())
    return chrome
