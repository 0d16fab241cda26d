"""What a host has of the ledger: its answer is taken apart, bounded and typed, and sorted by signature."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from zborg.model.ledger import checkpoint_word
from zborg.model.ledger.merkle import Frontier, leaf_hash
from zborg.model.ledger.note import Checkpoint, Note, parse, signed
from zborg.planning.ledger import host_witness
from zborg.planning.ledger.check import Ledger, Problem, Witness, check
from zborg.planning.ledger.host_witness import Given, HostWitness, sorted_out
from zborg.state.ledger.key import Key, verify

pytestmark = pytest.mark.unit
KEY, FORGED = Key("backup1/1f2e3d4c", bytes(32)), Key("backup1/1f2e3d4c", bytes(range(32)))
OTHER = Key("backup2/ffffffff", bytes(range(32)))
COUNT, EVERY = 10_000, 50  # entries, and those of a night
AT = datetime(2026, 2, 12, 14, 49, 33, tzinfo=UTC)


def lines(count: int) -> list[bytes]:
    return [b'{"n":%d}' % number for number in range(count)]


def notes(entries: Sequence[bytes], sizes: Sequence[int], key: Key = KEY) -> tuple[Note, ...]:
    found, tree, at = [], Frontier(), 0
    for size in sizes:
        tree, at = tree.extended(map(leaf_hash, entries[at:size])), size
        found.append(parse(signed(Checkpoint(key.public.name, size, tree.root), key.public, key.sign)))
    return tuple(found)


def answer(found: Sequence[Note], *, at: int = int(AT.timestamp())) -> str:
    """As the agent prints it."""
    kept = "".join(f"{at + number} {checkpoint_word.write(one)}\n" for number, one in enumerate(found))
    return f"witness\n{kept}end\n"


# --- the word ---------------------------------------------------------------------------------------------


def test_a_word_has_all_of_the_note() -> None:
    for note in notes(lines(12), [1, 5, 12]):
        word = checkpoint_word.write(note)
        assert checkpoint_word.read(word) == note
        assert checkpoint_word.read(word).is_signed_by(KEY.public, verify)
        assert re.fullmatch(r"[A-Za-z0-9._/=@+-]{140,300}", word), "the agent takes it as it stands"


@pytest.mark.parametrize("change", ["\n", " ", "x", "@", "\0", "\x1b[2J", "=", "-"])
def test_what_stands_before_or_behind_a_word_makes_it_none(change: str) -> None:
    word = checkpoint_word.write(notes(lines(3), [3])[0])
    bad = [word + change, word.replace("@", f"@{change}", 1), word[:-1], ""]
    bad += [change + word] if change != "x" else []
    for one in bad:
        with pytest.raises(ValueError, match="not a checkpoint"):
            checkpoint_word.read(one)


def test_notes_that_are_no_words_are_refused() -> None:
    (note,) = notes(lines(3), [3])
    twice = Note(note.checkpoint, note.text, note.signatures * 2)
    more = Note(note.checkpoint, f"{note.text}and more\n", note.signatures)
    long = Checkpoint("b" * 200, 3, note.checkpoint.root)
    name = Note(long, long.text, (("b" * 200, *note.signatures[0][1:]),))
    for one in (twice, more, name, *notes(lines(0), [0])):
        with pytest.raises(ValueError, match="word"):
            checkpoint_word.write(one)


@given(st.text(max_size=400))
@example("a@1@" + "A" * 43 + "=@" + "A" * 91 + "=")
def test_any_text_is_a_word_or_a_value_error(text: str) -> None:
    try:
        note = checkpoint_word.read(text)
    except ValueError:
        return
    assert note.checkpoint.text and len(note.checkpoint.root) == 32


# --- the answer -------------------------------------------------------------------------------------------


def test_an_answer_is_read_in_the_order_of_its_lines() -> None:
    given_ = notes(lines(9), [3, 9])
    found = host_witness.parse(answer(given_))
    assert [one.note for one in found] == list(given_)
    assert found[0].at == AT
    assert host_witness.parse("witness\nend\n") == ()
    assert len(host_witness.parse(f"Welcome!\n{answer(given_)}")) == 2, "a login shell's words"


def bad_answers() -> dict[str, str]:
    good = answer(notes(lines(3), [3]))
    line = good.splitlines()[1]
    return {
        "nothing": "",
        "cut": good.removesuffix("end\n"),
        "cut in a line": good[: len(good) // 2],
        "garbage in front of a line": good.replace(line, f"x {line}"),
        "garbage behind a line": good.replace(line, f"{line} x"),
        "no time": good.replace(line, line.partition(" ")[2]),
        "control characters": good.replace(line, f"\x1b[2J{line}"),
        "a line between": good.replace("end\n", "\nend\n"),
        "behind the end": f"{good}more\n",
        "thousands of lines": f"witness\n{(line + chr(10)) * 5000}end\n",
        "a huge line": f"witness\n1 {'A' * 1_000_000}\nend\n",
        "digits of another script": good.replace(line, line.replace("1", "\u0661", 1)),
    }


@pytest.mark.parametrize("kind", bad_answers())
def test_an_answer_with_anything_else_in_it_is_none(kind: str) -> None:
    with pytest.raises(ValueError, match="its answer|not a checkpoint"):
        host_witness.parse(bad_answers()[kind])


@given(st.text(alphabet=st.sampled_from("witnesend\n 0129@=/+Aa\x1b\0-"), max_size=600))
def test_any_answer_is_read_or_a_value_error(text: str) -> None:
    try:
        found = host_witness.parse(text)
    except ValueError:
        return
    assert len(found) <= host_witness.MOST


# --- by signature -----------------------------------------------------------------------------------------


def given_of(*found: Note) -> list[Given]:
    return [Given(AT, one) for one in found]


def test_what_the_ledger_s_key_did_not_sign_is_the_host_s_word_alone() -> None:
    own, forged, foreign = (notes(lines(5), [5], one)[0] for one in (KEY, FORGED, OTHER))
    found = sorted_out("web1", given_of(own, forged, foreign), KEY.public, verify)
    assert (found.signed, found.unsigned, found.others, found.covered, found.last) == ((own,), 1, 1, 5, AT)
    assert found.doubts == (
        "1 checkpoint not signed by the ledger's key, by the word of this host",
        "1 checkpoint of another ledger",
    )
    other_past = Ledger([b"another"] * 5, notes([b"another"] * 5, [5]), KEY.public)
    lying = sorted_out("web1", given_of(forged, foreign), KEY.public, verify)
    assert check(other_past, [Witness("web1", lying.signed)], verify).problems == ()
    assert check(other_past, [Witness("web1", found.signed)], verify).problems != ()


def test_an_older_checkpoint_behind_a_newer_one_is_said() -> None:
    first, second = notes(lines(9), [3, 9])
    assert sorted_out("web1", given_of(first, second), KEY.public, verify).doubts == ()
    found = sorted_out("web1", given_of(second, first), KEY.public, verify)
    assert found.doubts == ("it was given the checkpoint of 3 entries after that of 9",)
    assert found.covered == 9
    assert HostWitness("web1").covered == 0 and HostWitness("web1").doubts == ()


# --- root on the server, with all keys --------------------------------------------------------------------


@given(
    index=st.integers(0, COUNT - EVERY - 1), how=st.sampled_from(["rewrite", "drop", "swap", "cut", "add"])
)
@settings(max_examples=25, deadline=None)
def test_one_host_shows_every_change_of_the_past(index: int, how: str) -> None:
    """It has those of the last nights; the ledger was changed and signed anew, and agrees with itself."""
    before = lines(COUNT)
    sizes = range(COUNT - 10 * EVERY, COUNT - EVERY + 1, EVERY)
    host = sorted_out("web1", host_witness.parse(answer(notes(before, sizes))), KEY.public, verify)
    after = list(before)
    if how == "rewrite":
        after[index] = b'{"n":-1}'
    elif how == "drop":
        del after[index]
    elif how == "swap":
        other = (index + 1) % (COUNT - EVERY)
        after[index], after[other] = after[other], after[index]
    elif how == "add":
        after.insert(index, b"{}")
    else:
        del after[index:]
    ledger = Ledger(after, notes(after, [len(after)] if after else []), KEY.public)
    assert check(ledger, (), verify).problems == (), "nobody can know it from the ledger alone"
    (problem,) = check(ledger, [Witness(host.host, host.signed)], verify).problems
    assert isinstance(problem, Problem) and problem.whose == "web1"
