"""What root does below a host's dataset, as a program of its own on the storage: no link is ever followed.

    python3 -I -S -c TEXT own ACCOUNT LIKE LOOK FIRST LAST
    python3 -I -S -c TEXT last-own ACCOUNT LIKE LOOK FIRST LAST
    python3 -I -S -c TEXT config
    python3 -I -S -c TEXT last
    python3 -I -S -c TEXT index

`last-own` prints the version that `own` finds and what `last` does; it does what `own` does where that is a
commit: nothing is given away in a dataset in which no backup was ever seen.

The directories stand on stdin, each ended by a NUL; on stdout is one line for each, its fields set apart by
spaces. Not JSON: the module takes longer to import than all else here, and every backup starts this twice.

A host's `borg serve` may write in its dataset, so code in it can put a link, a pipe or another directory in
the place of what root looked at a moment ago. So everything here is opened from the file descriptor of the
dataset's own directory, one component at a time, with O_NOFOLLOW; what is changed is what was opened.

Nothing but the standard library of Python 3.9. confine.py and repository.py beside it are the callers.
"""

from __future__ import annotations

import binascii
import os
import stat
import sys

DIRECTORY_MODE, CONFIG_MODE, PARENT_MODE = 0o1770, 0o640, 0o711
NO_ACCOUNT = 3
"""The exit status when the account that is to own a repository does not exist."""

_DEEPEST = 16  # a repository has data/NUMBER/SEGMENT
_DIGITS = 4  # of a version
_ID = 64  # hexadecimal digits of a repository's id
_MOST = 16384  # bytes: a config with a key is 1 KiB
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def main(verb: str, *options: str) -> None:
    """A line for each home on stdin (ended by NUL): what `own` did, or what was read there."""
    homes = sys.stdin.read().split("\0")[:-1]
    if verb in ("own", "last-own"):
        name, like, look, first, last = options
        account, numbers = _account(name) if name else None, Numbers(int(first), int(last), like)
        done = []
        for home in homes:
            line = last_line(home, "transactions") if verb == "last-own" else ""
            owned = "-"
            if verb == "own" or line.startswith("transaction "):
                owned = own(home, account or numbers.of(home), bool(look))
            done.append(owned if verb == "own" else f"{owned.rpartition(' ')[2]} {line}")
    elif verb == "config":
        done = [config(home) for home in homes]
    elif verb == "index":
        done = [index(home) for home in homes]
    else:
        done = [last_line(home, "transactions") for home in homes]
    sys.stdout.writelines(f"{line}\n" for line in done)


def _account(name: str) -> tuple[int, int]:
    import pwd

    try:
        found = pwd.getpwnam(name)
    except KeyError:
        sys.exit(NO_ACCOUNT)
    return found.pw_uid, found.pw_gid


# --- reading ------------------------------------------------------------------------------------------


def index(home: str) -> str:
    """Bytes of the largest file index.NUMBER in the dataset's directory, of any size; "-": none."""
    try:
        top = os.open(home, _DIRECTORY)
    except OSError:
        return "-"
    try:
        with os.scandir(top) as all_there:  # a host may have made millions
            named = (one for one in all_there if one.name.startswith("index.") and one.name[6:].isdigit())
            found = [one.stat(follow_symlinks=False) for one in named]
    except OSError:  # another one was written just now
        return "-"
    finally:
        os.close(top)
    return str(max((one.st_size for one in found if stat.S_ISREG(one.st_mode)), default="-"))


def last_line(home: str, name: str) -> str:
    """Of a plain file in the dataset's directory; "" for none. The host's words, in ASCII."""
    try:
        top = os.open(home, _DIRECTORY)
    except OSError:  # no directory, no file
        return ""
    lines = _end(top, name).rstrip(b"\n").rpartition(b"\n")
    os.close(top)
    return "".join(chr(byte) if 0x20 <= byte < 0x7F else "?" for byte in lines[2])


def config(home: str) -> str:
    """ID KEY VERSION of the repository, each "-" without; of a key only "key", that there is one."""
    try:
        top = os.open(home, _DIRECTORY)
    except OSError:  # no directory, no file
        return "- - -"
    try:
        found = _fields(top)
        number = found.get(b"id", b"")
        plain = len(number) == _ID and not number.strip(b"0123456789abcdef")
        key = "key" if b"key" in found else "-"
        return f"{number.decode('ascii') if plain else '-'} {key} {_version(top, found)}"
    finally:
        os.close(top)


def _fields(top: int) -> dict[bytes, bytes]:
    """Of its file `config`."""
    lines = (line.partition(b" = ") for line in _end(top, "config").split(b"\n"))
    return {name: value for name, _, value in lines if value}


