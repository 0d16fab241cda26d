"""When a proof of a sealed key is late, and which answers count: without the storage."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zborg.model import Status
from zborg.model.escrow.challenge import Bound, answer
from zborg.model.ledger import entries
from zborg.model.ledger.proved import Proved, proved
from zborg.planning.escrow.answers import Asked, refusal
from zborg.planning.escrow.due import KeyFacts, is_proved, overdue, standing

pytestmark = pytest.mark.unit

NOW = datetime(2026, 2, 12, 14, 0, tzinfo=UTC)
ID, OTHER, DAY = "a" * 64, "b" * 64, timedelta(days=1)
BOUND = Bound("web1", ID, "0" * 32, "vault@3@AAAA@BBBB", "c" * 64, "d" * 64)
PROOF = Proved(
    host="web1",
    run="20260212T140000Z-0001",
    at=NOW - 100 * DAY,
    repository=ID,
    sealed="c" * 64,
    manifest="d" * 64,
    transaction=9,
    checkpoint="vault@3@AAAA@BBBB",
    nonce="0" * 32,
    archives=3,
    newest=NOW - 101 * DAY,
    by="root",
)
KEY = KeyFacts("web1", ID, NOW - 200 * DAY, "c" * 64, 2, 2, ID, PROOF)
EVERY = 180 * 86400


def test_a_proof_in_time_is_fine() -> None:
    found = standing(KEY, EVERY, NOW)
    assert (found.level, found.remedy) == (Status.OK, "")
    assert found.message.endswith("proved 100 days ago: it opened 3 archives")


@pytest.mark.parametrize(
    ("facts", "level", "words"),
    [
        (
            replace(KEY, sealed_for="", at=None, repository=""),
            Status.SKIPPED,
            "there is no repository of it yet",
        ),
        (replace(KEY, sealed_for="", at=None), Status.WARNING, "its key is not in escrow here"),
        (replace(KEY, recipients=None), Status.FAILED, "nobody can open it"),
        (replace(KEY, repository=OTHER), Status.WARNING, "and that is bbbbbbbb now"),
        (replace(KEY, repository=""), Status.WARNING, "and there is none now"),
        (replace(KEY, custodians=3), Status.WARNING, "zborg.toml names 3"),
        (replace(KEY, custodians=0, repository=None), Status.OK, "sealed for 2 custodians"),
        (
            replace(KEY, last=None),
            Status.FAILED,
            "its sealed key: never proved; a proof is wanted every 180 days",
        ),
        (
            replace(KEY, digest="e" * 64),
            Status.FAILED,
            "an older one was proved 100 days ago, this one was not",
        ),
        (replace(KEY, last=replace(PROOF, at=NOW - 181 * DAY)), Status.FAILED, "wanted every 180 days"),
    ],
)
def test_what_is_not_fine_says_why(facts: KeyFacts, level: Status, words: str) -> None:
    found = standing(facts, EVERY, NOW)
    assert found.level is level
    assert words in found.message


@given(st.integers(0, 400), st.integers(0, 400), st.booleans(), st.integers(0, 300))
def test_a_key_is_late_one_period_after_its_proof_or_after_it_came(
    sealed: int, ago: int, current: bool, every: int
) -> None:
    proof = replace(PROOF, at=NOW - ago * DAY, sealed=KEY.digest if current else "e" * 64)
    facts = replace(KEY, at=NOW - sealed * DAY, last=proof)
    assert is_proved(facts) is current
    late = overdue(facts, every * 86400, NOW)
    assert (late is not None) == (every > 0 and (ago if current else sealed) > every)


def test_nothing_is_late_where_nothing_is_sealed() -> None:
    assert overdue(KeyFacts("web1"), EVERY, NOW) is None


def test_an_answer_counts_for_the_challenge_that_it_names() -> None:
    asked = Asked(BOUND, NOW, NOW + 90 * DAY, BOUND.sealed)
    good = answer(BOUND, 3, NOW - DAY, b"k" * 32)
    assert refusal(asked, good, NOW) == ""
    for other, word in (
        (None, "no such challenge"),
        (replace(asked, bound=replace(BOUND, host="db1")), "was made for db1"),
        (replace(asked, until=NOW - DAY), "has ended at 2026-02-11"),
        (replace(asked, sealed=""), "sealed anew"),
        (replace(asked, made=NOW - 40 * DAY), "long after the challenge"),
    ):
        assert word in refusal(other, good, NOW)


def test_an_entry_of_the_ledger_is_read_back() -> None:
    assert proved(entries.parse(PROOF.line())) == PROOF


@pytest.mark.parametrize(
    "line", [PROOF.line().replace('"by"', '"bye"'), PROOF.line().replace('"escrow"', '"x"')]
)
def test_no_other_entry_is_taken_for_one(line: str) -> None:
    with pytest.raises(ValueError, match="not an entry of a proof"):
        proved(entries.parse(line))
