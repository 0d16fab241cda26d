"""Challenges, answers, sealed keys and what borg prints: forms that other machines write."""

from __future__ import annotations

import hashlib
import json
import struct
import zlib
from base64 import b64encode
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zborg.borg.escrow.listing import Reason, build, failed, listed
from zborg.borg.escrow.reader import FoundManifest, manifest
from zborg.model.escrow.challenge import (
    Bound,
    Case,
    Challenge,
    OtherForm,
    answer,
    parse,
    parse_answer,
)
from zborg.model.escrow.sealed import exported, recipients

pytestmark = pytest.mark.unit

NOW = datetime(2026, 2, 12, 14, 0, tzinfo=UTC)
ID = "a" * 64


def armoured(data: bytes) -> str:
    text = b64encode(data).decode()
    lines = [text[i : i + 64] for i in range(0, len(text), 64)]
    return "\n".join(["-----BEGIN AGE ENCRYPTED FILE-----", *lines, "-----END AGE ENCRYPTED FILE-----", ""])


SEALED = armoured(b"age-encryption.org/v1\n-> X25519 a\nb\n-> X25519 c\nd\n-> q-grease e\n\n--- mac\n\0\1\2")
ENTRY = struct.pack("<IB", 41 + 9, 0) + bytes(32) + b"encrypted"
ENTRY = struct.pack("<I", zlib.crc32(ENTRY)) + ENTRY
CASE = Case("web1", ID, "0" * 32, "vault@3@AAAA@BBBB", SEALED, ENTRY)
CHALLENGE = Challenge("vault", NOW, NOW + timedelta(days=90), (CASE,))


# --- challenges and answers ---------------------------------------------------------------------------------


def test_a_challenge_is_read_back() -> None:
    assert parse(CHALLENGE.text()) == CHALLENGE


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("no JSON", "no challenge of zborg's"),
        ("[1]", "no challenge of zborg's"),
        ("[" * 100_000, "no challenge of zborg's"),
        (json.dumps({"zborg escrow challenge": 2}), "of form 2, and this zborg knows form 1"),
        (json.dumps({"zborg escrow challenge": True}), "of form True"),
    ],
)
def test_of_another_form_is_no_challenge(text: str, words: str) -> None:
    with pytest.raises(OtherForm, match=words):
        parse(text)


@pytest.mark.parametrize(
    "changed",
    [
        {"made": "yesterday"},
        {"hosts": []},
        {"hosts": [1]},
        {"hosts": None},
        {"hosts": [json.loads(CHALLENGE.text())["hosts"][0] | {"repository": "../../etc"}]},
        {"hosts": [json.loads(CHALLENGE.text())["hosts"][0] | {"manifest": "~"}]},
        {"hosts": [json.loads(CHALLENGE.text())["hosts"][0] | {"manifest": 1}]},
    ],
)
def test_one_that_is_not_whole_is_none(changed: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="."):
        parse(json.dumps(json.loads(CHALLENGE.text()) | changed))


@given(
    st.integers(1, 10**6),
    st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1)),
    st.binary(min_size=32, max_size=32),
)
def test_an_answer_is_one_plain_word_and_read_back(archives: int, newest: datetime, key: bytes) -> None:
    at = newest.replace(tzinfo=UTC, microsecond=0)
    made = answer(CASE.bound, archives, at, key)
    assert parse_answer(f" {made.word}\n") == made
    assert not set(made.word) & set(" '\"$\\*?;&|<>~#()")


@pytest.mark.parametrize(
    "changed",
    [
        {"host": "web2"},
        {"repository": "b" * 64},
        {"nonce": "1" * 32},
        {"checkpoint": ""},
        {"sealed": "f" * 64},
        {"manifest": "f" * 64},
    ],
)
def test_an_answer_is_bound_to_all_of_its_challenge(changed: dict[str, str]) -> None:
    """Host, repository, nonce, checkpoint of the ledger, sealed key, manifest; and to what it says itself."""
    made = answer(CASE.bound, 3, NOW, b"k" * 32)
    other: Bound = replace(CASE.bound, **changed)
    assert answer(other, 3, NOW, b"k" * 32).mac != made.mac
    assert (
        len({made.mac, answer(CASE.bound, 4, NOW, b"k" * 32).mac, answer(CASE.bound, 3, NOW, b"l" * 32).mac})
        == 3
    )


@given(st.integers(0, 200), st.characters(), st.booleans())
def test_a_changed_answer_is_none_or_has_other_facts(at: int, letter: str, cut: bool) -> None:
    made = answer(CASE.bound, 3, NOW, b"k" * 32)
    word = made.word[:at] + ("" if cut else letter) + made.word[at + 1 :]
    try:
        found = parse_answer(word)
    except ValueError:
        return
    assert word.strip() == made.word or found != made


@given(st.text(max_size=80) | st.lists(st.text(max_size=9), max_size=9).map("@".join))
def test_no_text_is_more_than_no_answer(text: str) -> None:
    for word in (text, f"zborg-proof@1@{text}"):
        with pytest.raises(ValueError, match="."):
            parse_answer(word)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda one: (
        st.lists(one, max_size=3)
        | st.dictionaries(
            st.sampled_from(["hosts", "host", "made", "until", "manifest", "archives", "time", "id"]),
            one,
            max_size=4,
        )
    ),
    max_leaves=8,
)


@given(JSON)
def test_whatever_is_in_a_challenge_is_read_or_refused(table: object) -> None:
    base = json.loads(CHALLENGE.text())
    for one in (
        table,
        base | {"hosts": table},
        base | {"hosts": [base["hosts"][0] | (table if isinstance(table, dict) else {})]},
    ):
        with suppress(ValueError):
            parse(json.dumps(one))


