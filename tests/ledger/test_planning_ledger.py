"""ledger check: whoever has all keys of the server cannot change the past of a ledger that others know."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zborg.model.ledger.merkle import Frontier, leaf_hash
from zborg.model.ledger.note import Checkpoint, Note, parse, signed
from zborg.planning.ledger.check import Ledger, Witness, check
from zborg.state.ledger.key import Key, verify

pytestmark = pytest.mark.unit
KEY, OTHER = Key("backup1/1f2e3d4c", bytes(32)), Key("backup1/ffffffff", bytes(range(32)))
COUNT, NIGHT = 10_000, 30  # entries, and those of one checkpoint


@cache
def past() -> tuple[bytes, ...]:
    return tuple(b'{"v":1,"kind":"audit","n":%d}' % number for number in range(COUNT))


def notes(lines: Sequence[bytes], sizes: Sequence[int], key: Key = KEY) -> tuple[Note, ...]:
    found, tree, at = [], Frontier(), 0
    for size in sizes:
        tree = tree.extended(map(leaf_hash, lines[at:size]))
        at = size
        found.append(parse(signed(Checkpoint(key.public.name, size, tree.root), key.public, key.sign)))
    return tuple(found)


def signed_ledger(lines: Sequence[bytes], every: int = 1000) -> Ledger:
    """As root on the server with all keys leaves it: each checkpoint fits, and is signed."""
    return Ledger(lines, notes(lines, [*range(every, len(lines), every), len(lines)]), KEY.public)


@cache
def witness() -> Witness:
    return Witness("a custodian's paper", notes(past(), [COUNT - NIGHT]))


Change = Callable[[list[bytes], int, int], None]


def rewrite(lines: list[bytes], one: int, other: int) -> None:
    lines[one] = b'{"v":1,"kind":"audit","n":-1}'


def drop(lines: list[bytes], one: int, other: int) -> None:
    del lines[one]


def insert(lines: list[bytes], one: int, other: int) -> None:
    lines.insert(one, b"{}")


def reorder(lines: list[bytes], one: int, other: int) -> None:
    other = other if other != one else (one + 1) % (COUNT - NIGHT)
    lines[one], lines[other] = lines[other], lines[one]


def truncate(lines: list[bytes], one: int, other: int) -> None:
    del lines[one:]


INDEX = st.integers(0, COUNT - NIGHT - 1)


@pytest.mark.parametrize("change", [rewrite, drop, insert, reorder, truncate])
@given(one=INDEX, other=INDEX)
@settings(max_examples=12, deadline=None)
def test_every_change_is_found_by_one_witness(change: Change, one: int, other: int) -> None:
    lines = list(past())
    change(lines, one, other)
    ledger = signed_ledger(lines)
    assert not check(ledger, (), verify).problems, "it agrees with itself"
    found = check(ledger, [witness()], verify)
    assert found.problems and str(found.problems[0]).startswith("a custodian's paper: ")
    copy = check(ledger, [Witness("the off-site's copy", (), past())], verify)
    first = next((n for n, line in enumerate(past()) if n >= len(lines) or lines[n] != line), COUNT)
    assert f"the off-site's copy: entry {first} " in str(copy.problems[0])


def test_what_nobody_changed_is_found_good() -> None:
    found = check(signed_ledger(past()), [witness()], verify)
    assert (found.size, found.problems, found.covered) == (COUNT, (), COUNT - NIGHT)
    assert found.root == signed_ledger(past()).notes[-1].checkpoint.root
    alone = check(signed_ledger(past()), (), verify)
    assert (alone.problems, alone.covered, alone.signed) == ((), 0, COUNT)


def test_a_change_is_narrowed_down_by_the_checkpoints_between() -> None:
    lines = list(past()[:100])
    sizes = [10, 50, 51, 100]
    known = Witness("ours", notes(lines, sizes))
    lines[50] = b"{}"
    (problem,) = check(Ledger(lines, notes(lines, [100]), KEY.public), [known], verify).problems
    assert str(problem) == (
        "ours: entries 50 to 50 are not what they were: "
        "entry 50 was rewritten, or one was put in or taken out before it"
    )
    lines[50], lines[20] = past()[50], b"{}"
    (problem,) = check(Ledger(lines, notes(lines, [100]), KEY.public), [known], verify).problems
    assert "entries 10 to 49 are not what they were: one of these 40" in str(problem)


def test_what_is_gone_is_counted() -> None:
    ledger = signed_ledger(past()[:60])
    (problem,) = check(ledger, [Witness("ours", notes(past(), [100]))], verify).problems
    assert str(problem) == "ours: there were 100 entries, and are 60: the last 40 are gone"
    (problem,) = check(ledger, [Witness("ours", (), past()[:100])], verify).problems
    assert str(problem) == "ours: entry 60 and 39 more are gone"


def test_checkpoints_of_another_key_prove_nothing() -> None:
    lines = past()[:10]
    ledger = Ledger(lines, notes(lines, [10], OTHER), KEY.public)
    (problem,) = check(ledger, (), verify).problems
    assert str(problem) == "the ledger: the checkpoint of 10 entries is not signed by backup1/1f2e3d4c"
    good = Ledger(lines, notes(lines, [10]), KEY.public)
    (problem,) = check(good, [Witness("ours", notes(lines, [10], OTHER))], verify).problems
    assert str(problem).startswith("ours: the checkpoint of 10 entries is not signed")


def test_entries_without_any_checkpoint_are_a_problem_and_none_at_all_is_none() -> None:
    (problem,) = check(Ledger(past()[:3], (), KEY.public), (), verify).problems
    assert str(problem) == "the ledger has entries and no checkpoint"
    assert check(Ledger((), (), KEY.public), (), verify).problems == ()


def test_entries_behind_the_last_checkpoint_are_counted() -> None:
    found = check(Ledger(past()[:12], notes(past(), [10]), KEY.public), (), verify)
    assert (found.signed, found.size, found.problems) == (10, 12, ())
