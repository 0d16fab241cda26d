"""A checkpoint as one word, in which hosts are given it: ORIGIN@SIZE@ROOT@SIGNATURE.

All that a note of ours has, so the note can be made of it again. The agent checks the same pattern
(zborg/hosts/agent/58-witness.sh), and a test compares both.
"""

from __future__ import annotations

import re
from base64 import b64decode, b64encode

from zborg.model.ledger.note import Checkpoint, Note

_ID = 4  # bytes of a signature that are the key's id
# 32 bytes of root, 68 of signature with the key's id.
_WORD = re.compile(
    r"(?P<origin>[A-Za-z0-9][A-Za-z0-9./-]{0,99})@(?P<size>[1-9][0-9]{0,17})"
    r"@(?P<root>[A-Za-z0-9+/]{43}=)@(?P<signature>[A-Za-z0-9+/]{91}=)",
    re.ASCII,
)


def write(note: Note) -> str:
    """Of a note with one signature, by the key of its origin's name. Raises ValueError for others."""
    checkpoint = note.checkpoint
    if len(note.signatures) != 1:
        raise ValueError("a word has one signature")
    ((name, number, signature),) = note.signatures
    root, signed = b64encode(checkpoint.root).decode(), b64encode(number + signature).decode()
    word = f"{checkpoint.origin}@{checkpoint.size}@{root}@{signed}"
    if name != checkpoint.origin or note.text != checkpoint.text or not _WORD.fullmatch(word):
        raise ValueError(f"the checkpoint of {checkpoint.size} entries is no word")
    return word


def read(word: str) -> Note:
    """The note that it was made of. Raises ValueError for anything else."""
    found = _WORD.fullmatch(word)
    if not found:
        raise ValueError("not a checkpoint in one word")
    checkpoint = Checkpoint(found["origin"], int(found["size"]), b64decode(found["root"], validate=True))
    signature = b64decode(found["signature"], validate=True)
    return Note(checkpoint, checkpoint.text, ((checkpoint.origin, signature[:_ID], signature[_ID:]),))
