"""When a repository may be compacted, and what counts as a difference behind it."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.harness.audit.looks import AUDITED, NOW, SEALED
from zborg.model.ledger.compacted import Approved, Compacted, State, Undeleted, compacted_from, undeleted_to
from zborg.model.ledger.entries import Anomaly, Audited, Entry, Rule, parse
from zborg.model.ledger.sealed import Listing, Living, Log, Lost, News, SealedObject, Stray
from zborg.planning.audit.rules import Known
from zborg.planning.compact.compare import differences, not_the_same
from zborg.planning.compact.decide import (
    Facts,
    Frozen,
    NoRoom,
    Nothing,
    Unapproved,
    due_tonight,
    is_due,
    next_try,
    refusal,
    unapproved,
)

pytestmark = pytest.mark.unit
WEEK = 7 * 86400
LIVING = Living(10, 500, "b" * 64, 60, gain=400, copied=100)
DELETED = Anomaly(Rule.DELETES, "4 objects deleted in transaction 5, which is no prune", 5)
SHRANK = Anomaly(Rule.MANIFEST, "the list of archives shrank in transaction 9", 9)
STRAY = Anomaly(Rule.STRAY, "secret (link, 7 bytes) is no file of a repository")
STATE = State("zborg_2026-02-11T023000Z", "1", 5, SEALED, LIVING)
FACTS = Facts(AUDITED, (), LIVING, available=10_000, reserve=1000, explicit=False)


def entries(*made: Audited | Compacted | Approved | Undeleted) -> list[Entry]:
    return [parse(one.line()) for one in made]


def audited(*anomalies: Anomaly, repository: str = "5a" * 32) -> Audited:
    return replace(AUDITED, anomalies=anomalies, clean=not anomalies, repository=repository)


def snapped(guid: str, *anomalies: Anomaly) -> Audited:
    return replace(audited(*anomalies), guid=guid)


def goes_on(last: int) -> Audited:
    """Of a host of which an earlier look, perhaps in another ledger, has recorded what is there."""
    return replace(AUDITED, objects=(), last=last, guid=str(last))


def up_to(number: int) -> Anomaly:
    words = f"what was deleted up to transaction {number}, of before this ledger, is not known to be a prune"
    return Anomaly(Rule.DELETES, words, number, and_before=True)


def undeleted(guid: str) -> Undeleted:
    return Undeleted("web1", "20260212T023000Z-0001", NOW, "zborg_x", guid, 5, "tank/borg/web1@zborg_y")


def approved(number: int) -> Approved:
    return Approved("web1", "20260212T023000Z-0001", NOW, number, "root")


def compacted(undone: str = "") -> Compacted:
    return Compacted("web1", "20260212T023000Z-0001", NOW, STATE, STATE, undone)


# --- when -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("last", "every", "due"),
    [
        (None, WEEK, True),
        (None, 0, False),
        (NOW - timedelta(days=6), WEEK, False),
        (NOW - timedelta(days=7), WEEK, True),
        (NOW + timedelta(days=1), WEEK, False),
    ],
)
def test_a_repository_is_due_by_the_last_look(last: datetime | None, every: int, due: bool) -> None:
    assert is_due(last, NOW, every) is due


@given(hosts=st.integers(1, 300), days=st.integers(1, 30))
def test_all_hosts_are_looked_at_within_a_period_and_then_spread_over_it(hosts: int, days: int) -> None:
    looked: dict[str, datetime | None] = {f"web{number}": None for number in range(hosts)}
    most = -(-hosts // days)
    for night in range(2 * days):
        now = NOW + timedelta(days=night)
        tonight = due_tonight(looked, now, days * 86400)
        assert len(tonight) <= most
        looked |= dict.fromkeys(tonight, now)
    assert all(last and last >= NOW + timedelta(days=days) for last in looked.values())


@given(failed=st.integers(1, 10_000), days=st.integers(1, 60))
def test_a_look_that_fails_is_tried_less_and_less_often(failed: int, days: int) -> None:
    every = days * 86400
    waits = [next_try(n, NOW, every) - NOW for n in (failed, failed + 1)]
    assert timedelta(hours=12) <= waits[0] <= waits[1] <= timedelta(days=days)
    assert next_try(1, NOW, every) - NOW == timedelta(hours=12), "the next night"
    assert (
        due_tonight({"web1": None, "web2": NOW - timedelta(days=400)}, NOW, every, ["web1", "web2"]) == set()
    )


def test_who_is_never_due_is_not_due_tonight() -> None:
    assert due_tonight({"web1": None, "web2": NOW - timedelta(days=400)}, NOW, 0) == set()


# --- what waits for an approval -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("history", "expected"),
    [
        (entries(audited()), ()),
        (entries(audited(DELETED)), (DELETED,)),
        (entries(audited(STRAY)), ()),  # no transaction did it: the open finding itself stands in the way
        (entries(audited(DELETED), audited(SHRANK)), (DELETED, SHRANK)),
        (entries(audited(DELETED), approved(5)), ()),
        (entries(audited(DELETED), approved(9)), (DELETED,)),
        (entries(approved(5), audited(DELETED)), (DELETED,)),  # agreed to before it was known
        (entries(audited(DELETED, SHRANK), approved(5)), (SHRANK,)),
        (entries(audited(DELETED), compacted()), ()),
        (entries(audited(DELETED), compacted(undone="it lost an object")), (DELETED,)),
        (entries(audited(DELETED), audited(repository="6b" * 32)), ()),  # made anew
        (entries(audited(DELETED), audited(repository="")), (DELETED,)),  # it could not be read
        (entries(snapped("1"), snapped("2", DELETED), undeleted("1")), ()),
        (entries(snapped("1", SHRANK), snapped("2", DELETED), undeleted("1")), (SHRANK,)),
        (entries(snapped("1", SHRANK), snapped("2"), undeleted("2")), (SHRANK,)),  # it is in there
        (entries(snapped("1", SHRANK), undeleted("9")), (SHRANK,)),  # of a ledger that knows no more
        (entries(replace(audited(), unjudged=4)), (up_to(4),)),  # of before the first look
        (entries(replace(audited(DELETED), unjudged=4)), (up_to(4), DELETED)),
        (entries(replace(audited(), unjudged=4), approved(4)), ()),
        (entries(replace(audited(), unjudged=4), approved(3)), (up_to(4),)),
        (entries(replace(audited(), unjudged=4), compacted()), ()),
        (entries(goes_on(5)), (up_to(5),)),  # of before a ledger that was begun anew
        (entries(goes_on(5), goes_on(9)), (up_to(5),)),
        (entries(goes_on(5), approved(5), goes_on(9)), ()),
        (entries(audited(), goes_on(9)), ()),
    ],
)
def test_what_is_no_prune_waits_for_a_person(history: list[Entry], expected: tuple[Anomaly, ...]) -> None:
    assert unapproved(history) == expected


def test_an_entry_says_of_which_snapshot_it_is() -> None:
    (freed, back, other) = entries(compacted(), undeleted("7"), approved(5))
    assert (compacted_from(freed), undeleted_to(back)) == ("1", "7")
    assert (compacted_from(other), undeleted_to(other)) == ("", "")


# --- whether ----------------------------------------------------------------------------------------------


def test_what_was_pruned_may_be_freed() -> None:
    assert refusal(FACTS) is None


def test_an_open_finding_stands_in_the_way_of_all() -> None:
    found = refusal(replace(FACTS, audited=audited(STRAY)))
    assert isinstance(found, Frozen) and found.reason == "a finding is open, and its rotation frozen"


def test_so_does_a_rotation_that_somebody_froze() -> None:
    assert isinstance(refusal(replace(FACTS, frozen=True)), Frozen)


def test_what_is_no_prune_is_named_with_what_would_be_lost() -> None:
    weighed = replace(LIVING, lost=(Lost(5, 4, 3000), Lost(9, 1, 60)))
    twice = replace(DELETED, rule=Rule.OUTSIDE)
    found = refusal(replace(FACTS, unapproved=(DELETED, twice, SHRANK), living=weighed))
    assert isinstance(found, Unapproved) and found.transactions == (5, 9)
    assert found.reason == (
        "it would make final what is no prune: 4 objects deleted in transaction 5, which is no prune; "
        "the list of archives shrank in transaction 9; lost for good: 4 objects of 2.9 KiB by transaction 5, "
        "1 object of 60 bytes by transaction 9"
    )


def test_what_nobody_weighed_is_named_all_the_same() -> None:
    found = refusal(replace(FACTS, unapproved=(up_to(4),)))
    assert isinstance(found, Unapproved) and found.transactions == (4,)
    assert found.reason == f"it would make final what is no prune: {up_to(4).message}"
    little = replace(FACTS, unapproved=(up_to(4),), living=replace(LIVING, gain=100))
    assert isinstance(refusal(little), Nothing), "a past of which there is nothing to free asks for nobody"
    assert isinstance(refusal(replace(little, unapproved=(DELETED,))), Unapproved)


@pytest.mark.parametrize(
    ("gain", "explicit", "refused"),
    [(0, True, True), (10, True, True), (100, False, True), (11, True, False), (101, False, False)],
)
def test_little_is_freed_only_when_somebody_asks(gain: int, explicit: bool, refused: bool) -> None:
    found = refusal(replace(FACTS, living=replace(LIVING, gain=gain), explicit=explicit))
    assert isinstance(found, Nothing) is refused
    if found:
        assert found.reason == (f"{gain} bytes to free: not worth a rewrite" if gain else "nothing to free")


@pytest.mark.parametrize(("available", "fits"), [(1100, True), (1099, False)])
def test_the_rewrite_needs_room_beside_the_reserve(available: int, fits: bool) -> None:
    found = refusal(replace(FACTS, available=available))
    assert (found is None) is fits
    if found:
        assert isinstance(found, NoRoom)
        assert found.reason == "it needs 1.1 KiB and 1.1 KiB are free"


# --- what it may change -----------------------------------------------------------------------------------


AFTER = News(
    version=1,
    last=9,
    prior=5,
    config="c" * 64,
    nonce=1000,
    log=Log(90, "d" * 64, "d" * 64),
    earlier=Listing(2, 100, "e" * 64),
    sealed=Listing(4, 600, "f" * 64),
    living=replace(LIVING, gain=0),
)
KNOWN = Known(AUDITED, (), {}, NOW)


def test_objects_may_lie_elsewhere() -> None:
    assert differences(LIVING, AFTER, KNOWN) == ()


@pytest.mark.parametrize(
    ("after", "expected"),
    [
        (
            replace(AFTER, living=replace(LIVING, objects=9, bytes=450, digest="c" * 64)),
            "10 objects of 500 bytes were alive before, and other ones are now: 9 objects of 450 bytes",
        ),
        (replace(AFTER, living=None), "what is alive in it could not be read"),
        (replace(AFTER, config="0" * 64), "config: its configuration changed since 2026-02-11T14:49:33Z"),
        (replace(AFTER, nonce=7), "nonce: its nonce went back from 0x3e8 to 0x7"),
        (
            replace(AFTER, strays=(Stray("x", "link", 1, huge=False),), stray_count=1),
            "stray: x (link, 1 byte) is no file of a repository",
        ),
    ],
)
def test_and_nothing_else_may_change(after: News, expected: str) -> None:
    assert differences(LIVING, after, KNOWN) == (expected,)


# --- what an undelete brought back ------------------------------------------------------------------------


BACK = News(
    version=1,
    last=5,
    config="c" * 64,
    nonce=1000,
    sealed=SEALED,
    objects=(SealedObject("0/1", 400, "1" * 64), SealedObject("0/2", 600, "2" * 64)),
)
RECORDED = {"0/1": "1" * 64, "0/2": "2" * 64}


def test_what_was_recorded_is_back() -> None:
    assert not_the_same(AUDITED, BACK, RECORDED, 1000) == ()
    assert not_the_same(AUDITED, BACK, {}) == (), "objects of before the ledger have no record"


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (
            replace(BACK, last=9),
            "there were 6 sealed objects of 1000 bytes up to transaction 5, and are 6 of 1000 bytes up to 9",
        ),
        (
            replace(BACK, sealed=Listing(5, 900, "e" * 64)),
            "there were 6 sealed objects of 1000 bytes up to transaction 5, and are 5 of 900 bytes up to 5",
        ),
        (replace(BACK, config="0" * 64), "its configuration is another one"),
        (replace(BACK, nonce=7), "its nonce is one that was used before"),
        (
            replace(BACK, objects=(SealedObject("0/1", 400, "f" * 64), BACK.objects[1])),
            "1 object with another content, the first: 0/1",
        ),
    ],
)
def test_what_is_not_what_was_recorded_is_named(found: News, expected: str) -> None:
    assert not_the_same(AUDITED, found, RECORDED, 1000) == (expected,)
