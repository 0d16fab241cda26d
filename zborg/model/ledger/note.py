"""Signed notes and checkpoints, in the form that other programs read as well.

The forms are those of C2SP (signed-note.md and tlog-checkpoint.md, https://c2sp.org): a checkpoint's text is
origin, number of leaves, root in base64; a note is the text, an empty line, and a line for each signature.
"""

from __future__ import annotations

import hashlib
import re
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from collections.abc import Callable
from dataclasses import dataclass

_ED25519 = 1  # the type of a signature, in a key and in what its id is made of
_MARK = "\N{EM DASH} "
_LONGEST = 1 << 16  # characters of a note: one of ours has 300
_SIZE = re.compile(r"0|[1-9][0-9]{0,17}")
_NAME = re.compile(r"[^\s+]+")
_ROOT, _PUBLIC, _ID = 32, 32, 4  # bytes

Sign = Callable[[bytes], bytes]  # Ed25519 over these bytes
Verify = Callable[[bytes, bytes, bytes], bool]  # (public key, signature, what was signed)


@dataclass(frozen=True, slots=True)
class PublicKey:
    """Whose signature it is: a name, and the 32 bytes of an Ed25519 key."""

    name: str
    key: bytes

    @property
    def id(self) -> bytes:
        """Four bytes that a signature begins with."""
        return hashlib.sha256(self.name.encode() + b"\n" + bytes([_ED25519]) + self.key).digest()[:_ID]

    def __str__(self) -> str:
        """The line that a verifier is given: name, id and key."""
        return f"{self.name}+{self.id.hex()}+{b64encode(bytes([_ED25519]) + self.key).decode()}"

    @staticmethod
    def parse(text: str) -> PublicKey:
        """Raises ValueError for anything that __str__ did not make."""
        name, _, rest = text.strip().partition("+")
        given, _, encoded = rest.partition("+")
        data = _decoded(encoded)
        if not _NAME.fullmatch(name) or len(data) != 1 + _PUBLIC or data[0] != _ED25519:
            raise ValueError("not a public key of a ledger")
        key = PublicKey(name, data[1:])
        if key.id.hex() != given:
            raise ValueError(f"the id of this public key is {given}, and should be {key.id.hex()}")
        return key


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A ledger at one moment: who wrote it, how many entries it had, and the root over them."""

    origin: str
    size: int
    root: bytes

    @property
    def text(self) -> str:
        """What is signed."""
        return f"{self.origin}\n{self.size}\n{b64encode(self.root).decode()}\n"


@dataclass(frozen=True, slots=True)
class Note:
    """A checkpoint with its signatures, by (name, id) of the keys."""

    checkpoint: Checkpoint
    text: str  # what was signed: extensions that others may add are part of it
    signatures: tuple[tuple[str, bytes, bytes], ...]

    @property
    def whole(self) -> str:
        """As in a file: what `parse` made it of."""
        lines = (
            f"{_MARK}{name} {b64encode(number + data).decode()}\n" for name, number, data in self.signatures
        )
        return f"{self.text}\n{''.join(lines)}"

    def is_signed_by(self, key: PublicKey, verify: Verify) -> bool:
        """Whether this key has signed it. A signature of that name and id that does not fit: it has not."""
        return any(
            verify(key.key, signature, self.text.encode())
            for name, number, signature in self.signatures
            if (name, number) == (key.name, key.id)
        )


def signed(checkpoint: Checkpoint, key: PublicKey, sign: Sign) -> str:
    """The checkpoint as a note with one signature."""
    signature = key.id + sign(checkpoint.text.encode())
    return f"{checkpoint.text}\n{_MARK}{key.name} {b64encode(signature).decode()}\n"


def parse(text: str) -> Note:
    """One note. Raises ValueError, with the reason, for anything else."""
    body, gap, tail = text.rpartition("\n\n")
    lines = tail.split("\n")
    if len(text) > _LONGEST or not gap or lines.pop() != "" or not lines:
        raise ValueError("not a signed note: it is a text, an empty line, and lines of signatures")
    signatures = tuple(_signature(line) for line in lines)
    origin, size, root, *_ = [*body.split("\n"), "", "", ""]
    if not origin or not _SIZE.fullmatch(size):
        raise ValueError("not a checkpoint: its lines are origin, number of entries, root")
    data = _decoded(root)
    if len(data) != _ROOT:
        raise ValueError("not a checkpoint: its root is no SHA-256")
    return Note(Checkpoint(origin, int(size), data), f"{body}\n", signatures)


def parse_all(text: str) -> tuple[Note, ...]:
    """The notes of one file, which may be one behind the other. Raises ValueError."""
    notes, lines = [], text.split("\n")
    begun: list[str] = []
    for number, line in enumerate(lines):
        begun.append(line)
        following = lines[number + 1] if number + 1 < len(lines) else ""
        if line.startswith(_MARK) and not following.startswith(_MARK):
            notes.append(parse("\n".join(begun).lstrip("\n") + "\n"))
            begun = []
    if any(begun):
        raise ValueError("not signed notes: the last one has no signature")
    return tuple(notes)


def _signature(line: str) -> tuple[str, bytes, bytes]:
    name, _, encoded = line.removeprefix(_MARK).partition(" ")
    data = _decoded(encoded)
    if not line.startswith(_MARK) or not _NAME.fullmatch(name) or len(data) <= _ID:
        raise ValueError("not a signed note: a signature is a dash, a name and base64")
    return name, data[:_ID], data[_ID:]


def _decoded(text: str) -> bytes:
    try:
        return b64decode(text, validate=True)
    except (Base64Error, ValueError) as error:
        raise ValueError(f"not base64: {text[:80]!r}") from error
