"""Makes a repository again what it is in a snapshot of it, as a program of its own on the storage.

    python3 -I -S -c TEXT

On stdin is JSON: {"wall": the text of wall.py, "home": the repository, "snapshot": a directory with its
files as they were, "last": the last transaction in that, "nonce": the greatest that was ever seen}. It runs
as root, and does all but the configuration as the user whose files they are, who may write below `home`, read
below `snapshot`, and nothing else (Landlock).

Whatever is no file of the snapshot is removed, segments behind `last` too; what is missing or different is
copied. The nonce only grows: a client must never use one twice. Killed anywhere, the next call finishes it.
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
from typing import IO, Any

_PIECE = 1 << 20


def main() -> int:
    """Returns the exit status."""
    asked = json.load(sys.stdin)
    wall: Any = types.ModuleType("wall")
    exec(compile(asked["wall"], "wall.py", "exec"), wall.__dict__)
    work = Rollback(asked["home"], asked["snapshot"], int(asked["last"]), int(asked["nonce"]))
    work.configuration()
    owner = os.stat(os.path.join(asked["snapshot"], "data"), follow_symlinks=False)
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

    def __init__(self, home: str, snapshot: str, last: int, nonce: int) -> None:
        self._home, self._snapshot, self._last, self._least = home, snapshot, last, nonce
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
        wanted = self._wanted()
        for name in os.listdir(self._home):
            if name not in ("config", "data", ".zfs") and name not in wanted:
                self._remove(os.path.join(self._home, name))
        folders = {"data", *(os.path.dirname(name) for name in wanted if "/" in name)}
        for folder in sorted(folders):
            self._make(os.path.join(self._home, folder))
        for folder in sorted(folders):
            for name in os.listdir(os.path.join(self._home, folder)):
                path = os.path.join(folder, name)
                if path not in wanted and path not in folders:
                    self._remove(os.path.join(self._home, path))
        for name in sorted(wanted):
            self._bring(name)
        self._nonce()
        _flush(self._home)

    def _wanted(self) -> set[str]:
        """The files of the snapshot, below it, but those that are handled on their own."""
        tops = {name for name in os.listdir(self._snapshot) if _is_plain(os.path.join(self._snapshot, name))}
        segments = {path for number, path in _segments(self._snapshot) if number <= self._last}
        return segments | (tops - {"config", "nonce"})

    def _make(self, path: str) -> None:
        """A directory, in the place of whatever is there."""
        if os.path.islink(path) or not os.path.isdir(path):
            self._remove(path)
            os.mkdir(path, 0o700)

    def _bring(self, name: str) -> None:
        here, there = os.path.join(self._home, name), os.path.join(self._snapshot, name)
        if not _is_same(here, there):
            self._copy(there, here)

    def _copy(self, there: str, here: str) -> None:
        """Whole or not at all."""
        source = os.open(there, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(source, "rb") as file, self._new(here) as copy:
            shutil.copyfileobj(file, copy, _PIECE)
            copy.flush()
            os.fsync(copy.fileno())
            self.bytes += copy.tell()
        self._rename(here)

    def _new(self, here: str) -> IO[bytes]:
        self._remove(f"{here}.new")
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        return open(os.open(f"{here}.new", flags, 0o600), "wb")

    def _rename(self, here: str) -> None:
        if not _is_plain(here):
            self._remove(here)
        os.rename(f"{here}.new", here)
        self.copied += 1

    def _remove(self, path: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            if os.path.isdir(path) and not os.path.islink(path):
                shutil.rmtree(path)
            else:
                os.unlink(path)
            self.removed += 1

    def _nonce(self) -> None:
        """The greatest that there is, or ever was."""
        here, there = os.path.join(self._home, "nonce"), os.path.join(self._snapshot, "nonce")
        greatest = max(_nonce_in(here), _nonce_in(there), self._least)
        if greatest > _nonce_in(here):
            with self._new(here) as file:
                file.write(b"%016x" % greatest)
                file.flush()
                os.fsync(file.fileno())
            self._rename(here)


def _segments(root: str) -> Iterator[tuple[int, str]]:
    """Number and path below `root` of each, by the names that borg gives them."""
    data = os.path.join(root, "data")
    for folder in os.listdir(data):
        if not folder.isdigit() or not os.path.isdir(os.path.join(data, folder)):
            continue
        for name in os.listdir(os.path.join(data, folder)):
            if name.isascii() and name.isdigit() and len(name) <= 10 and str(int(name)) == name:
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
    if not _is_plain(path):
        return -1
    try:
        number = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(number, "rb") as file:  # bytes: behind the wall no module of another encoding can be loaded
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
