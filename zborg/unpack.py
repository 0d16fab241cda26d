"""A program that unpacks a tar stream from another machine: `python3 -I -S unpack.py DIR <STREAM`

Nothing of the sender is trusted. Only plain files and directories are made, with the caller as owner, modes
0600 and 0700, no times and no attributes. Links, devices, FIFOs and sparse files are left out and reported;
a further name of a file (a hard link) becomes a copy. An entry that leads out of the directory, a name that
comes twice, or a stream without its end ends the work. tarfile parses; the memory of this process is
limited, because a header may claim any length.

The last line on stderr is {"files": N, "skipped": N, "names": [at most ten of those]}. Exit status 1 and the
reason instead, when it refuses or cannot write. It imports nothing of the project and no site-packages.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import sys
import tarfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Self

_MEMORY = 512 << 20  # bytes of address space
_CHUNK = 64 << 10  # smaller than what malloc maps anew each time: 1 MiB took three times as long
_PLAIN = (tarfile.REGTYPE, tarfile.AREGTYPE)
_SHOWN = 10
_REST = 1 << 20


class Refused(Exception):
    """The stream holds what no honest sender would put there."""


class StrictInfo(tarfile.TarInfo):
    """TarFile takes a broken header, or none at all, for the end of the archive: here it is an error."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        """As TarInfo's, but raises Refused for a broken header."""
        try:
            return super().frombuf(buf, encoding, errors)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]  # typeshed leaves it out
            raise  # zeros, as an archive ends
        except tarfile.HeaderError as error:
            raise Refused(f"a broken stream: {error}") from error


@dataclass
class Unpacking:
    """What was made so far, below the current directory."""

    files: set[str] = field(default_factory=set)
    directories: set[str] = field(default_factory=set)
    skipped: list[str] = field(default_factory=list)

    def member(self, archive: tarfile.TarFile, member: tarfile.TarInfo) -> None:
        """Make a file or a directory; of any other kind only the name is recorded, for the report."""
        path = _inside(member.name)
        if member.isdir():
            self._directory(path)
        elif member.type in _PLAIN and not member.issparse():
            self._file(path, archive.extractfile(member))
        elif member.islnk() and (source := _inside(member.linkname)) in self.files:
            with open(source, "rb") as data:
                self._file(path, data)
        else:
            self.skipped.append(member.name)

    def _directory(self, path: str) -> None:
        if path == "." or path in self.directories:
            return
        self._directory(str(Path(path).parent))
        Path(path).mkdir(mode=0o700)
        self.directories.add(path)

    def _file(self, path: str, data: IO[bytes] | None) -> None:
        self._directory(str(Path(path).parent))
        made = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with open(made, "wb", buffering=0) as file:
            if data is not None:
                shutil.copyfileobj(data, file, _CHUNK)
        self.files.add(path)


def _inside(name: str) -> str:
    """The name without `.` and doubled slashes. Raises Refused for one that leads out of the directory."""
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if name.startswith("/") or ".." in parts or "\0" in name:
        raise Refused(f"an entry leads out of the directory: {name!r}")
    return "/".join(parts) or "."


def _enter(directory: str) -> None:
    """Go there, where nobody else can put anything. From here on all paths are relative."""
    os.chdir(directory)
    found = Path().stat()
    if found.st_uid != os.geteuid() or found.st_mode & 0o077 or any(Path().iterdir()):
        raise Refused(f"{directory} must be empty, the caller's own, with mode 0700")


def main(directory: str) -> None:
    """Unpack stdin into `directory`, and print on stderr what was made, as JSON. Raises Refused."""
    os.umask(0o077)
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    _enter(directory)
    done = Unpacking()
    with tarfile.open(fileobj=sys.stdin.buffer, mode="r|", bufsize=_CHUNK, tarinfo=StrictInfo) as archive:
        while member := archive.next():
            done.member(archive, member)
            archive.members = []  # type: ignore[attr-defined]  # or it keeps every header
    facts = {"files": len(done.files), "skipped": len(done.skipped), "names": done.skipped[:_SHOWN]}
    if len(sys.stdin.buffer.read(_REST + 1)) > _REST:  # tar fills its last record with zeros
        raise Refused("there is more behind the end of the archive")
    sys.stderr.write(f"{json.dumps(facts)}\n")


if __name__ == "__main__":
    try:
        main(sys.argv[1])
    except Refused as error:
        sys.exit(f"refused: {error}")
    except (tarfile.TarError, RecursionError, MemoryError, EOFError) as error:
        sys.exit(f"refused: not a stream of tar: {type(error).__name__}: {error}")
    except OSError as error:
        sys.exit(f"{error.filename or 'writing'}: {error.strerror or error}")
