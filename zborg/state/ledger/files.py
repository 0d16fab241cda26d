"""The ledger's files, wherever the storage is: asks writing.py there."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from zborg.errors import CommandFailed, ZborgError
from zborg.model import Runner
from zborg.model.ledger.note import Note, parse_all
from zborg.state.ledger.writing import LINES, NOTES, SHORT, STRANGE

_TORN = re.compile(r"torn ([0-9]{1,18})")  # no line of ours begins so


__all__ = ["LINES", "NOTES", "Files", "Short", "Strange", "Tail", "in_folder"]


class Short(ZborgError):
    """The file is shorter than what was written to it."""


class Strange(ZborgError):
    """A link, a pipe or a directory is in the place of a file."""


@dataclass(frozen=True, slots=True)
class Tail:
    """The lines behind those that are known; and how many bytes of an unfinished one were removed."""

    lines: tuple[str, ...]
    torn: int = 0


class Files:
    """In one directory of the storage, where `runner` is root."""

    def __init__(self, runner: Runner, directory: str) -> None:
        self.directory = directory
        self._runner = runner

    def tail(self, known: int) -> Tail:
        """What follows behind so many bytes. Raises Short, and ZborgError when it cannot be read."""
        lines = self._run("tail", str(known)).split("\n")[:-1]
        if lines and (torn := _TORN.fullmatch(lines[0])):
            return Tail(tuple(lines[1:]), int(torn[1]))
        return Tail(tuple(lines))

    def append(self, known: int, lines: Sequence[str], size: int, note: str) -> None:
        """Add lines behind so many bytes, and the note over `size` entries; on disk when it returns."""
        text = "\n".join(lines)
        self._run("append", str(known), f"{size:012}.note", stdin=f"{text}\n\n{note}")

    def read(self) -> tuple[tuple[bytes, ...], tuple[Note, ...]]:
        """All lines and all checkpoints. Raises ZborgError, and ValueError for notes that are none."""
        lines, _, notes = self._run("read").partition("\n\n")
        found = lines.removesuffix("\n")
        return tuple(found.encode().split(b"\n")) if found else (), parse_all(notes)

    def public_key(self) -> str:
        """What lies beside the lines for who has a copy alone; "" for nothing."""
        return self._run("key")

    def aside(self, name: str) -> None:
        """Give what is there another name."""
        self._run("aside", name)

    def _run(self, verb: str, *words: str, stdin: str = "") -> str:
        text = (Path(__file__).parent / "writing.py").read_text(encoding="utf-8")
        argv = ["python3", "-I", "-S", "-c", text, verb, self.directory, *words]
        try:
            return self._runner.run(argv, timeout=600, stdin=stdin).stdout
        except CommandFailed as error:
            if error.status == SHORT and not error.retryable:
                raise Short(f"{self.directory}/{LINES} is shorter than what was written to it") from error
            if error.status == STRANGE and not error.retryable:
                raise Strange(f"not the files of a ledger: {error.stderr.strip()}") from error
            raise


def in_folder(folder: Path) -> tuple[tuple[bytes, ...], tuple[Note, ...]]:
    """The same of a copy that lies on this machine, without a storage. Raises OSError and ValueError."""
    data = (folder / LINES).read_bytes()
    lines = tuple(data.removesuffix(b"\n").split(b"\n")) if data else ()
    notes = sorted((folder / NOTES).glob("*.note"))
    return lines, tuple(note for path in notes for note in parse_all(path.read_text(encoding="utf-8")))
