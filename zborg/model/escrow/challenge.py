"""A challenge: what a custodian is given to show that a sealed key opens a repository; and the answer to it.

A challenge is JSON of a few KiB without a secret: for each host the sealed key and the manifest, which is
encrypted too. An answer is one word without blanks,

    zborg-proof@1@HOST@NONCE@ARCHIVES@NEWEST@MAC

whose MAC is HMAC-SHA256 over all that it is bound to, with the id of the newest archive as its key. Of what
is in a challenge only the opened manifest has that id. What it proves, and what not, is in docs/escrow.md.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from base64 import b64decode, b64encode, urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as Base64Error
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from zborg.model.machines import NAME_PATTERN
from zborg.model.text.units import moment, moment_of

FORM = 1
"""Of both, challenges and answers."""

_FILE, _WORD = "zborg escrow challenge", "zborg-proof"
_NAME, _ID, _NONCE = NAME_PATTERN, re.compile(r"[0-9a-f]{64}"), re.compile(r"[0-9a-f]{32}")
_CHECKPOINT = re.compile(r"\S{0,1000}")
_COUNT = re.compile(r"[1-9][0-9]{0,8}")
_MAC = 32  # bytes


class OtherForm(ValueError):
    """It was made by a zborg that is newer than this one, or is none of zborg's at all."""


@dataclass(frozen=True, slots=True)
class Case:
    """One host in a challenge."""

    host: str
    repository: str  # its id
    nonce: str  # 16 random bytes in hexadecimal: no two challenges have the same
    checkpoint: str  # the newest of the ledger, one word
    sealed: str  # the key, as the host has sealed it
    manifest: bytes  # the entry of a segment

    @property
    def bound(self) -> Bound:
        """What an answer to it is bound to."""
        sealed, manifest = (hashlib.sha256(one).hexdigest() for one in (self.sealed.encode(), self.manifest))
        return Bound(self.host, self.repository, self.nonce, self.checkpoint, sealed, manifest)


@dataclass(frozen=True, slots=True)
class Bound:
    """The same in what the server remembers: digests in place of what is large."""

    host: str
    repository: str
    nonce: str
    checkpoint: str
    sealed: str
    manifest: str

    def message(self, archives: int, newest: datetime) -> bytes:
        """What the MAC is over."""
        facts = (self.host, self.repository, self.nonce, self.checkpoint, self.sealed, self.manifest)
        return "\n".join((f"{_WORD} {FORM}", *facts, str(archives), moment(newest), "")).encode()


@dataclass(frozen=True, slots=True)
class Challenge:
    """A file for a custodian. Answers are taken until `until`."""

    server: str
    made: datetime
    until: datetime
    cases: tuple[Case, ...]

    def text(self) -> str:
        """The file."""
        table = {
            _FILE: FORM,
            "server": self.server,
            "made": moment(self.made),
            "until": moment(self.until),
            "hosts": [_row(one) for one in self.cases],
        }
        return json.dumps(table, indent=1) + "\n"


def _row(one: Case) -> dict[str, Any]:
    return {
        "host": one.host,
        "repository": one.repository,
        "nonce": one.nonce,
        "checkpoint": one.checkpoint,
        "sealed": one.sealed,
        "manifest": b64encode(one.manifest).decode(),
    }


def parse(text: str) -> Challenge:
    """Raises OtherForm for what is no challenge of this form, ValueError for one that is not whole."""
    try:
        table = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise OtherForm("it is no challenge of zborg's") from error
    if not isinstance(table, dict) or _FILE not in table:
        raise OtherForm("it is no challenge of zborg's")
    if table[_FILE] != FORM or isinstance(table[_FILE], bool):
        raise OtherForm(
            f"it is a challenge of form {str(table[_FILE])[:20]}, and this zborg knows form {FORM}"
        )
    made, until = moment_of(table.get("made")), moment_of(table.get("until"))
    if made is None or until is None:
        raise ValueError("it does not say of when it is")
    try:
        cases = tuple(_case(row) for row in table["hosts"])
    except (KeyError, TypeError, AttributeError, Base64Error) as error:
        raise ValueError("what it says of a host is not whole") from error
    if not cases:
        raise ValueError("no host is in it")
    return Challenge(str(table.get("server", "")), made, until, cases)


def _case(row: Mapping[str, Any]) -> Case:
    host, repository, nonce = str(row["host"]), str(row["repository"]), str(row["nonce"])
    checkpoint, sealed = str(row["checkpoint"]), str(row["sealed"])
    patterns = ((_NAME, host), (_ID, repository), (_NONCE, nonce), (_CHECKPOINT, checkpoint))
    if not all(pattern.fullmatch(value) for pattern, value in patterns):
        raise ValueError("what it says of a host is not whole")
    return Case(host, repository, nonce, checkpoint, sealed, b64decode(row["manifest"], validate=True))


@dataclass(frozen=True, slots=True)
class Answer:
    """What a custodian sends back. Who has the challenge and not the key cannot make it."""

    host: str
    nonce: str
    archives: int
    newest: datetime
    mac: bytes

    @property
    def word(self) -> str:
        """One word, which a shell takes as it is."""
        mac = urlsafe_b64encode(self.mac).decode().rstrip("=")
        facts = (self.host, self.nonce, str(self.archives), moment(self.newest), mac)
        return "@".join((_WORD, str(FORM), *facts))


def answer(bound: Bound, archives: int, newest: datetime, key: bytes) -> Answer:
    """`key` is the id of the newest archive."""
    mac = hmac.digest(key, bound.message(archives, newest), "sha256")
    return Answer(bound.host, bound.nonce, archives, newest, mac)


def parse_answer(word: str) -> Answer:
    """Raises OtherForm, or ValueError for one that lost a part on its way."""
    kind, form, *parts = [*word.strip().split("@"), "", ""]
    if kind != _WORD:
        raise OtherForm(f"it does not begin with {_WORD}@")
    if form != str(FORM):
        raise OtherForm(f"it is an answer of form {form[:20]}, and this zborg knows form {FORM}")
    host, nonce, archives, newest, mac = (*parts, "", "", "", "")[:5]
    at, data = moment_of(newest), _decoded(mac)
    is_whole = _NAME.fullmatch(host) and _NONCE.fullmatch(nonce) and _COUNT.fullmatch(archives)
    if not is_whole or at is None or len(data) != _MAC:
        raise ValueError("a part of it was lost, or added")
    found = Answer(host, nonce, int(archives), at, data)
    if found.word != word.strip():
        raise ValueError("a part of it was lost, or added")
    return found


def _decoded(text: str) -> bytes:
    try:
        return urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except ValueError:  # binascii's own is one
        return b""
