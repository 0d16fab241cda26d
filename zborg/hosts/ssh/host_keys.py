"""SSH host keys: pinned in zborg.toml, shown as fingerprints, handed to OpenSSH."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from zborg import atomic
from zborg.errors import CommandFailed
from zborg.model import Endpoint, Runner
from zborg.model.keys import ALGORITHMS, is_host_key


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
    good = [keys[kind] for kind in ALGORITHMS if kind in keys and keys[kind].split()[1] not in revoked]
    return next(filter(is_host_key, good), "")


def write_known_hosts(path: Path, endpoints: Mapping[str, Endpoint]) -> None:
    """One line per alias. Replaced whole and only when it differs: other runs may be reading it."""
    text = "".join(f"{alias} {' '.join(e.host_key.split()[:2])}\n" for alias, e in sorted(endpoints.items()))
    if path.exists() and path.read_text() == text:
        return
    atomic.write(path, text)