def _version(top: int, found: dict[bytes, bytes]) -> str:
    """Of the repository's form, "-" where there is none. One of borg 2 has `packs`, and no file `config`."""
    try:
        if stat.S_ISDIR(os.stat("packs", dir_fd=top, follow_symlinks=False).st_mode):
            return "2"
    except OSError:
        pass
    version = found.get(b"version", b"")
    return version.decode("ascii") if version.isdigit() and len(version) <= _DIGITS else "-"


def _end(top: int, name: str) -> bytes:
    """The last bytes of the file."""
    file = _plain(top, name)
    if file is None:
        return b""
    with os.fdopen(file, "rb") as opened:
        opened.seek(max(0, os.fstat(file).st_size - _MOST))
        return opened.read(_MOST)


def _plain(top: int, name: str) -> int | None:
    """It opened, if it is a plain file and no link, pipe, socket or directory."""
    try:
        file = os.open(name, _FILE, dir_fd=top)
    except OSError:
        return None
    if stat.S_ISREG(os.fstat(file).st_mode):
        return file
    os.close(file)
    return None


# --- owning -------------------------------------------------------------------------------------------


class Numbers:
    """Which number each host has: its directory's group."""

    def __init__(self, first: int, last: int, like: str) -> None:
        self._first, self._last = first, last
        self._like = os.lstat(like).st_gid if like else 0

    def of(self, home: str) -> tuple[int, int]:
        """As (uid, gid): what it has; else one that no other host has. Of two alike the later one moves."""
        number = self._like if self._given(self._like) else self._own(home)
        return number, number

    def _own(self, home: str) -> int:
        parent, name = os.path.split(home)
        groups = {one.name: one.stat(follow_symlinks=False).st_gid for one in os.scandir(parent)}
        now = groups.pop(name)
        if self._given(now) and not any(gid == now and other < name for other, gid in groups.items()):
            return now
        # The same again after a kill, as long as nobody else took it.
        number = self._first + binascii.crc32(os.fsencode(home)) % (self._last - self._first + 1)
        while number in groups.values():
            number = number + 1 if number < self._last else self._first
        return number

    def _given(self, number: int) -> bool:
        return self._first <= number <= self._last


def own(home: str, owner: tuple[int, int], look: bool) -> str:
    """Give a repository away; its directory and `config` are root's. Returns UID CHANGED FILLED VERSION.

    The directory changes last: killed before, the next call does it again. `look` changes nothing.
    """
    top = os.open(home, _DIRECTORY)
    try:
        before = os.fstat(top)
        right = before.st_uid == 0 and before.st_gid == owner[1]
        changed = not right or stat.S_IMODE(before.st_mode) != DIRECTORY_MODE
        filled = not right and bool(os.listdir(top))
        if not look:
            if not right:
                _give(top, before.st_dev, owner)
            _take_config(top, owner[1])
            if changed:
                os.fchown(top, 0, owner[1])
                os.fchmod(top, DIRECTORY_MODE)
            _close_parent(home)
        return f"{owner[0]} {changed:d} {filled:d} {_version(top, _fields(top))}"
    finally:
        os.close(top)


def _give(top: int, device: int, owner: tuple[int, int], depth: int = 0) -> None:
    """Everything below; `config` is taken back afterwards, under whatever name it was given away."""
    if depth > _DEEPEST:
        sys.exit("deeper than a repository is")
    for name in os.listdir(top):
        found = os.stat(name, dir_fd=top, follow_symlinks=False)
        if found.st_dev != device:
            continue
        if (found.st_uid, found.st_gid) != owner:
            os.chown(name, *owner, dir_fd=top, follow_symlinks=False)
        if stat.S_ISDIR(found.st_mode):
            below = os.open(name, _DIRECTORY, dir_fd=top)
            try:
                _give(below, device, owner, depth + 1)
            finally:
                os.close(below)


def _take_config(top: int, group: int) -> None:
    """From the host that made it. What is no plain file was not made by borg."""
    file = _plain(top, "config")
    if file is None:
        return
    found = os.fstat(file)
    if (found.st_uid, found.st_gid) != (0, group):
        os.fchown(file, 0, group)  # first: who owns it could set the mode after us
    if stat.S_IMODE(os.fstat(file).st_mode) != CONFIG_MODE:
        os.fchmod(file, CONFIG_MODE)
    os.close(file)


def _close_parent(home: str) -> None:
    """Who is in one dataset does not list the others."""
    parent = os.open(os.path.dirname(home), _DIRECTORY)
    found = os.fstat(parent)
    if found.st_uid == 0 and stat.S_IMODE(found.st_mode) & 0o066:
        os.fchmod(parent, PARENT_MODE)
    os.close(parent)


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except OSError as error:
        sys.exit(f"{error.filename or 'a repository'}: {error.strerror}")
