"""`zborg report`: its page in a real browser, its numbers against the history's, its file and its mail."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pytest_httpserver import HTTPServer
from selenium.webdriver import Chrome

from tests.bench.year import Year, fill
from tests.harness.browser import ask, browser, console, looks, requests
from tests.harness.builders.reports import outcome, report
from tests.harness.mail import mail_server
from tests.harness.worlds.world import ZBORG
from zborg.config import load
from zborg.model import Entry, Outcome, Status
from zborg.model.text.units import size
from zborg.planning.observe.figures import DAILY, Told, figures
from zborg.planning.observe.forecast import forecast
from zborg.reporting.report_html import html
from zborg.state.escrow import Escrow
from zborg.state.history import History
from zborg.state.runs import Runs
from zborg.steps.observe.html_report import gathered

EVIL = '<img src=http://127.0.0.1:9/x onerror="window.hit=1"></td></svg><script>window.hit=1</script>&amp;\''
DAYS = 40
PLOTS = 2 + 4 * 3 + 2 + 1  # of nights, hosts, pools, the target; none of a host that was never good


@pytest.fixture(scope="module")
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


@pytest.fixture(scope="module")
def page(year: Path) -> Path:
    place = year.parent / "page.html"
    made = zborg(year, "--days", str(DAYS), "--to", str(place))
    assert made.returncode == 0, made.stderr
    return place


@pytest.fixture(scope="module")
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


def zborg(config: Path, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
    argv = [str(ZBORG), "report", *words, "--config", str(config)]
    return subprocess.run(argv, capture_output=True, text=True, timeout=120, env={**os.environ, **env})


# --- in the browser -----------------------------------------------------------------------------------


def test_it_renders_without_a_word_on_the_console_and_asks_for_nothing(shown: Chrome, page: Path) -> None:
    assert (
        ask(shown, "return [...document.querySelectorAll('svg.plot')].map(s => s.getBBox().width > 300)")
        == [True] * PLOTS
    )
    assert console(shown) == []
    assert {url for url in requests(shown) if not url.startswith("data:")} == {page.as_uri()}
    assert ask(shown, "return performance.getEntriesByType('resource').length") == 0


def test_its_policy_lets_nothing_run_or_load(shown: Chrome, httpserver: HTTPServer) -> None:
    """Should markup ever get into it, it would still be alone."""
    script = """
        const code = document.createElement("script"), image = document.createElement("img");
        code.textContent = "window.hit = 1";
        image.src = arguments[0];
        document.body.append(code, image);
        return fetch(arguments[0]).then(() => "asked", () => window.hit || "refused");
    """
    assert ask(shown, script, httpserver.url_for("/x")) == "refused"
    assert httpserver.log == []


def test_what_a_host_says_is_text(shown: Chrome) -> None:
    assert ask(shown, "return window.hit") is None
    assert ask(shown, "return document.querySelectorAll('script, img, iframe, object').length") == 0
    names = "return [...new Set([...document.querySelectorAll('*')].flatMap(e => e.getAttributeNames()))]"
    assert [name for name in ask(shown, names) if name.startswith("on")] == []
    told = ask(shown, "return document.querySelector('.looks').textContent")
    assert "<script>window.hit=1</script>&amp;'" in told
    assert "3 of 4 hosts well now" in ask(shown, "return document.querySelector('header').textContent")
    names = ask(shown, "return [...document.querySelectorAll('article h3')].map(e => e.textContent)")
    assert EVIL in names


def test_its_numbers_are_the_historys(shown: Chrome, year: Path) -> None:
    """Reckoned here from the rows of the history, by the last good backup of each day."""
    rows = """
        const cell = td => { const d = td.querySelector("data"); return d ? Number(d.value) : null; };
        const article = document.getElementById(arguments[0]).closest("article");
        return [...article.querySelectorAll("table.backups tbody tr")].map(
            tr => [tr.cells[0].textContent, cell(tr.cells[2]), cell(tr.cells[3]), cell(tr.cells[4])]);
    """
    since = datetime.now().astimezone().date() - timedelta(days=DAYS - 1)
    history = History(year.parent / "state" / "history.db")
    for number in range(4):
        expected: dict[str, list[object]] = {}
        for entry in history.outcomes("host", f"host{number:02}"):
            day, data = entry.started.astimezone().date(), entry.outcome.data
            if day >= since and entry.outcome.status.good:
                expected[str(day)] = [data["original_bytes"], data["new_bytes"], data["seconds"]]
        told = {day: numbers for day, *numbers in ask(shown, rows, f"host-{number}")}
        assert len(expected) > DAYS // 2
        assert {day: numbers for day, numbers in told.items() if numbers[0] is not None} == expected
        assert all(numbers == [None] * 3 for day, numbers in told.items() if day not in expected)


def test_the_totals_and_the_pools_are_the_historys(shown: Chrome, year: Path) -> None:
    history = History(year.parent / "state" / "history.db")
    cells = "return [...document.querySelectorAll(arguments[0])].map(e => e.value)"
    last = history.outcomes("pool", "tank")[-1].outcome.data
    used = ask(shown, cells, "#pools ~ article table.pool tbody tr:first-child data")
    assert used[0] == str(last["size"] - last["free"])
    assert f"of {size(last['size'])} used" in ask(
        shown, "return document.querySelector('#pools ~ article p').textContent"
    )
    told = ask(
        shown,
        "return Object.fromEntries([...document.querySelectorAll('#nights-table tbody tr')].map("
        "tr => [tr.cells[0].textContent, tr.cells[3].firstElementChild.value]))",
    )
    today = datetime.now().astimezone().date()
    for ago in (3, 20, 30):
        day = today - timedelta(days=ago)
        night = [e.outcome for e in history.outcomes("host") if e.started.astimezone().date() == day]
        assert told[str(day)] == str(sum(one.data["new_bytes"] for one in night if one.status.good))


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_it_is_readable_on_a_phone_in_both_lights(shown: Chrome, *, dark: bool) -> None:
    looks(shown, 400, dark=dark)
    assert ask(shown, "return document.documentElement.scrollWidth") <= 400
    paper = ask(shown, "return getComputedStyle(document.body).backgroundColor")
    assert (luminance(paper) < 0.1) == dark
    # Every element that holds words of its own, against the first background behind it.
    script = """
        const back = e => { for (; e; e = e.parentElement) {
            const c = getComputedStyle(e).backgroundColor; if (c !== "rgba(0, 0, 0, 0)") return c; } };
        const words = e => [...e.childNodes].some(n => n.nodeType === 3 && n.data.trim());
        const pairs = [...document.body.querySelectorAll(":not(title, desc)")].filter(words).map(e =>
            [getComputedStyle(e)[e instanceof SVGElement ? "fill" : "color"], back(e)].join("|"));
        return [...new Set(pairs)].map(p => p.split("|"));
    """
    pairs = ask(shown, script)
    assert len(pairs) > 6
    assert [pair for pair in pairs if contrast(*pair) < 4.5] == []


def contrast(one: str, other: str) -> float:
    """As WCAG 2.2 defines it; 4.5 is what it asks for."""
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def luminance(colour: str) -> float:
    channels = [int(part) / 255 for part in colour.removeprefix("rgb(").removesuffix(")").split(",")]
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_a_screen_reader_finds_its_way(shown: Chrome) -> None:
    assert ask(shown, "return document.documentElement.lang") == "en"
    tree = shown.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    seen = [
        (one["role"]["value"], one.get("name", {}).get("value", "")) for one in tree if not one["ignored"]
    ]
    assert {"main", "navigation", "banner", "contentinfo"} <= {role for role, _ in seen}
    images = [name for role, name in seen if role in ("image", "img", "graphics-document")]
    assert len(images) == PLOTS
    assert any("Size of host01 from" in name and "at most" in name for name in images)
    ids = ask(shown, "return [...document.querySelectorAll('[id]')].map(e => e.id)")
    assert len(ids) == len(set(ids))
    plots = (
        "return [...document.querySelectorAll('main figure')].filter(f => !f.closest('section')"
        ".querySelector('details table')).length"
    )
    assert ask(shown, plots) == 0
    assert ask(shown, "return document.querySelectorAll('table thead th:not([scope])').length") == 0


# --- the numbers, before they are shown ---------------------------------------------------------------

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def entry(day: int, one: Outcome, command: str = "backup", run: str = "") -> Entry:
    at = NOON + timedelta(days=day)
    return Entry(at, at + timedelta(minutes=5), "vault", run or f"{day}", command, one)


def told(last: int, **entries: Any) -> Told:
    first = NOON.date()
    empty: dict[str, Any] = {"hosts": (), "datasets": (), "replicas": (), "pools": ()}
    return Told(first, first + timedelta(days=last), **empty | entries, zone=UTC)


NEW = st.lists(st.none() | st.integers(0, 1 << 40), min_size=1, max_size=20)


@pytest.mark.unit
@given(some=NEW, length=st.integers(1, 300))
def test_weeks_lose_nothing_of_the_days(some: list[int | None], length: int) -> None:
    """None: that night failed. Of a long time the oldest days may not fill a week."""
    new = list(islice(cycle(some), length))
    hosts = [
        entry(n, outcome(Status.FAILED) if one is None else outcome(Status.OK, data={"new_bytes": one}))
        for n, one in enumerate(new)
    ]
    found = figures(told(len(new) - 1, hosts=hosts))
    (host,) = found.hosts
    left_out = len(new) % 7 if len(new) > DAILY else 0
    assert found.step == (7 if len(new) > DAILY else 1)
    assert sum(row.new_bytes or 0 for row in host.backups) == sum(one or 0 for one in new[left_out:])
    assert sum(row.of for row in host.backups) == len(new) - left_out
    assert sum(row.good for row in host.backups) == sum(one is not None for one in new[left_out:])
    assert sum(day.new_bytes for day in found.calendar) == sum(one or 0 for one in new)


@pytest.mark.unit
def test_the_calendar_tells_kinds_of_nights_and_those_that_are_missing() -> None:
    good, bad = outcome(Status.OK, "a"), outcome(Status.FAILED, "b")
    warned = outcome(Status.WARNING, "c")
    hosts = [entry(0, good), entry(1, bad), entry(1, good), entry(2, bad), entry(4, warned), entry(4, good)]
    words = [day.word for day in figures(told(7, hosts=hosts)).calendar]
    assert words == ["good", "partial", "failed", "none", "warned", "none", "none"]  # today's may come


@pytest.mark.unit
def test_how_far_a_target_is_behind() -> None:
    def sent(day: int, name: str, *, well: bool = True, run: str = "") -> Entry:
        status, data = (Status.OK, {"streams": 1}) if well else (Status.FAILED, {})
        return entry(
            day, Outcome("replica", f"off:v/{name}", status, data=data), "replicate", run or f"r{day}"
        )

    replicas = [
        sent(0, "a"), sent(0, "gone"), sent(1, "a"), sent(1, "b", well=False),
        sent(2, "a", well=False), sent(2, "b", well=False), sent(4, "a"), sent(4, "b"),
        entry(4, Outcome("replica", "off:v/gone", Status.WARNING, "is gone here"), "replicate", "r4"),
        entry(4, Outcome("replica", "other:v/a", Status.OK, data={"streams": 1}), "replicate", "r4"),
    ]  # fmt: skip
    target, never = figures(told(7, replicas=replicas, targets=["off", "never"])).targets
    assert [days for _, days in target.behind] == [0, 0, 1, 2, 0, 1, 2]
    assert never.behind == ()


@pytest.mark.unit
def test_the_proof_of_a_host() -> None:
    state = {"state": "ok"}
    found = figures(
        told(
            5,
            names=["web1", "new1"],
            targets=["off"],
            sealed=frozenset({"web1"}),
            hosts=[
                entry(1, outcome(Status.OK, subject="web1")),
                entry(2, outcome(Status.FAILED, "web1")),
                entry(3, outcome(Status.OK, subject="web1"), "restore files"),
                entry(4, outcome(Status.FAILED, "web1"), "restore repo"),
            ],
            datasets=[
                entry(1, Outcome("dataset", "tank/borg/web1", Status.OK, data=state), "snapshot"),
                entry(
                    2, Outcome("dataset", "tank/borg/web1", Status.OK, data={"state": "failed"}), "snapshot"
                ),
            ],
            replicas=[
                entry(2, Outcome("replica", "off:v/web1", Status.OK, data={"streams": 0}), "replicate"),
                entry(3, Outcome("replica", "off:v/web1", Status.FAILED), "replicate"),
            ],
        )
    )
    web1, new1 = (one.proof for one in found.hosts)
    days = [at and (at - NOON).days for at in (web1.backup, web1.snapshot, web1.copies["off"], web1.restore)]
    assert days == [1, 1, 2, 3]
    assert web1.sealed
    assert (new1.backup, new1.snapshot, new1.copies, new1.restore, new1.sealed) == (
        None,
        None,
        {"off": None},
        None,
        False,
    )


TODAY = date(2026, 3, 1)


def days(values: list[float]) -> list[tuple[date, float]]:
    return [(TODAY + timedelta(days=n), value) for n, value in enumerate(values)]


@pytest.mark.unit
@given(slope=st.integers(1, 1000), odd=st.lists(st.floats(0, 1e6), max_size=5), length=st.integers(30, 90))
def test_a_few_odd_days_do_not_turn_the_forecast(slope: int, odd: list[float], length: int) -> None:
    values = [5000.0 + slope * n for n in range(length)]
    for n, value in enumerate(odd):
        values[3 + n] = value
    top = values[-1] + 10 * slope
    found = forecast(days(values), top, 20)
    assert found is not None
    assert found.bytes_a_day == pytest.approx(slope, rel=0.4)
    if not odd:
        assert found.full == TODAY + timedelta(days=length - 1 + 10)
        assert found.line[-1][1] == pytest.approx(top)


@pytest.mark.unit
def test_what_cannot_be_told_of_a_pool() -> None:
    assert forecast(days([1.0] * 6), 100, 7) is None
    for values in ([50.0] * 20, [50.0 - n for n in range(20)], [50 + n / 1000 for n in range(20)]):
        found = forecast(days(values), 100, 7)
        assert found is not None
        assert found.full is None
    full = forecast(days([100.0] * 20), 100, 7)
    assert full is not None
    assert full.full == TODAY + timedelta(days=19)


# --- the file -----------------------------------------------------------------------------------------


def test_without_a_file_it_goes_to_the_state_directory_for_its_owner_alone(year: Path) -> None:
    made = zborg(year, "--json")
    assert made.returncode == 0, made.stderr
    told = json.loads(made.stdout)["outcomes"]
    place = year.parent / "state" / "report.html"
    assert [one["subject"] for one in told if one["kind"] == "file"] == [str(place)]
    assert place.stat().st_mode & 0o777 == 0o600
    host = next(one for one in told if one["subject"] == "host01")
    assert host["data"].keys() >= {
        "good",
        "of",
        "original_bytes",
        "growth",
        "last_good",
        "snapshot",
        "copies",
    }
    place.chmod(0o644)
    assert zborg(year).returncode == 0
    assert place.stat().st_mode & 0o777 == 0o644
    assert {one.name for one in place.parent.iterdir() if "report" in one.name} == {"report.html"}


def test_a_link_is_followed_and_what_is_no_file_is_refused(year: Path, tmp_path: Path) -> None:
    link, real = tmp_path / "link.html", tmp_path / "real.html"
    link.symlink_to(real)
    assert zborg(year, "--to", str(link)).returncode == 0
    assert link.is_symlink()
    assert real.read_text().startswith("<!DOCTYPE html>")
    for odd in ("/dev/null", str(tmp_path)):
        refused = zborg(year, "--to", odd)
        assert refused.returncode == 2
        assert "is no file" in refused.stderr
    gone = zborg(year, "--to", str(tmp_path / "no" / "page.html"))
    assert gone.returncode == 4
    assert "cannot be written: No such file" in gone.stderr


def test_a_dry_run_writes_and_sends_nothing(year: Path, tmp_path: Path) -> None:
    place = tmp_path / "page.html"
    shown = zborg(year, "--to", str(place), "--mail", "--dry-run")
    assert shown.returncode == 0
    assert f"write {place}" in shown.stdout
    assert not place.exists()


def test_a_server_without_any_night_has_a_page_too(year: Path, tmp_path: Path) -> None:
    config = load(year)
    now = datetime.now(UTC)
    found = gathered(History(tmp_path / "none.db"), replace(config, state_dir=tmp_path), 30, now)
    page = html(found, report(command="status"))
    assert "No backup is recorded in these days" in page
    nobody = html(figures(told(3)), report(command="status"))
    assert "There are none." in nobody
    assert "zborg.toml names no target" in nobody


@pytest.mark.unit
def test_whose_key_is_sealed(tmp_path: Path) -> None:
    escrow = Escrow(tmp_path / "escrow")
    assert escrow.sealed_for("web1") == ""
    armour = "-----BEGIN AGE ENCRYPTED FILE-----\nYWJj\n-----END AGE ENCRYPTED FILE-----\n"
    kept = escrow.keep("web1", "0123abcd", armour, NOON)
    assert escrow.sealed_for("web1") == "0123abcd"
    assert escrow.is_sealed("web1", "0123abcd")
    assert not escrow.is_sealed("web1", "another")
    kept.write_text("half of it")
    assert escrow.sealed_for("web1") == ""


# --- mail ---------------------------------------------------------------------------------------------


def test_it_is_mailed_as_an_attachment_and_not_written(year: Path, tmp_path: Path) -> None:
    with mail_server(tmp_path, "ssl") as mail:
        config = notified(year, f'urls = ["{mail.url()}"]')
        made = zborg(config, "--mail", SSL_CERT_FILE=str(mail.ca))
        assert made.returncode == 0, made.stdout + made.stderr
        (got,) = mail.received
    (attached,) = got.iter_attachments()
    assert attached.get_content_type() == "text/html"
    assert (attached.get_filename() or "").startswith("zborg-report-2")
    assert attached.get_content().startswith("<!DOCTYPE html>")
    assert "report warning" in got["subject"], "what it says of the hosts, not that it was made"
    assert "host03" in mail.text("plain")
    assert "report.html" not in made.stdout


def test_a_service_that_takes_no_files_gets_the_text(year: Path, httpserver: HTTPServer) -> None:
    httpserver.expect_request("/hooks/token").respond_with_data("ok")
    config = notified(year, f'urls = ["mmost://localhost:{httpserver.port}/token-of-24-characters-ab"]')
    httpserver.expect_request("/hooks/token-of-24-characters-ab", method="POST").respond_with_data("ok")
    made = zborg(config, "--mail")
    assert made.returncode == 0, made.stdout + made.stderr
    assert "host03" in httpserver.log[0][0].get_data(as_text=True)


def test_mail_to_nobody_is_a_failure(year: Path) -> None:
    made = zborg(year, "--mail")
    assert made.returncode == 4
    assert "names nobody who is told" in " ".join(made.stdout.split())


def notified(year: Path, words: str) -> Path:
    config = year.with_name("notified.toml")
    config.write_text(f"{year.read_text()}\n[notify]\n{words}\n")
    config.chmod(0o600)
    return config
