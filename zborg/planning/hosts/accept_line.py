"""The one line that a bundle prints for `host accept`. It holds no secret, and it is another's word. Pure.

zborg-accept 1 NAME URL KEYTYPE KEY agent N borg VERSION server FINGERPRINT
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from zborg.errors import UsageError
from zborg.model import NAME_PATTERN

_LINE = re.compile(
    r"zborg-accept (?P<format>\d{1,3}) (?P<name>" + NAME_PATTERN.pattern + r") "
    r"(?P<url>ssh://root@[\w.:\[\]%-]{1,255}) "
    r"(?P<host_key>[a-z0-9-]{1,32} [A-Za-z0-9+/]{20,1500}={0,2}) "
    r"agent (?P<agent>\d{1,4}) borg (?P<borg>\d[\d.]{0,15}) server (?P<server>SHA256:[A-Za-z0-9+/]{43})",
    re.ASCII,
)


@dataclass(frozen=True, slots=True)
class Acceptance:
    """What a line says of its host: key as "TYPE BASE64", borg as a version. Not proven by anything yet."""

    name: str
    url: str
    host_key: str
    borg: str


def parse(line: str, server: str) -> Acceptance:
    """Raises UsageError for any other text, and for a line that another server's bundle has printed.

    `server` is the fingerprint of our own key, as the bundle was given it.
    """
    found = _LINE.fullmatch(" ".join(line.split()))
    if not found or found["format"] != "1":
        raise UsageError(
            "this is no line of a bundle's", "the whole of it, in quotes: zborg-accept 1 NAME ssh://..."
        )
    if found["server"] != server:
        raise UsageError(
            f"this line is for the server with the key {found['server']}, ours is {server}",
            "make a new bundle here, and let the host's owner run that",
        )
    return Acceptance(found["name"], found["url"], found["host_key"], found["borg"])
