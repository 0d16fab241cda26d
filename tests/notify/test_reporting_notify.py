"""What a message says, and what nobody can make it say."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.harness.builders.reports import NOON, REPORTS, outcome, report, result
from zborg.model import CHOSEN, News, Outcome, Report, Status
from zborg.model.results import Contradiction
from zborg.model.serial.results import from_table
from zborg.model.text.units import masked
from zborg.reporting.notify import counts, message, news_of, recovered
from zborg.reporting.notify_digest import digest, is_due, rows, week_of

pytestmark = pytest.mark.unit

SUBJECT = "$STATUS $SUCCEEDED $FAILED $SKIPPED $TOTAL $COMMAND $SERVER $RUNTIME"


class Tags(HTMLParser):
    """Every tag with its attributes' names, and the text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[tuple[str, ...]] = set()
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add((tag, *(name for name, _ in attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


# --- hostile words ------------------------------------------------------------------------------------

HOSTILE = (
    '<script>alert(1)</script><img src=x onerror="a()">&amp;\r\nBcc: all@example.net\x1b[2J\u202e{{ 7*7 }}'
)


def full_of(text: str) -> Report:
    made = Contradiction(log=(text,), step=text, sides=(text,), commands=(text,), conflict=text)
    one = Outcome("host", text, Status.FAILED, text, text, made)
    return report(one, replace(one, status=Status.WARNING), server=text, command=text)


def test_what_a_host_says_is_no_markup_no_header_and_no_template() -> None:
    made = message(full_of(HOSTILE), (HOSTILE,), SUBJECT)
    harmless = Tags(message(full_of("word"), ("word",), SUBJECT).html)
    got = Tags(made.html)
    assert got.tags == harmless.tags
    assert "<script>alert(1)</script>" in got.text, "it is shown, as text"
    assert "{{ 7*7 }}" in got.text
    for text in (made.subject, made.text, made.html):
        assert not set(text) & {"\r", "\x1b", "\u202e"}
    assert "\n" not in made.subject


@settings(deadline=None)  # other tests may keep the machine busy
@given(text=st.text())
def test_a_subject_is_one_line_whatever_is_said(text: str) -> None:
    subject = message(full_of(text), (), SUBJECT).subject
    assert subject.splitlines() in ([subject], [])
    assert subject.isprintable() or not subject.isascii()
    assert len(subject) <= 200


@settings(deadline=None)  # other tests may keep the machine busy
@given(one=REPORTS)
def test_every_report_can_be_told(one: Report) -> None:
    made = message(one, (), SUBJECT)
    assert len(made.news & CHOSEN) == 1
    assert str(counts(one)) in made.text
    assert Tags(made.html).tags


def test_a_log_that_is_none_is_not_shown() -> None:
    """Run files may hold anything."""
    for log in ("text", 7, None, {"a": 1}, [None, 3]):
        odd = Outcome("host", "web1", Status.FAILED, result=from_table("backup", "host", {"log": log}))
        assert message(report(odd), (), SUBJECT).text


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("password=hush", "password=***"),
        ("BORG_PASSPHRASE: hush", "BORG_PASSPHRASE: ***"),
        ('{"token": "hush"}', '{"token": ***}'),
        ("PASSPHRASE='hush hush' borg", "PASSPHRASE=*** borg"),
        ("AWS_SECRET_ACCESS_KEY=hush", "AWS_SECRET_ACCESS_KEY=***"),
        ("Authorization: Bearer hush", "Authorization: Bearer ***"),
        ("mysqldump --password hush db", "mysqldump --password *** db"),
        ("postgres://me:hu/sh@hush@db/x", "postgres://me:***@db/x"),
        ("https://me:hush@example.net/x", "https://me:***@example.net/x"),
        ("no secret here: 12:30@noon", "no secret here: 12:30@noon"),
    ],
)
def test_what_looks_like_a_secret_is_masked(said: str, shown: str) -> None:
    assert masked(said) == shown
    made = message(report(outcome(Status.FAILED, message=said, data={"log": [said]})), (), SUBJECT)
    assert ("hush" in said) == ("hush" not in made.text + made.html and "***" in made.text)


# --- numbers ------------------------------------------------------------------------------------------

STATUSES = st.lists(st.sampled_from(Status), max_size=12)


@settings(deadline=None)  # other tests may keep the machine busy
@given(statuses=STATUSES)
def test_the_numbers_add_up(statuses: list[Status]) -> None:
    one = report(*(outcome(status, f"web{n}") for n, status in enumerate(statuses)))
    number = counts(one)
    assert number.total == len(statuses)
    assert number.succeeded == sum(status.good for status in statuses)
    assert number.skipped == statuses.count(Status.SKIPPED) + statuses.count(Status.PENDING)


def test_of_a_night_its_hosts_count_and_what_failed_besides() -> None:
    night = report(
        outcome(Status.OK, "web1", data={"step": "backup"}),
        outcome(Status.OK, "web2", data={"step": "backup"}),
        Outcome("dataset", "web1", Status.OK, result=result("dataset", {"step": "snapshot"})),
        Outcome("target", "offsite", Status.FAILED, result=result("target", {"step": "replicate"})),
    )
    assert str(counts(night)) == "2 good, 1 failed, 0 skipped"


@pytest.mark.parametrize(
    ("status", "news"),
    [
        (Status.OK, News.SUCCESS),
        (Status.SKIPPED, News.SUCCESS),
        (Status.WARNING, News.WARNING),
        (Status.PARTIAL, News.PARTIAL),
        *((status, News.FAILURE) for status in Status if status.bad),
    ],
)
def test_every_status_is_news_of_one_kind(status: Status, news: News) -> None:
    assert news_of(report(status=status), ()) == {news}
    assert news_of(report(status=status), ("web1",)) == {news, News.RECOVERY}


# --- recovery -----------------------------------------------------------------------------------------


def nights(*statuses: Status | None) -> list[Report]:
    """One host's, newest first; None is a report of another host."""
    made = [report(outcome(s, "web1") if s else outcome(Status.FAILED, "web2")) for s in statuses]
    return made[::-1]


@pytest.mark.parametrize(
    ("statuses", "again"),
    [
        ((Status.FAILED, Status.OK), True),
        ((Status.FAILED, Status.WARNING), True),
        ((Status.OK, Status.OK), False),
        ((Status.FAILED, Status.FAILED), False),
        ((Status.FAILED, None, Status.OK), True),
        ((Status.FAILED, Status.BUSY, Status.SKIPPED, Status.OK), True),
        ((Status.FAILED, Status.OK, Status.OK), False),
        ((Status.OK,), False),
    ],
)
def test_a_host_recovers_once(statuses: tuple[Status | None, ...], again: bool) -> None:
    newest, *earlier = nights(*statuses)
    assert recovered(newest, earlier) == (("web1",) if again else ())


def test_a_step_that_could_not_begin_recovers_too() -> None:
    stuck = report(Outcome("step", "replicate", Status.FAILED), command="replicate")
    good = report(Outcome("dataset", "offsite:web1", Status.OK), command="replicate")
    assert recovered(good, [stuck]) == ("replicate",)
    assert recovered(good, [good, stuck]) == ()
    assert recovered(stuck, [stuck]) == ()


# --- the digest ---------------------------------------------------------------------------------------


def test_a_digest_is_due_once_in_a_week() -> None:
    """12 February 2026 is a Thursday."""
    monday = week_of(NOON)
    assert f"{monday:%A %Y-%m-%d %H:%M}" == "Monday 2026-02-09 00:00"
    assert is_due(NOON, None)
    assert not is_due(NOON, monday)
    assert is_due(NOON, monday - timedelta(seconds=1))
    assert not is_due(monday + timedelta(days=6, hours=23), monday)
    assert is_due(monday + timedelta(days=7), monday + timedelta(days=6))
    assert is_due(NOON, NOON + timedelta(days=400)), "sent by a clock that was ahead"


def week() -> list[Report]:
    """web1 good every night, web2 bad until the last, db1 bad in the last; newest first."""
    reports = []
    for day in range(7):
        reports.append(
            report(
                outcome(Status.OK, "web1", data={"new_bytes": 10 << 20}),
                outcome(Status.OK if day == 6 else Status.FAILED, "web2", data={"new_bytes": 1}),
                outcome(Status.FAILED if day == 6 else Status.OK, "db1", message="no route to host"),
                outcome(Status.SKIPPED, "old1"),
            )
        )
    reports.append(report(Outcome("pool", "tank", Status.OK), command="scrub"))
    return reports[::-1]


def test_a_digest_has_the_numbers_of_the_week() -> None:
    found = {row.subject: row for row in rows(week())}
    assert set(found) == {"web1", "web2", "db1", "tank"}
    numbers = [(found[n].good, found[n].bad, found[n].new_bytes) for n in ("web1", "web2", "db1")]
    assert numbers == [(7, 0, 70 << 20), (1, 6, 1), (6, 1, 0)]
    assert [found[n].status for n in ("web1", "web2", "db1")] == [Status.OK, Status.WARNING, Status.FAILED]


def test_a_digest_in_words() -> None:
    made = digest(week(), "vault", NOON - timedelta(days=7), NOON)
    assert made.subject == "[vault] week on vault: failed, 2 of 3 hosts good"
    assert made.news == {News.DIGEST}
    lines = made.text.splitlines()
    assert max(map(len, lines)) <= 80
    assert [line.split() for line in lines if line.startswith(("web", "db1"))] == [
        ["web1", "7", "0", "70.0", "MiB", "ok"],
        ["web2", "1", "6", "1", "byte", "ok"],
        ["db1", "6", "1", "-", "failed:", "no", "route", "to", "host"],
    ]
    assert "scrub: 1 of 1 good" in lines
    assert Tags(made.html).text.count("no route to host") == 1


@settings(deadline=None)  # other tests may keep the machine busy
@given(reports=st.lists(REPORTS, max_size=4), now=st.just(NOON))
def test_a_digest_of_anything(reports: list[Report], now: Any) -> None:
    made = digest(reports, "vault", now - timedelta(days=7), now)
    assert Tags(made.html).tags
    assert "\n" not in made.subject
