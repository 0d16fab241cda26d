"""RFC 6962 and C2SP's signed notes a second time, from the specifications alone, without zborg."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey


def tree_hash(entries: Sequence[bytes]) -> bytes:
    """MTH of RFC 6962, 2.1."""
    n = len(entries)
    if n == 0:
        return hashlib.sha256().digest()
    if n == 1:
        return hashlib.sha256(b"\x00" + entries[0]).digest()
    k = 1
    while k * 2 < n:
        k *= 2
    return hashlib.sha256(b"\x01" + tree_hash(entries[:k]) + tree_hash(entries[k:])).digest()


def includes(root: bytes, size: int, entry: bytes, index: int, path: Sequence[bytes]) -> bool:
    """The verification of an audit path as RFC 9162, 2.1.3.2, has it step by step."""
    if index >= size:
        return False
    fn, sn = index, size - 1
    r = hashlib.sha256(b"\x00" + entry).digest()
    for p in path:
        if sn == 0:
            return False
        if fn & 1 or fn == sn:
            r = hashlib.sha256(b"\x01" + p + r).digest()
            if not fn & 1:
                while fn and not fn & 1:
                    fn >>= 1
                    sn >>= 1
        else:
            r = hashlib.sha256(b"\x01" + r + p).digest()
        fn >>= 1
        sn >>= 1
    return sn == 0 and r == root


def continues(old: bytes, first: int, new: bytes, second: int, proof: Sequence[bytes]) -> bool:
    """The verification of a consistency proof as RFC 9162, 2.1.4.2, has it step by step."""
    if first == second:
        return not proof and old == new
    path = list(proof)
    if first & (first - 1) == 0:
        path.insert(0, old)
    if not path:
        return False
    fn, sn = first - 1, second - 1
    while fn & 1:
        fn >>= 1
        sn >>= 1
    fr = sr = path[0]
    for c in path[1:]:
        if sn == 0:
            return False
        if fn & 1 or fn == sn:
            fr = hashlib.sha256(b"\x01" + c + fr).digest()
            sr = hashlib.sha256(b"\x01" + c + sr).digest()
            if not fn & 1:
                while fn and not fn & 1:
                    fn >>= 1
                    sn >>= 1
        else:
            sr = hashlib.sha256(b"\x01" + sr + c).digest()
        fn >>= 1
        sn >>= 1
    return sn == 0 and fr == old and sr == new


def opened(note: str, verifier: str) -> str:
    """The text of a note that this key has signed. Raises ValueError for any other."""
    name, number, encoded = verifier.split("+", 2)
    key = base64.b64decode(encoded)
    expected = hashlib.sha256(name.encode() + b"\n" + key).digest()[:4]
    if key[0] != 1 or expected.hex() != number:
        raise ValueError("not a verifier's key")
    text, signatures = note[: note.rindex("\n\n") + 1], note[note.rindex("\n\n") + 2 :]
    for line in signatures.splitlines():
        dash, signer, data = line.split(" ")
        raw = base64.b64decode(data)
        if dash == "\u2014" and signer == name and raw[:4] == expected:
            try:
                Ed25519PublicKey.from_public_bytes(key[1:]).verify(raw[4:], text.encode())
            except InvalidSignature as error:
                raise ValueError("the signature does not fit") from error
            return text
    raise ValueError("not signed by this key")
