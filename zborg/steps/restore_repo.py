"""restore repo: one host's whole repository, as it was in a snapshot, copied to zborg's machine.

For whoever holds the host's key and its passphrase: what is copied is ciphertext, and no key is
needed to copy it. The data goes from one tar to the other by a pipe.
"""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from zborg.errors import CommandFailed, UsageError, ZborgError
from zborg.model import Event, Outcome, Report, Snapshot, Status
from zborg.model.words import counted
from zborg.state.locks import Lock
from zborg.steps.clones import STORAGE, Place, Source, chosen, clone, place_of
from zborg.steps.context import Begun, Context, begin, select_hosts
from zborg.steps.fetch import at_hand, failed
from zborg.streams import chain, pump

# A repository of some TiB over a slow line; a dead line is noticed by ssh's keepalives.
_LONGEST = 14 * 86400.0
_ARRIVING = 3600.0  # what the reader sent is still in pipes and buffers, or on its way to a slow disk
_KEPT = 10  # lines of each side's words


@dataclass(frozen=True)
class Wanted:
    """What the command line asks for."""

    host: str
    to: Path
    at: str = ""
    source: Source = STORAGE


def restore_repo(context: Context, wanted: Wanted, *, dry_run: bool = False) -> Report:
    """Copy a repository into a directory, absent or empty, on this machine.

    Raises UsageError before anything is made. What a copy that failed brought is removed again: a part
    of a repository must not pass for the whole.
    """
    (host,) = select_hosts(context.config, [wanted.host])
    place, to = place_of(context, host, wanted.source), Path(wanted.to).absolute()
    _check_room(to)
    begun = begin(context, "restore repo")
    snapshot = chosen(begun, place.snapshots(), wanted.at)
    if dry_run:
        return begun.report((), [*_first(place, snapshot), f"copy its files to {to}"])
    context.emit(Event("started", host.name))
    context.emit(Event("warning", host.name, f"copying {snapshot.full}{place.where} to {to}"))
    report = begun.report([_copied(begun, place, snapshot, to)])
    context.runs.save(report)
    return report


def _first(place: Place, snapshot: Snapshot) -> list[str]:
    if not place.reader:
        return [f"clone {snapshot.full}{place.where}"]
    return [f"fetch {snapshot.full}{place.where} into the storage's scratch", "clone it there"]


def _check_room(to: Path) -> None:
    if to.is_symlink() or (to.exists() and (not to.is_dir() or any(to.iterdir()))):
        raise UsageError(
            f"--to {to}: is there, and not an empty directory", "give a new one; nothing was copied"
        )
    if not to.parent.is_dir():
        raise UsageError(
            f"--to {to}: there is no directory {to.parent}", f"mkdir -p {shlex.quote(str(to.parent))}"
        )


def _copied(begun: Begun, place: Place, snapshot: Snapshot, to: Path) -> Outcome:
    try:
        with (
            begun.context.locks.hold(f"restore-{place.host}") as lock,
            at_hand(begun, place, snapshot, lock) as (near, copy),
            clone(begun, near, copy) as home,
            _all_or_nothing(to),
        ):
            files = _Copy(begun, near, lock).run(home, to)
    except (ZborgError, OSError) as error:
        return failed(place, error)
    message = f"the repository as of {snapshot.raw}{place.where} is in {to}, {counted(files, 'file')}"
    data = {"snapshot": snapshot.full, "restored": str(to), "copied_files": files, "commands": _next(to)}
    remedy = 'with the host\'s exported key and passphrase (README, "The host is gone"):'
    return Outcome("host", place.host, Status.OK, message, remedy, data)


def _next(to: Path) -> list[str]:
    where = shlex.quote(str(to))
    return [f"borg key import {where} KEYFILE", f"borg list {where}"]


@contextmanager
def _all_or_nothing(to: Path) -> Iterator[None]:
    """The directory, for root alone; emptied again, and removed if we made it, when the copy fails."""
    made = not to.exists()
    if made:
        to.mkdir(mode=0o700)
    try:
        yield
        to.chmod(0o700)  # tar gave it the mode of the repository's own directory
    except BaseException:
        for entry in list(to.iterdir()):
            shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()
        if made:
            to.rmdir()
        raise


class _Copy:
    """tar on the storage, tar here. The reader names each file as it goes, and that is the progress."""

    def __init__(self, begun: Begun, place: Place, lock: Lock) -> None:
        self._begun, self._place, self._lock = begun, place, lock
        self._files = 0
        self._said: dict[str, list[str]] = {"read": [], "write": []}

    def run(self, home: str, to: Path) -> int:
        """The number of files copied."""
        reading = ["tar", "-C", home, "-cvf", "-", "."]
        # As whoever runs this, not as the numbers that the files belong to over there.
        writing = ["tar", "-C", str(to), "-xof", "-"]
        null = os.open(os.devnull, os.O_RDWR)
        try:
            pair = chain(
                lambda out: self._place.machine.start(reading, stdin=null, stdout=out),
                lambda into: self._begun.context.local.start(writing, stdin=into, stdout=null),
            )
        finally:
            os.close(null)
        children = dict(zip(self._said, pair, strict=True))
        after = {"read": _ARRIVING}
        statuses = pump(children, self._listen, timeout=_LONGEST, adopt=self._lock.adopt, after=after)
        for who, status in reversed(statuses.items()):  # a writer that fails breaks the reader's pipe
            if status:
                words = "\n".join(self._said[who])
                raise CommandFailed((f"tar ({who})",), status, words, remedy="is there room, here and there?")
        return self._files

    def _listen(self, who: str, line: str) -> None:
        name = line.removeprefix("a ")  # FreeBSD's tar begins with it
        if who == "read" and name.startswith("./"):
            self._files += not name.endswith("/")
            self._begun.context.emit(Event("progress", self._place.host, data={"files": self._files}))
        else:
            self._said[who] = [*self._said[who][-_KEPT:], line]
