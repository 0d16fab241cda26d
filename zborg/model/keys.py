"""Public keys of SSH."""

from __future__ import annotations

import base64
import binascii

# What to offer for a pinned key of each type (RFC 8332: ssh-rsa keys sign with SHA-2).
ALGORITHMS = {
    "ssh-ed25519": ("ssh-ed25519",),
    "ecdsa-sha2-nistp256": ("ecdsa-sha2-nistp256",),
    "ecdsa-sha2-nistp384": ("ecdsa-sha2-nistp384",),
    "ecdsa-sha2-nistp521": ("ecdsa-sha2-nistp521",),
    "ssh-rsa": ("rsa-sha2-512", "rsa-sha2-256"),
}


def algorithms(host_key: str) -> tuple[str, ...]:
    """The signature algorithms that a machine with this host key can speak."""
    return ALGORITHMS[host_key.split()[0]]


def is_host_key(text: str) -> bool:
    """Whether `text` is "TYPE BASE64 [comment]" with a type we know and matching contents."""
    words = text.split()
    if len(words) < 2 or words[0] not in ALGORITHMS:
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


def fingerprint(host_key: str) -> str:
    """SHA256:..., exactly as ssh-keygen -l prints it."""
    import hashlib  # reading zborg.toml needs no fingerprint

    digest = hashlib.sha256(base64.b64decode(host_key.split()[1])).digest()
    return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")
