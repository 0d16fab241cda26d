"""ZFS's own words about what went wrong, and what the reader can do."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from zborg.errors import CommandFailed, TimedOut, Unreachable
from zborg.model.remedy import command, on

# What ZFS answers when a snapshot or dataset cannot go because it is used.
_IN_USE = ("held by ", "it's being held", "has dependent clones", "dataset is busy")
# The first that is found in the error text. Several are ZFS's words for more than one cause.
_REMEDIES = (
    (
        "refused by the sink: the forced command of this key is for",
        "ROOT in the forced command there (authorized_keys of the sink's account) has to be `dataset` of the "
        "target in zborg.toml here; this shows when it is:\nzborg replicate --dry-run",
    ),
    (
        "refused by the sink: it does not do",
        "its forced command names another dataset, or another version of zborg answers there:\n"
        "zborg doctor --only targets",
    ),
    ("pool or dataset is busy", "a process still uses it: fuser -vm MOUNTPOINT"),
    ("dataset is busy", "it is being sent or received, or a clone of it is made: try again later"),
    ("ermission denied", "run as root, or delegate it with zfs allow"),
    (
        "requires -L",
        "the copy there has large blocks and this stream none: set it aside, the next run sends all",
    ),
    (
        "raw receive on top of existing unencrypted",
        "the copy there is in the clear: set it aside, the next run sends everything raw",
    ),
    (
        "key must be loaded",
        "the copy there is encrypted: only raw streams, of an encrypted source, fit on it without its key",
    ),
    ("partially-complete state", "an earlier receive still runs there, or was left: try again later"),
    ("quota exceeded", "zfs get -r quota,refquota shows which one is full; then try again"),
    ("out of space", "make room in the pool or raise the quota (zfs list -o space), then try again"),
    ("no such pool", "is the pool imported? zpool import lists what is there"),
    ("currently scrubbing", "a scrub is running already"),
    ("currently resilvering", "wait for the resilver: zpool status"),
    ("dataset does not exist", "check the name: zfs list"),
)
_NOT_FOUND = 127  # of a shell, and of zborg's own runners


def says(error: CommandFailed, *words: str) -> bool:
    """Whether ZFS itself answered with any of these words; a lost connection or no time says nothing."""
    if isinstance(error, TimedOut | Unreachable):
        return False
    return any(word in error.stderr for word in words)


def says_only(error: CommandFailed, *words: str) -> bool:
    """The same of everything it could not do: of several snapshots it says one line for each that failed."""
    failures = [line for line in error.stderr.splitlines() if line.startswith("cannot ")]
    return says(error, *words) and all(any(word in line for word in words) for line in failures)


@contextmanager
def unless(*said: str, only: bool = False) -> Iterator[None]:
    """Failures with these words mean that it is done already; `only`: unless there are others beside."""
    try:
        yield
    except CommandFailed as error:
        if not (says_only if only else says)(error, *said):
            raise


def tidy(stderr: str) -> str:
    """Without the usage ZFS appends, and without its advice to destroy more."""
    lines = stderr.partition("\nusage:")[0].split("\n")
    return "\n".join(line for line in lines if not line.startswith("use '-"))


def _command(argv: Sequence[str]) -> list[str]:
    """Without the `env` and its settings before it."""
    return [word for word in argv if word != "env" and not re.fullmatch(r"[A-Z_]+=.*", word)]


def _users(dataset: str) -> str:
    """Commands that show all that can keep a snapshot: holds and clones, a stream, a process that stands in
    it (its link in proc(5) is the snapshot's path below .zfs)."""
    return on(
        f"the machine of {dataset}",
        command("zfs", "list", "-d", "1", "-t", "snapshot", "-o", "name,userrefs,clones", dataset),
        command("pgrep", "-af", "zfs (send|receive)"),
        command("find", "/proc", "-maxdepth", "3", "-lname", "*/.zfs/snapshot/*", "-printf", "%p %l\\n"),
    )


def explain(error: CommandFailed, argv: Sequence[str], note: str = "") -> CommandFailed:
    """The same failure in fewer words, with a remedy. Lost connections and timeouts stay as they are."""
    if isinstance(error, TimedOut | Unreachable):
        return error
    told = f"{note}\n{error.stderr}"
    remedy = next((remedy for words, remedy in _REMEDIES if words in told), error.remedy)
    if "destroy" in argv and any(words in told for words in _IN_USE):
        remedy = _users(argv[-1].partition("@")[0])
    if error.status == _NOT_FOUND:
        remedy = "is OpenZFS installed there, and its folder in the PATH?"
    what = " ".join(_command(argv)[:2]) + " failed" + (f" ({note})" if note else "")
    return CommandFailed(tuple(argv), error.status, tidy(error.stderr), what, remedy)
