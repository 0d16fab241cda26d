"""ZFS's own words about what went wrong, and what the reader can do."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from zborg.errors import CommandFailed, HasChildren, SinkRefused, TimedOut, Unreachable
from zborg.model.codes import Sink
from zborg.model.codes.lines import sink_code, without_codes
from zborg.model.text.remedy import command, on, remedy

# What ZFS answers when a snapshot or dataset cannot go because it is used.
_IN_USE = ("held by ", "it's being held", "has dependent clones", "dataset is busy")
# The first that is found in the error text. Several are ZFS's words for more than one cause.
_REMEDIES = (
    (
        "pool or dataset is busy",
        remedy("zfs list -o name,mounted,mountpoint", first="a process stands in one of these; end it:"),
    ),
    (
        "dataset is busy",
        remedy("pgrep -af 'zfs (send|receive)'", first="a stream or a clone uses it; on its machine:"),
    ),
    ("ermission denied", remedy("zborg doctor --only targets", first="it is not root's, nor delegated:")),
    (
        "partially-complete state",
        "an earlier receive still runs there, or was cut: the next run goes on from it",
    ),
    (
        "quota exceeded",
        remedy("zfs get -r quota,refquota", first="on that machine, this shows which one is full:"),
    ),
    (
        "out of space",
        remedy("zfs list -o space", first="on that machine, make room; this shows who uses it:"),
    ),
    (
        "no such pool",
        remedy("zpool import", first="on that machine, this lists pools that are not imported:"),
    ),
    ("currently scrubbing", "a scrub is running already"),
    ("currently resilvering", remedy("zpool status", first="wait for the resilver:")),
    ("dataset does not exist", "zfs list"),
)
_CHILDREN = "dataset already exists"  # where a partial receive cannot go because of them
_OF_SINK = {
    Sink.ROOT: remedy(
        "zborg replicate --dry-run",
        first="ROOT in the forced command there (authorized_keys of the sink's account) has to be "
        "`dataset` of the target in zborg.toml here; this shows when it is:",
    ),
    Sink.COMMAND: remedy(
        "zborg doctor --only targets",
        first="its forced command names another dataset, or another version of zborg answers there:",
    ),
}
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
def unless(*output: str, only: bool = False) -> Iterator[None]:
    """Failures with these words mean that it is done already; `only`: unless there are others beside."""
    try:
        yield
    except CommandFailed as error:
        if not (says_only if only else says)(error, *output):
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
    """The same failure in fewer words, with a remedy. Lost connections and timeouts stay as they are.

    A SinkRefused or HasChildren where it was that.
    """
    if isinstance(error, TimedOut | Unreachable):
        return error
    parts = f"{note}\n{error.stderr}"
    advice = next((known for words, known in _REMEDIES if words in parts), error.remedy)
    if "destroy" in argv and any(words in parts for words in _IN_USE):
        advice = _users(argv[-1].partition("@")[0])
    if error.status == _NOT_FOUND:
        advice = remedy(
            "zborg doctor --only zfs", first="OpenZFS is not installed there, or not in the PATH:"
        )
    what = " ".join(_command(argv)[:2]) + " failed" + (f" ({note})" if note else "")
    if _command(argv)[:3] == ["zfs", "receive", "-A"] and _CHILDREN in error.stderr:
        return HasChildren(tuple(argv), error.status, tidy(error.stderr), what, advice)
    if code := sink_code(error.stderr):
        stderr, advice = tidy(without_codes(error.stderr)), _OF_SINK.get(code, advice)
        return SinkRefused(tuple(argv), error.status, stderr, what, advice, code=code)
    return CommandFailed(tuple(argv), error.status, tidy(error.stderr), what, advice)
