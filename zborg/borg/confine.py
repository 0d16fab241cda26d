"""Whose a repository is on the storage: `borg serve` may write in it, but not throw it away.

`--append-only` alone does not keep a host from that. borg 1.2.4 and 1.4.5 (tried): a host that speaks
borg's protocol itself opens its repository with create=True; that fails, but leaves an object for which
append-only is off, and its next call, `destroy`, removed every file. borg's destroy begins with the file
`config`. So that file belongs to root, in a directory that is root's and sticky: there one may remove or
replace only what is one's own. It also keeps a host from rewriting `config` (borg's save_key).
"""

from __future__ import annotations

from collections.abc import Sequence

from zborg.errors import CommandFailed, ZborgError
from zborg.model import Runner

_MODE = "1770"


def confine(storage: Runner, homes: Sequence[str], user: str) -> set[str]:
    """Make these repositories' directories the user's to write in, and root's. Returns the changed ones.

    `storage` runs as root there. Idempotent: three commands when nothing is to do. Raises ZborgError
    when there is no such user.
    """
    if not homes:
        return set()
    group = _group(storage, user)
    right = ["-user", "0", "-group", group, "-perm", _MODE]
    strangers = storage.run(["find", *homes, "-prune", "!", "(", *right, ")"]).stdout.splitlines()
    if strangers:
        storage.run(["chown", f"0:{group}", *strangers])
        storage.run(["chmod", _MODE, *strangers])
    _take_config(storage, homes, group)
    return set(strangers)


def _take_config(storage: Runner, homes: Sequence[str], group: str) -> None:
    """From the user who made it. What is no file was not made by borg, and no link of his is followed."""
    found = ["find", *homes, "-maxdepth", "1", "-name", "config", "-type", "f", "!", "-user", "0"]
    storage.run(
        [*found, "-exec", "chmod", "0640", "{}", "+", "-exec", "chown", "-h", f"0:{group}", "{}", "+"]
    )


def _group(storage: Runner, user: str) -> str:
    """The number of the user's own group."""
    try:
        return storage.run(["id", "-g", user]).stdout.strip()
    except CommandFailed as error:
        if error.retryable or error.status != 1:
            raise
        raise ZborgError(f"there is no user {user} on the storage", f"useradd --system {user}") from error
