"""SSH key pairs."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class KeyPair:
    """An ed25519 key without a passphrase. `public` is its line: type, base64, comment."""

    private: Path
    public: str


def make_key(path: Path, comment: str = "harness") -> KeyPair:
    """Make `path` and `path`.pub; both must not exist yet."""
    argv = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", str(path)]
    subprocess.run(argv, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    return KeyPair(path, path.with_name(path.name + ".pub").read_text().strip())