# --- what was sealed ----------------------------------------------------------------------------------------


def test_recipients_are_counted_and_padding_is_not() -> None:
    assert recipients(SEALED) == 2


@pytest.mark.parametrize(
    "text", ["", "garbage", armoured(b"garbage"), armoured(b"age-encryption.org/v1\n-> X25519"), SEALED + "x"]
)
def test_garbage_is_no_file_of_age(text: str) -> None:
    with pytest.raises(ValueError, match="no (armoured )?file of age"):
        recipients(text)


@given(st.text(max_size=300) | st.binary(max_size=300).map(armoured))
def test_any_text_is_counted_or_refused(text: str) -> None:
    with suppress(ValueError):
        assert recipients(text) >= 0


KEY = "BORG_KEY " + ID + "\n" + b64encode(b"\x86" + bytes(range(250))).decode() + "\n"
OWNER = f"# Key and passphrase of web1's backup, repository {ID}."
EXPORT = f"{OWNER}\n# Who\n# Passphrase:\nsecret\n\n# Key file:\n{KEY}"


def test_an_export_is_taken_apart_and_shows_nothing() -> None:
    found = exported(EXPORT)
    assert (found.host, found.repository, found.passphrase, found.key.decode()) == (
        "web1",
        ID,
        b"secret\n",
        KEY,
    )
    assert "secret" not in repr(found) and "BORG_KEY" not in repr(found)
    assert exported(EXPORT.replace("web1's", "web1")).host == ""


@pytest.mark.parametrize(
    "text",
    [
        "",
        "garbage",
        EXPORT.replace("# Passphrase:\nsecret", "# Passphrase:\n"),
        EXPORT.replace("# Key file:", "# Key:"),
        EXPORT.replace("BORG_KEY", "BORG"),
        EXPORT.partition("BORG_KEY")[0] + f"BORG_KEY {ID}\nAAAA\n",
        EXPORT.partition("BORG_KEY")[0] + f"BORG_KEY {ID}\nAAA\n",
        EXPORT.partition("BORG_KEY")[0] + f"BORG_KEY {ID}\n{b64encode(bytes(300)).decode()}\n",
    ],
)
def test_a_sealed_text_without_a_key_is_refused_without_showing_it(text: str) -> None:
    with pytest.raises(ValueError, match="key") as refused:
        exported(text)
    assert "secret" not in str(refused.value)


# --- the reader's lines, and borg's -------------------------------------------------------------------------


def lines_of(entry: bytes) -> list[str]:
    digest = hashlib.sha256(entry).hexdigest()
    return [
        "last 9 -1",
        f"id {ID}",
        f"manifest {len(entry)} {digest}",
        f"entry {entry[:9].hex()}",
        f"entry {entry[9:].hex()}",
    ]


def test_a_manifest_arrives_whole_or_not_at_all() -> None:
    assert manifest(lines_of(ENTRY)) == FoundManifest(ID, 9, ENTRY)
    assert manifest(lines_of(ENTRY)[:2]) is None
    with pytest.raises(ValueError, match="whole"):
        manifest(lines_of(ENTRY)[:-1])


@given(
    st.lists(
        st.sampled_from(["last", "id", "manifest", "entry", "", "x"]).flatmap(
            lambda kind: st.text(max_size=9).map(lambda text: f"{kind} {text}")
        ),
        max_size=5,
    )
)
def test_any_lines_are_a_manifest_or_refused(lines: Sequence[str]) -> None:
    with suppress(ValueError):
        manifest(lines)


@pytest.mark.parametrize(
    "entry",
    [b"", ENTRY[:-1], ENTRY[:4] + b"\0" + ENTRY[5:], ENTRY[:-1] + b"?", ENTRY[:20] + b"\1" + ENTRY[21:]],
)
def test_what_is_no_manifest_makes_no_repository(tmp_path: Path, entry: bytes) -> None:
    with pytest.raises(ValueError, match="manifest"):
        build(tmp_path, ID, entry)
    assert not list(tmp_path.iterdir())


def test_the_newest_archive_is_found_whatever_the_order() -> None:
    rows = [{"time": f"2026-02-{day:02}T01:00:00.000000", "id": f"{day:02}" * 32} for day in (3, 9, 1)]
    found = listed(json.dumps({"archives": rows}))
    assert found is not None
    assert (found.archives, found.newest, found.newest_id) == (
        3,
        datetime(2026, 2, 9, 1, tzinfo=UTC),
        b"\x09" * 32,
    )
    assert listed('{"archives": []}') is None


@settings(max_examples=60)
@given(JSON)
def test_whatever_borg_prints_is_a_list_or_refused(table: object) -> None:
    for text in (json.dumps(table), json.dumps({"archives": table}), json.dumps({"archives": [table]})):
        with suppress(ValueError):
            listed(text)


def test_why_borg_failed_is_known_by_its_code() -> None:
    line = {"type": "log_message", "levelname": "ERROR", "name": "borg.archiver", "message": "words"}
    assert failed(json.dumps(line | {"msgid": "PassphraseWrong"})) == (Reason.PASSPHRASE, "words")
    assert failed(json.dumps(line | {"msgid": "KeyfileInvalidError"}))[0] is Reason.KEY
    assert failed(json.dumps(line | {"message": "Traceback\n  x\nIntegrityError: MAC\n"})) == (
        Reason.OTHER,
        "IntegrityError: MAC",
    )
    assert failed("usage\nborg: error: --json") == (Reason.OTHER, "borg: error: --json")
    assert failed("") == (Reason.OTHER, "")
