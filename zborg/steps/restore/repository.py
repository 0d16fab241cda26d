"""restore repo: one host's whole repository, as it was in a snapshot, copied to zborg's machine.

For the holder of the host's key and its passphrase: what is copied is ciphertext, and no key is
needed to copy it. The data goes by a pipe from tar to zborg/unpack.py, a process of its own.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from zborg.errors import CommandFailed, UsageError, ZborgError
from zborg.model import Outcome, Report, Snapshot, Status
from zborg.model.events import Progress, Started, Warned
from zborg.model.results import CopiedRepository
from zborg.model.text.remedy import command, on, quoted
from zborg.model.text.units import counted
from zborg.state.locks import Lock
from zborg.steps.context import StepRun
from zborg.steps.restore.fetch import at_hand, failed
from zborg.steps.restore.interrupted import restore_lock
from zborg.steps.restore.source import STORAGE, Place, Source, chosen, clone, host_named, place_of
from zborg.streams import chain, pump

# A repository of some TiB over a slow line; a dead line is noticed by ssh's keepalives.
_LONGEST = 14 * 86400.0
_ARRIVING = 3600.0  # what the reader sent is still in pipes and buffers, or on its way to a slow disk
_KEPT = 10  # lines of each side
_UNPACK = Path(__file__).parents[2] / "unpack.py"


@dataclass(frozen=True)
class Request:
    """What the command line asks for."""

    host: str
    to: Path
    at: str = ""
    source: Source = STORAGE


def restore_repo(run: StepRun, request: Request) -> Report:
    """Copy a repository into a directory, absent or empty, on this machine.

    Raises UsageError before anything is made. What a copy that failed brought is removed again: a part
    of a repository must not pass for the whole.
    """
    context = run.context
    host = host_named(context, request.host, request.source)
    place, to = place_of(context, host, request.source), Path(request.to).absolute()
    _check_room(to)
    snapshot = chosen(run, place.snapshots(), request.at)
    if run.dry_run:
        return run.planned([*_first(place, snapshot), f"copy its files to {to}"])
    context.emit(Started(host))
    context.emit(Warned(host, f"copying {snapshot.full}{place.where} to {to}"))
    return run.recorded([_copied(run, place, snapshot, to)])


def _first(place: Place, snapshot: Snapshot) -> list[str]:
    if not place.reader:
        return [f"clone {snapshot.full}{place.where}"]
    return [f"fetch {snapshot.full}{place.where} into the storage's scratch", "clone it there"]


def _check_room(to: Path) -> None:
    if to.is_symlink() or (to.exists() and (not to.is_dir() or any(to.iterdir()))):
        raise UsageError(f"--to {to}: is there, and not an empty directory", command("ls", "-la", str(to)))
    if to.exists() and to.stat().st_uid != os.geteuid():
        raise UsageError(f"--to {to}: is another user's directory", command("ls", "-lad", str(to)))
    if not to.parent.is_dir():
        raise UsageError(
            f"--to {to}: there is no directory {to.parent}", command("mkdir", "-p", str(to.parent))
        )


def _copied(run: StepRun, place: Place, snapshot: Snapshot, to: Path) -> Outcome:
    made = not to.exists()
    try:
        to.mkdir(mode=0o700, exist_ok=True)
        to.chmod(0o700)
        with (
            run.context.locks.hold(restore_lock(place.host)) as lock,
            at_hand(run, place, snapshot, lock) as (near, copy),
            clone(run, near, copy) as home,
        ):
            copied = _Copy(run, near, lock).execute(home, to)
    except (ZborgError, OSError) as error:
        return _cleared(to, failed(place, error), made=made)
    except BaseException:
        _clear(to, made=made)
        raise
    message = (
        f"the repository as of {snapshot.snapname}{place.where} is in {to}, {counted(copied.files, 'file')}"
    )
    result = CopiedRepository(
        snapshot=snapshot.full,
        restored=str(to),
        copied_files=copied.files,
        commands=_next(to),
        skipped=copied.skipped,
    )
    remedy = 'with the host\'s exported key and passphrase (README, "The host is gone"):'
    if not copied.skipped:
        return Outcome("host", place.host, Status.OK, message, remedy, result)
    names = ", ".join(map(quoted, copied.names))
    message += f"; left out, neither files nor directories: {copied.skipped} ({names})"
    return Outcome("host", place.host, Status.WARNING, message, remedy, result)


def _next(to: Path) -> tuple[str, ...]:
    return command("borg", "key", "import", str(to), "KEYFILE"), command("borg", "list", str(to))


def _cleared(to: Path, outcome: Outcome, *, made: bool) -> Outcome:
    """Of a copy that failed, after what it brought is removed; what could not be is reported."""
    if not (left := _clear(to, made=made)):
        return outcome
    message = f"{outcome.message}; what was copied could not be removed, it stays in {to}: {left}"
    again = command("find", str(to), "-xdev", "-mindepth", "1", "-delete")
    return replace(outcome, message=message, remedy=on("this machine", again))


def _clear(to: Path, *, made: bool) -> str:
    """Empty it, and remove it if this run made it. Returns why something stays, "" when nothing does."""
    if mounted := next((one for one in _mounts() if to in one.parents or to == one), None):
        return f"something is mounted on {mounted}"
    for entry in list(to.iterdir()) if to.is_dir() else []:
        shutil.rmtree(entry, ignore_errors=True)
        with suppress(OSError):
            entry.unlink()
    try:
        if made and to.exists():
            to.rmdir()
        return "" if not to.exists() or not any(to.iterdir()) else "not empty"
    except OSError as error:
        return str(error.strerror)


def _mounts() -> list[Path]:
    """Where file systems are mounted here (proc(5), mountinfo); [] where the system does not show it."""
    try:
        rows = Path("/proc/self/mountinfo").read_text(errors="surrogateescape").splitlines()
    except OSError:
        return []
    return [Path(re.sub(r"\\([0-7]{3})", lambda one: chr(int(one[1], 8)), row.split()[4])) for row in rows]


@dataclass(frozen=True)
class _Copied:
    """What zborg/unpack.py reports."""

    files: int = 0
    skipped: int = 0
    names: tuple[str, ...] = ()


class _Copy:
    """tar on the storage, unpack.py here. tar names each file as it goes, and that is the progress."""

    def __init__(self, run: StepRun, place: Place, lock: Lock) -> None:
        self._run, self._place, self._lock = run, place, lock
        self._files = 0
        self._heard: dict[str, list[str]] = {"read": [], "write": []}

    def execute(self, home: str, to: Path) -> _Copied:
        """Raises CommandFailed of the end that is to blame."""
        reading = ["tar", "-C", home, "-cvf", "-", "."]
        # A host wrote these files, another machine sends them: only contents and names are taken.
        writing = [sys.executable, "-I", "-S", str(_UNPACK), str(to)]
        null = os.open(os.devnull, os.O_RDWR)
        try:
            pair = chain(
                lambda out: self._place.machine.runner.start(reading, stdin=null, stdout=out),
                lambda into: self._run.context.here.start(writing, stdin=into, stdout=null),
            )
        finally:
            os.close(null)
        children = dict(zip(self._heard, pair, strict=True))
        after = {"read": _ARRIVING}
        statuses = pump(children, self._listen, timeout=_LONGEST, adopt=self._lock.adopt, after=after)
        for who, status in reversed(statuses.items()):  # a writer that fails breaks the reader's pipe
            if status:
                raise self._failure(who, status, to)
        return self._counted()

    def _counted(self) -> _Copied:
        facts = json.loads(self._heard["write"][-1])
        return _Copied(facts["files"], facts["skipped"], tuple(facts["names"]))

    def _failure(self, who: str, status: int, to: Path) -> CommandFailed:
        words = "\n".join(self._heard[who])
        if who == "write":
            look = command("df", "-h", str(to.parent))
            return CommandFailed(("unpack",), status, words, f"unpacking into {to} failed", look)
        where = self._place.where or " on the storage"
        look = command("zborg", "doctor", self._place.host)
        return CommandFailed(("tar",), status, words, f"reading the snapshot{where} failed", look)

    def _listen(self, who: str, lines: Sequence[str]) -> None:
        others, before = [], self._files
        for line in lines:
            name = line.removeprefix("a ")  # FreeBSD's tar begins with it
            if who == "read" and name.startswith("./"):
                self._files += not name.endswith("/")
            else:
                others.append(line)
        if self._files > before:
            self._run.context.emit(Progress(self._place.host, files=self._files))
        self._heard[who] = [*self._heard[who], *others][-_KEPT - 1 :]
