"""Reads and extends the files of the ledger, as a program of its own on the storage.

    python3 -I -S -c TEXT tail DIRECTORY BYTES
    python3 -I -S -c TEXT append DIRECTORY BYTES NAME
    python3 -I -S -c TEXT read DIRECTORY
    python3 -I -S -c TEXT key DIRECTORY
    python3 -I -S -c TEXT aside DIRECTORY NAME

The lines are in `entries.jsonl`, a checkpoint's note is in `checkpoints/SIZE.note`. BYTES is how long the
lines are that the caller knows. `tail` removes a line that its writer did not finish and prints what follows
behind BYTES; `append` takes lines from stdin, up to an empty one, and the note behind it, and has both on
disk before it ends. `read` and `key` follow no link and open nothing but plain files: what came from another
machine may hold anything.

    torn BYTES      a line's beginning was removed
    short BYTES     there are fewer bytes than the caller knows; nothing was done

Nothing but the standard library of Python 3.9. files.py beside it is the caller.
"""

from __future__ import annotations

import os
import stat
import sys

SHORT = 3
"""The exit status when there is less than the caller knows."""

STRANGE = 4
"""The exit status when there is something else in the place of a file."""

LINES, NOTES, PUBLIC = "entries.jsonl", "checkpoints", "key.pub"
_PIECE = 1 << 20


def main(verb: str, directory: str, *words: str) -> None:
    """One verb, as above."""
    lines, notes = os.path.join(directory, LINES), os.path.join(directory, NOTES)
    if verb == "tail":
        sys.stdout.write(tail(lines, int(words[0])))
    elif verb == "append":
        append(lines, notes, int(words[0]), words[1])
    elif verb == "read":
        read(directory)
    elif verb == "key":
        copy(directory, PUBLIC, _PIECE)
    else:
        for path in (lines, notes):
            if os.path.lexists(path):
                os.rename(path, f"{path}.{words[0]}")


def tail(path: str, known: int) -> str:
    """What follows behind the bytes that are known, in whole lines; a torn one is removed from the file."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    with open(descriptor, "r+b") as file:
        size = file.seek(0, os.SEEK_END)
        _refuse_if_short(size, known)
        file.seek(known)
        rest = file.read()
        whole = rest.rpartition(b"\n")[0] + b"\n" if b"\n" in rest else b""
        torn = len(rest) - len(whole)
        if torn:
            file.truncate(known + len(whole))
            os.fsync(file.fileno())
        return (f"torn {torn}\n" if torn else "") + whole.decode("ascii", "replace")


def _refuse_if_short(size: int, known: int) -> None:
    if size < known:
        print(f"short {size}")
        sys.exit(SHORT)


def append(path: str, notes: str, known: int, name: str) -> None:
    """The lines first: a note never stands for what is not on disk."""
    lines, _, note = sys.stdin.buffer.read().partition(b"\n\n")
    descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    with open(descriptor, "r+b") as file:
        size = file.seek(0, os.SEEK_END)
        _refuse_if_short(size, known)
        file.truncate(known)
        file.seek(known)
        if lines:
            file.write(lines + b"\n")
        file.flush()
        os.fsync(file.fileno())
    os.makedirs(notes, 0o755, exist_ok=True)
    new = os.path.join(notes, f".{name}.new")
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    with open(descriptor, "wb") as file:
        file.write(note)
        file.flush()
        os.fsync(file.fileno())
    os.rename(new, os.path.join(notes, name))
    for directory in (os.path.dirname(notes), notes):
        opened = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        os.fsync(opened)
        os.close(opened)


def read(directory: str) -> None:
    """All lines, an empty one, and all notes with an empty line behind each."""
    if copy(directory, LINES) not in (b"", b"\n"):
        sys.stdout.buffer.write(b"\n")  # its writer did not finish the last line
    notes = os.path.join(directory, NOTES)
    try:
        if not stat.S_ISDIR(os.lstat(notes).st_mode):
            _strange(notes)
    except FileNotFoundError:
        return
    for name in sorted(os.listdir(notes)):
        if name.endswith(".note") and not name.startswith("."):
            sys.stdout.buffer.write(b"\n")
            copy(notes, name, _PIECE)


def copy(directory: str, name: str, most: int = sys.maxsize) -> bytes:
    """A plain file to stdout, so many bytes at most; its last byte, nothing where there is none."""
    path = os.path.join(directory, name)
    try:
        if not stat.S_ISREG(os.lstat(path).st_mode):  # to open a device or a pipe does something
            _strange(path)
        opened = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return b""
    last = b""
    with open(opened, "rb") as file:
        while most > 0 and (piece := file.read(min(_PIECE, most))):
            sys.stdout.buffer.write(piece)
            most -= len(piece)
            last = piece[-1:]
    return last


def _strange(path: str) -> None:
    print(f"{path} is no plain file", file=sys.stderr)
    sys.exit(STRANGE)


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except OSError as error:
        sys.exit(f"{error.filename or 'the ledger'}: {error.strerror}")
