"""The page of `zborg report` in a real browser, and its numbers against the history's."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import pytest
from pytest_httpserver import HTTPServer
from selenium.webdriver import Chrome

from tests.harness.browser import ask, console, looks, requests
from tests.harness.worlds.report_page import DAYS, EVIL
from zborg.model.text.units import size
from zborg.state.history import History

PLOTS = 2 + 4 * 3 + 2 + 1  # of nights, hosts, pools, the target; none of a host that was never good


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
