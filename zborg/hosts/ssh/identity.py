"""The server's own private key, as a file: why ssh would not use it. No process is started for it.

OpenSSH 9.2 says "Permission denied (publickey)" to each of these, as it does when the host refuses a good
key; paramiko takes some of them. So the file itself is looked at.
"""

from __future__ import annotations

import base64
import binascii
import os
import pwd
import re
import stat
from pathlib import Path

from zborg.errors import KeyRefused
from zborg.model import Endpoint
from zborg.model.text.remedy import command, remedy

_REFUSED = 255
_MAGIC = b"openssh-key-v1\0"  # OpenSSH, PROTOCOL.key
_PEM = re.compile(
    r"-----BEGIN (?P<kind>[A-Z0-9 ]*PRIVATE KEY)-----\n(?P<headers>(?:[A-Za-z-]+: .*\n)*)(?P<body>[^-]*)"
    r"-----END (?P=kind)-----\s*"
)
_LARGEST = 1 << 16  # bytes; a key of RSA with 16384 bits has 12 KiB


def check_identity(endpoint: Endpoint) -> None:
    """Raises KeyRefused when ssh would not use the private key of this endpoint."""
    if found := _fault(Path(endpoint.identity)):
        raise KeyRefused(("ssh", str(endpoint)), _REFUSED, "", *found)


def _fault(path: Path) -> tuple[str, str] | None:
    """(message, remedy), None for a key that can be used."""
    try:
        facts = path.stat()
        text = path.read_bytes()[:_LARGEST].decode("ascii", "replace").replace("\r\n", "\n")
    except FileNotFoundError:
        return f"the key {path} does not exist", remedy(command("zborg", "init"))
    except OSError as error:
        return _unreadable(path, error)
    # As authfile.c, sshkey_perm_ok(): of a file that is not its own, ssh asks for nothing.
    if facts.st_uid == os.geteuid() and facts.st_mode & 0o077:
        mode = f"{stat.S_IMODE(facts.st_mode):04o}"
        return (
            f"the key {path} has mode {mode}: others can read it, and ssh takes no such key",
            remedy(command("chmod", "0600", str(path))),
        )
    return _contents(path, text)


def _unreadable(path: Path, error: OSError) -> tuple[str, str]:
    me = _name(os.geteuid())
    try:
        owner = f", which belongs to {_name(path.stat().st_uid)}"
    except OSError:
        owner = ""
    reason = f"{me} cannot read the key {path}{owner}: {error.strerror}"
    if not isinstance(error, PermissionError):
        return reason, remedy(command("ls", "-ld", str(path)))
    first = f"on this machine, as root, if {me} runs zborg:"
    return reason, remedy(command("chown", me, str(path)), first=first)


def _contents(path: Path, text: str) -> tuple[str, str] | None:
    found = _PEM.fullmatch(text)
    body = _decoded(found["body"]) if found else b""
    if not found or not body or (found["kind"] == "OPENSSH PRIVATE KEY" and not _is_whole(body)):
        return (
            f"the key {path} is no private key, or only a part of one",
            remedy(
                command("mv", str(path), f"{path}.unusable"),
                command("zborg", "init"),
                first="put a copy of the key back, or make another one, which every machine has to be given:",
            ),
        )
    if "ENCRYPTED" in found["kind"] + found["headers"] or _cipher(body) not in (b"", b"none"):
        return (
            f"the key {path} has a passphrase, which zborg does not ask for",
            remedy(
                command("ssh-keygen", "-p", "-N", "", "-f", str(path)),
                first="this takes the passphrase off the file; of a person's key use a copy:",
            ),
        )
    return None


def _decoded(body: str) -> bytes:
    try:
        return base64.b64decode("".join(body.split()), validate=True)
    except (binascii.Error, ValueError):
        return b""


def _cipher(body: bytes) -> bytes:
    """The name of the cipher in OpenSSH's own format, b"" in another."""
    return _strings(body, 1)[0] if body.startswith(_MAGIC) else b""


def _is_whole(body: bytes) -> bool:
    """Cipher, key derivation, its options, then the number of keys, the public and the private part."""
    head = _strings(body, 3) if body.startswith(_MAGIC) else []
    if len(head) < 3:
        return False
    keys = body[len(_MAGIC) + sum(4 + len(one) for one in head) + 4 :]
    return len(_strings(_MAGIC + keys, 2)) == 2


def _strings(body: bytes, count: int) -> list[bytes]:
    """The first `count` strings (RFC 4251, 5) after the magic, fewer when it was cut."""
    found: list[bytes] = []
    rest = body[len(_MAGIC) :]
    while len(found) < count and len(rest) >= 4:
        size = int.from_bytes(rest[:4], "big")
        if len(rest) < 4 + size:
            break
        found.append(rest[4 : 4 + size])
        rest = rest[4 + size :]
    return found


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
