"""Makes a repository again what it is in a snapshot of it, as a program of its own on the storage.

    python3 -I -S -c TEXT

On stdin is JSON: {"wall": the text of wall.py, "home": the repository, "snapshot": a directory with its
files as they were, "last": the last transaction in that}. It runs as root, and does all but the configuration
as the user whose files they are, who may write below `home`, read below `snapshot`, and nothing else
(Landlock).

Segments behind `last` are removed, those that are missing or different are copied; index and hints come from
the snapshot. The nonce stays: a client must never use one twice. Killed anywhere, the next call finishes it.
Nobody else may use the repository meanwhile. It prints "restored FILES BYTES removed FILES".

Nothing but the standard library of Python 3.9. rollback.py beside it is the caller.
"""

from __future__ import annotations

import contextlib
import filecmp
import json
import os
import shutil
import stat
import sys
import types
from collections.abc import Iterator
from typing import Any

_NUMBERED = ("index", "hints", "integrity")
_PIECE = 1 << 20


def main() -> int:
    """Returns the exit status."""
    asked = json.load(sys.stdin)
    wall: Any = types.ModuleType("wall")
    exec(compile(asked["wall"], "wall.py", "exec"), wall.__dict__)
    work = Rollback(asked["home"], asked["snapshot"], int(asked["last"]))
    work.configuration()
    owner = os.stat(os.path.join(asked["home"], "data"), follow_symlinks=False)
    sys.stdout.flush()
    pid = os.fork()
    if pid:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    try:
        if owner.st_uid and not os.geteuid():
            os.setgroups([])
            os.setresgid(owner.st_gid, owner.st_gid, owner.st_gid)
            os.setresuid(owner.st_uid, owner.st_uid, owner.st_uid)
        wall.read_and_write(asked["home"], asked["snapshot"])
        work.files()
        print(f"restored {work.copied} {work.bytes} removed {work.removed}", flush=True)
    except OSError as error:
        print(f"{error.filename or asked['home']}: {error.strerror}", file=sys.stderr, flush=True)
        os._exit(3)
    os._exit(0)


class Rollback:
    """One repository. Counts what it does; bytes are of the files that were copied."""

    def __init__(self, home: str, snapshot: str, last: int) -> None:
        self._home, self._snapshot, self._last = home, snapshot, last
        self.copied = self.bytes = self.removed = 0

    def configuration(self) -> None:
        """Root's own file, which only root may write."""
        here, there = os.path.join(self._home, "config"), os.path.join(self._snapshot, "config")
        if _is_plain(there) and not _is_same(here, there):
            self._copy(there, here)
            found = os.stat(there, follow_symlinks=False)
            os.chown(here, found.st_uid, found.st_gid, follow_symlinks=False)
            os.chmod(here, stat.S_IMODE(found.st_mode))

    def files(self) -> None:
        """All else."""
        here, there = dict(_segments(self._home)), dict(_segments(self._snapshot))
        wanted = {number: path for number, path in there.items() if number <= self._last}
        for number in sorted(set(here) - set(wanted), reverse=True):
            self._remove(os.path.join(self._home, here[number]))
        for number in sorted(wanted):
            self._bring(wanted[number])
        for name in (*self._numbered(self._home), "lock.exclusive", "lock.roster"):
            if name not in self._numbered(self._snapshot):
                self._remove(os.path.join(self._home, name))
        for name in self._numbered(self._snapshot):
            self._bring(name)
        if _is_plain(os.path.join(self._snapshot, "transactions")):
            self._bring("transactions")
        self._nonce()
        _flush(self._home)

    def _numbered(self, root: str) -> list[str]:
        """The files that borg makes anew with each transaction."""
        return sorted(name for name in os.listdir(root) if name.partition(".")[0] in _NUMBERED)

    def _bring(self, name: str) -> None:
        here, there = os.path.join(self._home, name), os.path.join(self._snapshot, name)
        if not _is_same(here, there):
            os.makedirs(os.path.dirname(here), 0o700, exist_ok=True)
            self._copy(there, here)

    def _copy(self, there: str, here: str) -> None:
        """Whole or not at all."""
        new = f"{here}.new"
        with contextlib.suppress(FileNotFoundError):
            os.unlink(new)
        source = os.open(there, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(source, "rb") as file:
            target = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            with open(target, "wb") as copy:
                shutil.copyfileobj(file, copy, _PIECE)
                copy.flush()
                os.fsync(copy.fileno())
                self.bytes += copy.tell()
        os.rename(new, here)
        self.copied += 1

    def _remove(self, path: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            if os.path.isdir(path) and not os.path.islink(path):
                shutil.rmtree(path)
            else:
                os.unlink(path)
            self.removed += 1

    def _nonce(self) -> None:
        """The greater one of both."""
        here, there = os.path.join(self._home, "nonce"), os.path.join(self._snapshot, "nonce")
        if _nonce_in(there) > _nonce_in(here):
            self._copy(there, here)


def _segments(root: str) -> Iterator[tuple[int, str]]:
    """Number and path below `root` of each, by the names that borg gives them."""
    data = os.path.join(root, "data")
    for folder in os.listdir(data):
        if not folder.isdigit() or not os.path.isdir(os.path.join(data, folder)):
            continue
        for name in os.listdir(os.path.join(data, folder)):
            if name.isascii() and name.isdigit() and len(name) <= 10:
                yield int(name), os.path.join("data", folder, name)


def _is_plain(path: str) -> bool:
    with contextlib.suppress(OSError):
        return stat.S_ISREG(os.stat(path, follow_symlinks=False).st_mode)
    return False


def _is_same(here: str, there: str) -> bool:
    """By the inode, whose ctime nobody can set back; else by what is in it."""
    if not _is_plain(here):
        return False
    one, two = os.stat(here, follow_symlinks=False), os.stat(there, follow_symlinks=False)
    if (one.st_ino, one.st_size, one.st_ctime_ns) == (two.st_ino, two.st_size, two.st_ctime_ns):
        return True
    return one.st_size == two.st_size and filecmp.cmp(here, there, shallow=False)


def _nonce_in(path: str) -> int:
    """-1 for a file that has none."""
    try:
        with open(path, "rb") as file:  # bytes: behind the wall no module of another encoding can be loaded
            return int(file.read(64).strip(), 16)
    except (OSError, ValueError):
        return -1


def _flush(root: str) -> None:
    """The directories: a file that was renamed is there after a power cut too."""
    data = os.path.join(root, "data")
    folders = [os.path.join(data, name) for name in os.listdir(data)]
    for path in (*filter(os.path.isdir, folders), data, root):
        opened = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        os.fsync(opened)
        os.close(opened)


if __name__ == "__main__":
    sys.exit(main())
