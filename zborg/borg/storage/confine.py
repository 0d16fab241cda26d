"""Whose a repository is on the storage: `borg serve` may write in it, but not throw it away.

`--append-only` alone does not keep a host from that. borg 1.2.4 and 1.4.5 (tried): a host that speaks
borg's protocol itself opens its repository with create=True; that fails, but leaves an object for which
append-only is off, and its next call, `destroy`, removed every file. borg's destroy begins with the file
`config`. So that file belongs to root, in a directory that is root's and sticky: there one may remove or
replace only what is one's own. It also keeps a host from rewriting `config` (borg's save_key).

All else belongs to a number (uid and gid) that is this host's alone, or to the account where an sshd starts
`borg serve`. The number is the group of the directory: `stat -c %g /tank/borg/web1`. It is in the dataset
itself, so snapshots, copies off-site and a new server have it too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from zborg.borg.storage.below import NO_ACCOUNT
from zborg.errors import CommandFailed, ZborgError
from zborg.model import NUMBERS, Runner
from zborg.model.text.remedy import command, on

_CHANGING = 3600.0  # seconds: a repository of 50 TiB has a hundred thousand files


@dataclass(frozen=True, slots=True)
class Owned:
    """Whose files those of one repository are."""

    uid: int
    changed: bool  # now; or, when it was only looked at, that it has to be
    filled: bool  # and there were files that had to be given away
    version: int = 0  # of the repository's form, by its files; 0: there is none


def confine(
    storage: Runner, homes: Sequence[str], account: str = "", *, like: str = "", look: bool = False
) -> dict[str, Owned]:
    """Give these repositories' files to a number of their own each, or to `account`; root has the rest.

    `storage` runs as root there. Idempotent, and heals what was killed half-way. The caller holds the host's
    lock. `like` is a repository whose number is taken over, `look` changes nothing. Raises ZborgError when
    there is no such account.
    """
    lines = (line.split(" ") for line in _own(storage, homes, "own", account, like, look=look))
    return {
        home: Owned(int(uid), changed == "1", filled == "1", int(version) if version != "-" else 0)
        for home, (uid, changed, filled, version) in zip(homes, lines, strict=True)
    }


def confine_begun(storage: Runner, homes: Sequence[str], account: str = "") -> list[str]:
    """Confine those in which there was a commit; of each its version, and the last line of `transactions`.

    "1 transaction 17, UTC time ..."; "- " and that line where there was no commit. One command for what
    begins every backup. Raises as confine().
    """
    return _own(storage, homes, "last-own", account)


def _own(
    storage: Runner, homes: Sequence[str], verb: str, account: str, like: str = "", *, look: bool = False
) -> list[str]:
    if not homes:
        return []
    options = (account, like, "look" if look else "", str(NUMBERS.start), str(NUMBERS.stop - 1))
    try:
        return below(storage, homes, verb, *options, timeout=_CHANGING)
    except CommandFailed as error:
        if error.status != NO_ACCOUNT:
            raise
        raise ZborgError(
            f"there is no user {account} on the storage",
            on("the storage", command("useradd", "--system", account)),
        ) from error


def below(storage: Runner, homes: Sequence[str], *words: str, timeout: float = 60) -> list[str]:
    """Run below.py on the storage, which needs python3; a line for each of `homes`. Raises ZborgError."""
    text = (Path(__file__).parent / "below.py").read_text(encoding="utf-8")
    argv, stdin = ["python3", "-I", "-S", "-c", text, *words], "".join(f"{home}\0" for home in homes)
    try:
        return storage.run(argv, timeout=timeout, stdin=stdin).stdout.split("\n")[:-1]
    except CommandFailed as error:
        if error.status != _NOT_FOUND:
            raise
        raise ZborgError(
            "the storage has no python3, with which zborg looks into repositories", _INSTALL
        ) from error


_NOT_FOUND = 127  # of a shell, and of our own Runner
_INSTALL = on("the storage", command("apt-get", "install", "python3"))
