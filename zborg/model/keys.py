"""Public keys of SSH."""

from __future__ import annotations

import base64


def fingerprint(host_key: str) -> str:
    """SHA256:..., exactly as ssh-keygen -l prints it."""
    import hashlib  # whoever only reads zborg.toml needs no fingerprint

    digest = hashlib.sha256(base64.b64decode(host_key.split()[1])).digest()
    return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")
