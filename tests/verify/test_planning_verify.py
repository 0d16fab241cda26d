"""What the ledger says that a snapshot holds, and how what was read compares with it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zborg.model.ledger import verified
from zborg.model.ledger.compacted import COMPACTED, UNDELETED
from zborg.model.ledger.entries import (
    AUDIT,
    Anomaly,
    Audited,
    Entry,
    Rule,
    by_host,
    entry_line,
    parse,
)
from zborg.model.ledger.sealed import Digested, Listing, Log, SealedObject
from zborg.model.ledger.verified import Structure, Verified
from zborg.planning.verify.expected import Expected, expected
from zborg.planning.verify.judge import Fault, archives, compare, described, extent, newer, structure

pytestmark = pytest.mark.unit

START = datetime(2026, 2, 12, 2, 30, tzinfo=UTC)
ALL = Listing(3, 300, "d" * 64)


def thing(number: int, mark: str = "a", size: int = 100) -> SealedObject:
    return SealedObject(f"0/{number}", size, mark * 64)


def night(number: int, *objects: SealedObject, rules: tuple[Rule, ...] = (), repository: str = "r1") -> Entry:
    """The audit of the snapshot g<number>."""
    at = START + timedelta(days=number)
    audited = Audited(
        host="web1",
        run="run",
        at=at,
        snapshot=f"s{number}",
        guid=f"g{number}",
        taken=at,
        repository=repository,
        last=number,
        prior=number - 1,
        config="c",
        manifest=None,
        most=0,
        nonce=None,
        log=Log(0, "", ""),
        sealed=ALL,
        bytes=0,
        objects=objects,
        puts=0,
        deletes=0,
        sessions=(),
        anomalies=tuple(Anomaly(rule, "x") for rule in rules),
        clean=not rules,
    )
    return parse(audited.line())


FREED = parse(entry_line(COMPACTED, START, {"host": "web1"}))


def known(history: list[Entry], number: int) -> Expected:
    found = expected(history, f"g{number}", START + timedelta(days=number))
    assert found is not None
    return found


def digests(found: Expected) -> dict[str, str]:
    return {name: one.object.digest[0] for name, one in found.objects.items()}


HISTORY = [night(1, thing(1), thing(2)), night(2, thing(3)), night(3, thing(4))]


def test_all_that_was_recorded_up_to_the_snapshot_is_expected_in_it() -> None:
    found = known(HISTORY, 2)
    assert set(found.objects) == found.required == {"0/1", "0/2", "0/3"}
    assert found.sealed == ALL
    first, third = found.objects["0/1"], found.objects["0/3"]
    assert (first.after, first.snapshot) == (None, "s1"), "it may be of before the ledger"
    assert (third.after, third.taken) == (START + timedelta(days=1), START + timedelta(days=2))


def test_of_a_snapshot_that_was_not_audited_the_newest_audit_before_it_is_known() -> None:
    found = expected(HISTORY, "other", START + timedelta(days=2.5))
    assert found is not None and (found.audited.guid, found.sealed) == ("g2", None)
    assert expected(HISTORY, "other", START) is None
    assert expected([], "g1", START) is None


def test_the_first_record_of_an_object_stands() -> None:
    again = [*HISTORY, night(4, thing(1, "x"), thing(2), thing(5), rules=(Rule.GONE,))]
    found = known(again, 4)
    assert digests(found) == dict.fromkeys(("0/1", "0/2", "0/3", "0/4", "0/5"), "a")
    assert "0/3" in found.required, "what vanished is still missed"


@pytest.mark.parametrize(
    "anew",
    [
        night(4, thing(1, "x"), rules=(Rule.WENT_BACK, Rule.GONE)),
        night(4, thing(1, "x"), repository="r2"),
    ],
)
def test_a_repository_that_was_rolled_back_or_is_another_begins_anew(anew: Entry) -> None:
    found = known([*HISTORY, anew], 4)
    assert digests(found) == {"0/1": "x"}
    assert found.required == {"0/1"}
    assert found.objects["0/1"].after is None


def test_an_id_that_could_not_be_read_is_no_other_repository() -> None:
    assert len(known([*HISTORY, night(4, thing(5), repository="")], 4).objects) == 5


def test_an_undelete_begins_anew_and_its_numbers_count_again() -> None:
    undeleted = parse(entry_line(UNDELETED, START, {"host": "web1"}))
    found = known([*HISTORY, undeleted, night(4, thing(1, "b")), night(5, thing(2, "c"))], 5)
    assert digests(found) == {"0/1": "b", "0/2": "c"}
    assert found.required == {"0/1", "0/2"}


def test_what_a_compaction_took_away_is_not_missed_and_what_is_there_is_compared() -> None:
    found = known([*HISTORY, FREED, night(4, thing(7)), night(5, thing(8))], 5)
    assert found.required == {"0/7", "0/8"}
    assert digests(found) == dict.fromkeys(("0/1", "0/2", "0/3", "0/4", "0/7", "0/8"), "a")
    assert found.objects["0/7"].after is None, "what it holds is older"
    assert found.objects["0/8"].after == START + timedelta(days=4)


def test_entries_of_a_newer_zborg_are_passed_over() -> None:
    newer = Entry(AUDIT, START, {"host": "web1", "snapshot": 7})
    assert known([HISTORY[0], newer, *HISTORY[1:]], 3) == known(HISTORY, 3)


def test_entries_are_found_by_host() -> None:
    lines = [HISTORY[0].table, {**HISTORY[1].table, "host": "web2"}]
    text = [
        str(one).replace("'", '"').replace("None", "null").replace("True", "true").encode() for one in lines
    ]
    found = by_host([*text, b"nonsense", b'{"kind":"begun"}'])
    assert {name: len(some) for name, some in found.items()} == {"web1": 1, "web2": 1}
    assert list(by_host(text, {"web2"})) == ["web2"]


# --- comparing ----------------------------------------------------------------------------------------------


def seen(*objects: SealedObject, unread: tuple[tuple[str, int], ...] = (), sealed: Listing = ALL) -> Digested:
    return Digested(9, sealed, objects, unread)


def test_what_is_as_recorded_is_whole() -> None:
    found = compare(known(HISTORY, 2), seen(thing(1), thing(2), thing(3)))
    assert (found.objects, found.bytes, found.unrecorded, found.intact) == (3, 300, 0, True)
    assert (extent(found), newer(found)) == ("3 objects, 300 bytes", "")


def test_every_fault_has_its_word() -> None:
    found = compare(
        known(HISTORY, 3), seen(thing(10), thing(3, "x"), thing(2, size=7), unread=(("0/1", 5), ("0/11", 5)))
    )
    assert [(one.name, one.fault) for one in found.damaged] == [
        ("0/1", Fault.UNREADABLE),
        ("0/2", Fault.RESIZED),
        ("0/3", Fault.CHANGED),
        ("0/4", Fault.GONE),
        ("0/11", Fault.UNREADABLE),
    ]
    assert (found.objects, found.unrecorded, found.intact) == (0, 1, False)
    assert found.damaged[-1].written is None
    assert [described(one) for one in found.damaged[:4]] == [
        "object 0/1 cannot be read: the disk fails",
        "object 0/2 has another size than was recorded",
        "object 0/3 holds something else than was recorded",
        "object 0/4 is gone",
    ]
    assert newer(found) == "1 object newer than the last audit not compared"


def test_a_list_that_does_not_fit_is_found_when_all_objects_do() -> None:
    """An object more than was there: nobody recorded it, and the snapshot is the one that was audited."""
    found = compare(known(HISTORY, 2), seen(thing(1), thing(2), thing(3), sealed=Listing(4, 400, "e" * 64)))
    assert (found.damaged, found.intact) == ((), False)
    assert found.listing == (
        "its sealed objects are 4 of 400 bytes, and were 3 of 300 bytes when it was audited"
    )
    other = replace(known(HISTORY, 2), sealed=None)
    assert compare(other, seen(thing(1), thing(2), thing(3), sealed=Listing(4, 4, ""))).intact


@given(st.sets(st.integers(1, 30), max_size=8), st.sets(st.integers(1, 30), max_size=8))
def test_exactly_what_was_changed_is_named(changed: set[int], gone: set[int]) -> None:
    history = [night(n, *(thing(m) for m in range(10 * n - 9, 10 * n + 1))) for n in (1, 2, 3)]
    objects = [thing(n, "x" if n in changed else "a") for n in range(1, 31) if n not in gone]
    found = compare(known(history, 3), seen(*objects))
    assert {one.name for one in found.damaged} == {f"0/{n}" for n in changed | gone}
    assert found.objects == 30 - len(changed | gone)


def test_which_archives_may_need_an_object_is_said_where_it_is_known() -> None:
    found = known(HISTORY, 3)
    assert archives(None) == archives(found.objects["0/1"]) == ""
    assert archives(found.objects["0/3"]) == (
        "it was written between 2026-02-13T02:30:00Z and 2026-02-14T02:30:00Z: "
        "archives from then on may need it, and no earlier ones"
    )


@pytest.mark.parametrize(
    ("status", "intact", "expected"),
    [
        (0, True, Structure.GOOD),
        (0, False, Structure.GOOD),
        (1, True, Structure.INDEX),
        (1, False, Structure.BAD),
        (2, True, Structure.CRASHED),
        (-9, True, Structure.CRASHED),
        (None, True, Structure.SLOW),
    ],
)
def test_what_borg_s_exit_status_means(status: int | None, intact: bool, expected: Structure) -> None:
    assert structure(status, intact=intact) is expected


# --- the entry ----------------------------------------------------------------------------------------------

ENTRY = Verified("web1", "run", START, "s1", "g1", 3, 300, 1, Structure.GOOD, (("0/1", "gone"),), 1, False)


def test_an_entry_is_read_as_it_was_written() -> None:
    assert verified.verified(parse(ENTRY.line())) == ENTRY


@given(
    st.recursive(
        st.none() | st.integers() | st.text(),
        lambda inner: (
            st.lists(inner)
            | st.dictionaries(
                st.sampled_from(["host", "run", "snapshot", "objects", "damaged", "structure", "whole"]),
                inner,
            )
        ),
    )
)
def test_what_is_no_entry_is_refused(value: object) -> None:
    table = value if isinstance(value, dict) else {"objects": value}
    with pytest.raises(ValueError, match=r"."):
        verified.verified(Entry("verify", START, table))
    with pytest.raises(ValueError, match="not an entry that verify wrote"):
        verified.verified(Entry("audit", START, table))
