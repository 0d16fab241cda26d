"""The ledger's own key: Ed25519, made by `zborg init`, and never on the storage.

The private half is one line in the form of Go's sumdb/note, so that other tools can read it.
"""

from __future__ import annotations

import os
import re
from base64 import b64decode, b64encode
from pathlib import Path

from zborg import atomic
from zborg.errors import ConfigError
from zborg.model.ledger.note import PublicKey
from zborg.model.text.remedy import command

_PREFIX = "PRIVATE+KEY+"
_KIND = b"\1"
_SEED = 32  # bytes


class Key:
    """Both halves."""

    def __init__(self, name: str, seed: bytes) -> None:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        self._seed = seed
        self._private = Ed25519PrivateKey.from_private_bytes(seed)
        self.public = PublicKey(name, self._private.public_key().public_bytes_raw())

    def sign(self, data: bytes) -> bytes:
        """64 bytes."""
        return self._private.sign(data)

    def __str__(self) -> str:
        """The secret line."""
        return f"{_PREFIX}{self.public.name}+{self.public.id.hex()}+{b64encode(_KIND + self._seed).decode()}"


def verify(key: bytes, signature: bytes, data: bytes) -> bool:
    """Whether this public key made that signature."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, data)
    except (InvalidSignature, ValueError):
        return False
    return True


def make(path: Path, server: str) -> Key:
    """A new one, in a file that only root reads; beside it the public half. Raises OSError."""
    name = re.sub(r"[^A-Za-z0-9.-]+", "-", server).strip("-") or "zborg"
    key = Key(f"{name}/{os.urandom(4).hex()}", os.urandom(_SEED))
    atomic.write(path, f"{key}\n")
    atomic.write(path.with_name(f"{path.name}.pub"), f"{key.public}\n", atomic.FOR_ALL)
    return key


def load(path: Path) -> Key | None:
    """None when there is none. Raises ConfigError for a file that holds no key."""
    try:
        text = path.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be read: {error.strerror}", command("ls", "-l", str(path))
        ) from error
    name, _, rest = text.removeprefix(_PREFIX).partition("+")
    try:
        data = b64decode(rest.partition("+")[2], validate=True)
    except ValueError:
        data = b""
    if not text.startswith(_PREFIX) or data[:1] != _KIND or len(data) != 1 + _SEED:
        raise ConfigError(f"{path} holds no key of a ledger", command("mv", str(path), f"{path}.broken"))
    return Key(name, data[1:])
