"""`--at`: what may be typed, and which snapshot it means."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zborg.errors import UsageError
from zborg.model import P_STATE, Snapshot, SnapshotName
from zborg.model.storage.zfs import LABEL, P_LABEL
from zborg.planning.restore.select import Label, ToUtc, check_label, choose, parse_at

pytestmark = pytest.mark.unit


def in_zone(name: str) -> ToUtc:
    zone = ZoneInfo(name)
    return lambda local: local.replace(tzinfo=zone).astimezone(UTC)


BERLIN = in_zone("Europe/Berlin")
SAO_PAULO = in_zone("America/Sao_Paulo")  # its clocks went back at midnight, until 2019


NOW = datetime(2026, 2, 12, 9, 30)  # a Thursday, local


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-02-12T14:49", "2026-02-12T13:49"),
        (" 2026-02-12 14:49:33\n", "2026-02-12T13:49:33"),
        ("2026-02-12T14:49:33Z", "2026-02-12T14:49:33"),
        ("2026-02-12T14:49:33-05:00", "2026-02-12T19:49:33"),
        ("2026-02-12", "2026-02-12T22:59:59.999999"),
        ("2026-07-12", "2026-07-12T21:59:59.999999"),
        ("2026-03-29", "2026-03-29T21:59:59.999999"),  # a day of 23 hours
        ("2026-10-25", "2026-10-25T22:59:59.999999"),  # and one of 25
        ("2026-10-25T02:30", "2026-10-25T01:30"),  # shown twice: the second time
        ("2026-03-29T02:30", "2026-03-29T01:30"),  # skipped: half an hour after the clocks went on
    ],
)
def test_times_are_local_unless_they_say_otherwise(text: str, expected: str) -> None:
    assert parse_at(text, BERLIN, NOW) == utc(expected)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("today", "2026-02-12T22:59:59.999999"),
        ("yesterday", "2026-02-11T22:59:59.999999"),
        (" Yesterday\n", "2026-02-11T22:59:59.999999"),
        ("thursday", "2026-02-12T22:59:59.999999"),  # it is one today
        ("friday", "2026-02-06T22:59:59.999999"),
        ("WEDNESDAY", "2026-02-11T22:59:59.999999"),
        ("09:30", "2026-02-12T08:30"),
        ("9:30:00", "2026-02-12T08:30"),
        ("9:30:01", "2026-02-11T08:30:01"),  # not yet today
        ("10:35", "2026-02-11T09:35"),
        ("0:00", "2026-02-11T23:00"),
        ("yesterday 10:35", "2026-02-11T09:35"),
        ("today  23:59", "2026-02-12T22:59"),
        ("monday 7:00", "2026-02-09T06:00"),
    ],
)
def test_a_time_of_day_and_a_day_by_its_name_are_counted_back_from_now(text: str, expected: str) -> None:
    assert parse_at(text, BERLIN, NOW) == utc(expected)


def test_a_time_of_day_that_the_clocks_show_twice_is_the_second() -> None:
    night = datetime(2026, 10, 25, 12)
    assert parse_at("2:30", BERLIN, night) == utc("2026-10-25T01:30")
    assert parse_at("sunday", BERLIN, datetime(2026, 3, 30, 1)) == utc("2026-03-29T21:59:59.999999")


def test_a_date_ends_at_its_second_midnight_where_the_clocks_go_back_at_midnight() -> None:
    assert parse_at("2019-02-16", SAO_PAULO, NOW) == utc("2019-02-17T02:59:59.999999")


def test_a_name_is_a_name_in_every_zone() -> None:
    assert parse_at("zborg_2026-02-12T144933Z", BERLIN, NOW) == SnapshotName(utc("2026-02-12T14:49:33"))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "yesterday noon",
        "zborg_",
        "zborg_2026-02-30T000000Z",
        "2026-02-30",
        "-manual",
        "20260230",
        "a" * 64,
        "0001-01-01T00:30",
        "24:30",
        "9:5",
        "yesterday yesterday",
        "12:30 yesterday",
        "2026-02-12 monday",
    ],
)
def test_anything_else_is_refused_with_the_forms_that_are_not(text: str) -> None:
    with pytest.raises(UsageError, match="neither a snapshot|not the name") as caught:
        parse_at(text, BERLIN, NOW)
    assert "2026-02-12T14:49" in caught.value.remedy


@given(st.text())
def test_no_text_ends_in_another_error(text: str) -> None:
    try:
        at = parse_at(text, BERLIN, NOW)
    except UsageError:
        return
    assert isinstance(at, SnapshotName | Label) or at.tzinfo is UTC


@given(st.from_regex(LABEL, fullmatch=True))
def test_every_label_that_is_allowed_is_found_by_at(text: str) -> None:
    try:
        check_label(text)
    except UsageError:
        return
    assert parse_at(text, BERLIN, NOW) == Label(text)


@pytest.mark.parametrize(
    "text",
    ["", "-a", ".a", "a b", "a/b", "ä", "a\n", "zborg_x", "2026-02-12", "a" * 64, "today", "Monday", "14:49"],
)
def test_what_no_snapshot_may_be_labelled(text: str) -> None:
    with pytest.raises(UsageError, match="--label"):
        check_label(text)


FIRST = utc("2026-02-10T02:00:00")


def series(*states: str) -> list[Snapshot]:
    """One snapshot a day from FIRST on, in these states."""
    return [
        Snapshot("tank/borg/web1", str(SnapshotName.of(at)), str(day), day, at, 0, 0, {P_STATE: state})
        for day, state in enumerate(states)
        for at in [FIRST + timedelta(days=day)]
    ]


MIXED = series("ok", "ok", "failed", "busy", "ok", "")


@pytest.mark.parametrize(
    ("at", "guid"),
    [
        ("2026-02-10T02:00:00", "0"),  # not later: the very second is in time
        ("2026-02-11T01:59:59.999999", "0"),
        ("2026-02-12T12:00:00", "1"),
        ("2026-02-13T12:00:00", "1"),
        ("2030-01-01T00:00:00", "4"),
    ],
)
def test_a_time_means_the_newest_good_snapshot_not_later(at: str, guid: str) -> None:
    assert choose(MIXED, utc(at)).guid == guid
    assert choose(MIXED[::-1], utc(at)).guid == guid


def test_a_name_means_that_snapshot_even_if_its_backup_failed() -> None:
    for snapshot in MIXED:
        assert snapshot.name and choose(MIXED, snapshot.name) is snapshot


def test_a_label_means_the_newest_that_has_it_whatever_its_state() -> None:
    named = [
        replace(one, properties={**one.properties, P_LABEL: label})
        for one, label in zip(MIXED, ["a", "b", "a", "", "b c", "c"], strict=True)
    ]
    assert choose(named, Label("a")).guid == "2"
    assert choose(named[::-1], Label("c")).guid == "5"
    for nobody in ("b c", "d"):  # what a sender wrote is no label unless it looks like one
        with pytest.raises(UsageError, match=f"labelled {nobody}; there are 3 good of 6") as caught:
            choose(named, Label(nobody))
        assert "2026-02-12T14:49" in caught.value.remedy


def test_foreign_snapshots_are_never_chosen() -> None:
    foreign = Snapshot("tank/borg/web1", "manual", "9", 9, FIRST, 0, 0, {P_STATE: "ok"})
    assert choose([*MIXED, foreign], utc("2030-01-01")).guid == "4"


@pytest.mark.parametrize(
    ("snapshots", "at", "words"),
    [
        (
            MIXED,
            utc("2026-02-10T01:59:59"),
            "at or before 2026-02-10T01:59:59Z; there are 3 good of 6 snapshots",
        ),
        (MIXED, utc("2026-02-09"), "from zborg_2026-02-10T020000Z to zborg_2026-02-14T020000Z"),
        (MIXED, SnapshotName(utc("2026-02-09")), "no snapshot zborg_2026-02-09T000000Z; there are 3 good"),
        (
            series("failed"),
            utc("2026-03-01"),
            "none of 1 snapshot is good, the newest: zborg_2026-02-10T020000Z",
        ),
        (series("failed", "ok"), utc("2026-01-01"), "of 2 snapshots only zborg_2026-02-11T020000Z is good"),
        ([], utc("2026-03-01"), "there is none at all"),
    ],
)
def test_a_choice_that_fails_says_what_there_is(
    snapshots: list[Snapshot], at: SnapshotName | datetime, words: str
) -> None:
    with pytest.raises(UsageError) as caught:
        choose(snapshots, at)
    assert words in caught.value.message
