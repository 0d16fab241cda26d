"""Signed notes and checkpoints: ours are read by others' rules, and others' by ours."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.harness.audit import transparency
from zborg.model.ledger.note import Checkpoint, Note, PublicKey, parse, parse_all, signed
from zborg.state.ledger.key import Key, verify

pytestmark = pytest.mark.unit
KEY = Key("backup1/1f2e3d4c", bytes(range(32)))
OTHER = Key("backup1/1f2e3d4c", bytes(range(1, 33)))
ROOT = bytes(range(32))


def note(size: int = 7, key: Key = KEY) -> str:
    return signed(Checkpoint(key.public.name, size, ROOT), key.public, key.sign)


def test_an_independent_reader_opens_a_checkpoint_of_ours() -> None:
    text = transparency.opened(note(), str(KEY.public))
    assert text == "backup1/1f2e3d4c\n7\nAAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n"
    with pytest.raises(ValueError, match="not signed"):
        transparency.opened(note(), str(OTHER.public))
    with pytest.raises(ValueError, match="does not fit"):
        transparency.opened(note().replace("\n7\n", "\n8\n"), str(KEY.public))


def test_a_key_and_a_signature_of_another_program_are_read() -> None:
    """The example of Go's package golang.org/x/mod/sumdb/note."""
    key = PublicKey.parse("PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW")
    text = (
        "If you think cryptography is the answer to your problem,\n"
        "then you don't know what your problem is.\n"
    )
    signature = "x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM="
    transparency.opened(f"{text}\n\u2014 PeterNeumann {signature}\n", str(key))
    import base64

    raw = base64.b64decode(signature)
    found = Note(Checkpoint("", 0, b""), text, (("PeterNeumann", raw[:4], raw[4:]),))
    assert found.is_signed_by(key, verify)


def test_what_was_signed_is_read_again() -> None:
    found = parse(note())
    assert found.checkpoint == Checkpoint("backup1/1f2e3d4c", 7, ROOT)
    assert found.is_signed_by(KEY.public, verify) and not found.is_signed_by(OTHER.public, verify)
    assert PublicKey.parse(f"{KEY.public}\n") == KEY.public


def test_extensions_and_signatures_of_witnesses_are_part_of_a_note() -> None:
    checkpoint = Checkpoint(KEY.public.name, 7, ROOT)
    extended = f"{checkpoint.text}extension\n"
    ours = parse(signed(checkpoint, KEY.public, lambda _: KEY.sign(extended.encode())))
    line = note().splitlines()[-1]
    del ours
    import base64

    signature = base64.b64encode(KEY.public.id + KEY.sign(extended.encode())).decode()
    text = f"{extended}\n{line.rpartition(' ')[0]} {signature}\n\u2014 witness.example/w AAAAAAAA\n"
    found = parse(text)
    assert found.text == extended and len(found.signatures) == 2
    assert found.is_signed_by(KEY.public, verify)


def test_several_notes_stand_in_one_file() -> None:
    text = "\n".join(note(size) for size in (1, 2, 3))
    assert [one.checkpoint.size for one in parse_all(text)] == [1, 2, 3]
    assert parse_all("") == ()
    assert parse_all(note() + note(8))[1].checkpoint.size == 8


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no note",
        "origin\n7\nAAAA\n",  # no signature
        f"{note().removesuffix(chr(10))}",  # no end of the last line
        note().replace("\u2014 ", "- "),
        note().replace("\n7\n", "\n-7\n"),
        note().replace("\n7\n", "\n07\n"),
        note().replace("\n7\n", "\n99999999999999999999\n"),
        note().replace("AAECAwQF", "AAEC"),  # a root that is no SHA-256
        note().replace("AAECAwQF", "A*ECAwQF"),
        "\n\n\u2014 a AAAAAAAA\n",
        f"origin\n1\n{'A' * 43}=\n\n\u2014 a+b AAAAAAAA\n",
        f"origin\n1\n{'A' * 43}=\n\n\u2014 a AAAA\n",
        f"{'o' * 70_000}\n1\n{'A' * 43}=\n\n\u2014 a AAAAAAAA\n",
    ],
)
def test_what_is_no_note_is_refused_with_a_reason(text: str) -> None:
    with pytest.raises(ValueError, match="not"):
        parse(text)


def test_a_file_with_half_a_note_is_refused() -> None:
    with pytest.raises(ValueError, match="has no signature"):
        parse_all(note() + "backup1/1f2e3d4c\n8\n")


@pytest.mark.parametrize(
    "text",
    ["", "a", "a+b", "a+00000000+AAAA", f"a b+00000000+{'A' * 44}", f"a+00000000+{str(KEY.public)[-44:]}"],
)
def test_what_is_no_public_key_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="public key|base64"):
        PublicKey.parse(text)


@given(st.text(max_size=200) | st.integers(0, 200).map(lambda n: note()[:n] + note()[n + 1 :]))
@example("\n\n")
def test_no_text_is_more_than_an_error(text: str) -> None:
    for read in (parse, parse_all, PublicKey.parse):
        try:
            read(text)
        except ValueError as error:
            assert str(error)
