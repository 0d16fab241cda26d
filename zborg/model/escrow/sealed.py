"""What a host seals, and what a custodian opens: the forms of age's file and of the agent's export."""

from __future__ import annotations

import re
from base64 import b64decode
from binascii import Error as Base64Error
from dataclasses import dataclass

ARMOUR = re.compile(
    r"-----BEGIN AGE ENCRYPTED FILE-----\n([A-Za-z0-9+/]{64}\n)*[A-Za-z0-9+/]{1,64}={0,2}\n"
    r"-----END AGE ENCRYPTED FILE-----\n"
)
_HEADER = b"age-encryption.org/v1\n"
_STANZA = re.compile(rb"^-> (\S+)", re.M)
_LONGEST = 1 << 16  # characters; for 20 custodians it has 4,000
_OWNER = re.compile(
    r"# Key and passphrase of (?P<host>\S{1,255})'s backup, repository (?P<id>[0-9a-f]{64})\."
)
_KEY = re.compile(r"BORG_KEY (?P<id>[0-9a-f]{64})\n(?P<data>[A-Za-z0-9+/=\n]+)")
_SHORTEST = 200  # bytes of a borg key; those of borg 1 have some 400
_TABLE = range(0x80, 0x90)  # the first byte of a small table in msgpack, which a key is


def recipients(sealed: str) -> int:
    """For how many it was sealed; age does not show for whom. Raises ValueError for anything else."""
    if len(sealed) > _LONGEST or not ARMOUR.fullmatch(sealed):
        raise ValueError("it is no armoured file of age")
    try:
        data = b64decode("".join(sealed.splitlines()[1:-1]), validate=True)
    except Base64Error as error:
        raise ValueError("it is no armoured file of age") from error
    head, end, _ = data.partition(b"\n--- ")
    if not data.startswith(_HEADER) or not end:
        raise ValueError("it is no file of age's first format")
    return sum(not kind.endswith(b"-grease") for kind in _STANZA.findall(head))


@dataclass(frozen=True, slots=True)
class Exported:
    """A key and its passphrase, as the agent exports them. A repr shows neither."""

    host: str  # whose it is, by its own word; "" where it does not say
    repository: str  # of which the key says that it is
    passphrase: bytes
    key: bytes  # the key file

    def __repr__(self) -> str:
        return f"Exported({self.host!r}, {self.repository!r})"


def exported(text: str) -> Exported:
    """Raises ValueError, which shows nothing of it, for what the agent did not export."""
    _, has_passphrase, rest = text.partition("\n# Passphrase:\n")
    passphrase, _, _ = rest.partition("\n")
    _, has_key, tail = text.partition("\n# Key file:\n")
    key = _KEY.search(tail)
    if not has_passphrase or not passphrase or not has_key or not key:
        raise ValueError("there is no passphrase and no key of borg's in it")
    try:
        data = b64decode("".join(key["data"].split()), validate=True)
    except Base64Error as error:
        raise ValueError("its key is no base64") from error
    if len(data) < _SHORTEST or data[0] not in _TABLE:
        raise ValueError("its key is none of borg's")
    owner = _OWNER.search(text)
    return Exported(
        owner["host"] if owner else "", key["id"], f"{passphrase}\n".encode(), key[0].encode("ascii")
    )
