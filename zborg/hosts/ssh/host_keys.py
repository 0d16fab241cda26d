"""SSH host keys: pinned in zborg.toml, shown as fingerprints, handed to OpenSSH."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from pathlib import Path

from zborg import atomic
from zborg.errors import CommandFailed
from zborg.model import Endpoint, Runner
from zborg.model.keys import fingerprint as fingerprint

# What to offer for a pinned key of each type (RFC 8332: ssh-rsa keys sign with SHA-2).
_ALGORITHMS = {
    "ssh-ed25519": ("ssh-ed25519",),
    "ecdsa-sha2-nistp256": ("ecdsa-sha2-nistp256",),
    "ecdsa-sha2-nistp384": ("ecdsa-sha2-nistp384",),
    "ecdsa-sha2-nistp521": ("ecdsa-sha2-nistp521",),
    "ssh-rsa": ("rsa-sha2-512", "rsa-sha2-256"),
}


def algorithms(host_key: str) -> tuple[str, ...]:
    """The signature algorithms that a machine with this host key can speak."""
    return _ALGORITHMS[host_key.split()[0]]


def is_host_key(text: str) -> bool:
    """Whether `text` is "TYPE BASE64 [comment]" with a type we know and matching contents."""
    words = text.split()
    if len(words) < 2 or words[0] not in _ALGORITHMS:
        return False
    try:
        blob = base64.b64decode(words[1], validate=True)
    except (binascii.Error, ValueError):
        return False
    fields = _fields(blob)
    return len(fields) > 1 and fields[0] == words[0].encode()


def _fields(blob: bytes) -> list[bytes]:
    """The strings of RFC 4251 that a key consists of; [] when it was cut short."""
    fields = []
    while blob:
        size = int.from_bytes(blob[:4], "big")
        if len(blob) < 4 + size:
            return []
        fields.append(blob[4 : 4 + size])
        blob = blob[4 + size :]
    return fields


def look_up(local: Runner, known_hosts: Path, address: str, port: int) -> str:
    """The key that a known_hosts file has for a machine, the best type first; "" when it has none.

    By ssh-keygen, which reads hashed names, patterns and ports as ssh does. Raises CommandFailed when the
    file cannot be read.
    """
    name = address if port == 22 else f"[{address}]:{port}"
    try:
        found = local.run(["ssh-keygen", "-F", name, "-f", str(known_hosts)]).stdout
    except CommandFailed as error:
        if error.status == 1 and not error.stderr:  # not in it
            return ""
        raise
    # A line with a marker is of a revoked key or an authority; comments begin with #.
    lines = [line.split() for line in found.splitlines() if not line.startswith(("#", "@"))]
    keys = {words[1]: f"{words[1]} {words[2]}" for words in lines if len(words) > 2}
    revoked = {line.split()[3] for line in found.splitlines() if line.startswith("@revoked ")}
    good = [keys[kind] for kind in _ALGORITHMS if kind in keys and keys[kind].split()[1] not in revoked]
    return next(filter(is_host_key, good), "")


def write_known_hosts(path: Path, endpoints: Mapping[str, Endpoint]) -> None:
    """One line per alias. Replaced whole and only when it differs: other runs may be reading it."""
    text = "".join(f"{alias} {' '.join(e.host_key.split()[:2])}\n" for alias, e in sorted(endpoints.items()))
    if path.exists() and path.read_text() == text:
        return
    atomic.write(path, text)
