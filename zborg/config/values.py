"""Single values of zborg.toml: the form that each has to have, and what it becomes.

Every function raises ValueError, whose text goes on after the key: "must be a size such as ...".
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from zborg.model.keys import is_host_key

_POWERS = {"K": 10, "M": 20, "G": 30, "T": 40}
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
URL = re.compile(
    r"ssh://(?P<user>[a-z_][\w.-]*)@(?P<address>\[[0-9A-Fa-f:.]+(%\w+)?\]|[\w.-]+)(:(?P<port>\d{1,5}))?",
    re.ASCII,
)
_SSHD = re.compile(r"(\[[0-9A-Fa-f:.]+(%\w+)?\]|[\w.-]+):(?P<port>[0-9]{1,5})", re.ASCII)
_RECIPIENT = re.compile(r"age1[a-z0-9]{10,200}")
_DATASET = re.compile(r"[A-Za-z][\w.:-]*(/[\w.:-]+)*", re.ASCII)


def exactly(value: Any, kind: type) -> Any:
    """`value`, if it is of that very type, and no negative number."""
    if type(value) is not kind:
        words = {str: "a text in quotes", int: "a whole number", bool: "true or false"}
        raise ValueError(f"must be {words[kind]}, not {_shown(value) if kind is str else repr(value)}")
    if isinstance(value, int) and value < 0:
        raise ValueError(f"must be 0 or more, not {value}")
    return value


def texts(value: Any, _: type) -> list[str]:
    """A list of texts."""
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise ValueError(f"must be a list of texts in quotes, not {_shown(value)}")
    return value


def _shown(value: object) -> str:
    """A number; of what may be or hold a password only what it is."""
    kinds: dict[type, str] = {str: "a text", list: "a list", dict: "a table"}
    return kinds.get(type(value)) or repr(value)


def parsing(parse: Any) -> Any:
    """A hook of cattrs: `parse` for text, anything else is refused."""
    return lambda value, _: parse(exactly(value, str))


def duration_of(text: str) -> int:
    """Seconds of "26h"."""
    found = re.fullmatch(r"([0-9]{1,6})([smhdw])", text)
    if not found:
        raise ValueError(f'must be a duration such as "26h" or "35d", not {text!r}')
    return int(found[1]) * _UNITS[found[2]]


def rate_of(text: str) -> int:
    """Bytes a second. Raises ValueError, with an example, for any other text."""
    found = re.fullmatch(r"([0-9]{1,6})([KMG])iB/s", text)
    if not found or not int(found[1]):
        raise ValueError(f'must be a rate such as "50MiB/s", not {text!r}')
    return int(found[1]) << 10 * (1 + "KMG".index(found[2]))


def size_of(text: str) -> int:
    """Bytes, of a size as zfs writes it. Raises ValueError."""
    found = re.fullmatch(r"([0-9]{1,6})([KMGT]?)", text)
    if not found:
        raise ValueError(f'must be a size such as "500M" or "10G", not {text!r}')
    return int(found[1]) << _POWERS.get(found[2], 0)


def ssh_url(text: str) -> str:
    """`text`, if it is the URL of an account."""
    found = URL.fullmatch(text)
    if not found or not 1 <= int(found["port"] or 22) <= 65535:
        raise ValueError(f"must be ssh://user@address:port, not {text!r}")
    return text


def host_key(text: str) -> str:
    """`text`, if it is a public host key."""
    if not is_host_key(text):
        raise ValueError(
            'must be a public host key such as "ssh-ed25519 AAAA...", as in /etc/ssh/ssh_host_ed25519_key.pub'
        )
    return text


def dataset_name(text: str) -> str:
    """`text`, if ZFS would take it for a dataset."""
    if not _DATASET.fullmatch(text):
        raise ValueError(f'must be a ZFS dataset such as "tank/borg", not {text!r}')
    return text


def one_of(*words: str) -> Callable[[str], str]:
    """A parser of these words alone."""

    def parse(text: str) -> str:
        if text not in words:
            *others, last = (f'"{word}"' for word in words)
            raise ValueError(f"must be {', '.join(others)} or {last}, not {text!r}")
        return text

    return parse


def sshd_address(text: str) -> str:
    """`text`, if it is an address and a port."""
    found = _SSHD.fullmatch(text)
    if not found or not 1 <= int(found["port"]) <= 65535:
        raise ValueError(f'must be address:port such as "127.0.0.1:22", not {text!r}')
    return text


def reverse_port(value: Any) -> int:
    """A port, 0 for "auto"."""
    if value == "auto":
        return 0
    if type(value) is not int or not 1 <= value <= 65535:
        raise ValueError(f'must be a port such as 64064, or "auto", not {value!r}')
    return value


def at_once(value: Any) -> int:
    """How many hosts at once; "auto" is 0, in place of which nobody can write 0."""
    if value == "auto":
        return 0
    if type(value) is not int:
        raise ValueError(f'must be a whole number or "auto", not {value!r}')
    if value < 1:
        raise ValueError(f'must be 1 or more, or "auto", not {value}')
    return value


def recipient(text: str) -> str:
    """`text`, if it is a public key of age."""
    if text.upper().startswith("AGE-SECRET-KEY"):  # not to be shown again in a log
        raise ValueError('must be a public key ("age1..."), and is a secret one: take it away from here')
    if not _RECIPIENT.fullmatch(text):
        raise ValueError(f'must be a public key of age such as "age1...", not {text!r}')
    return text
