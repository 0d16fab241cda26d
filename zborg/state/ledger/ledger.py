"""The ledger that this server writes: the tree grows by what it adds, and is never read again for that.

What the server knows of it is the frontier (size, bytes, roots of full subtrees) and the last entry of each
host, in files of its state directory. The files on the storage that do not fit are set aside, and a new
ledger begins with an entry that says so.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from zborg import atomic
from zborg.errors import Damage
from zborg.model import Clock
from zborg.model.figures import LedgerFigures
from zborg.model.ledger import entries
from zborg.model.ledger.entries import AUDIT, Audited, Entry, Recorded
from zborg.model.ledger.merkle import Frontier, leaf_hash
from zborg.model.ledger.note import Checkpoint, Note, signed
from zborg.model.text.remedy import command, remedy
from zborg.state.ledger import newest
from zborg.state.ledger.files import Files, Short
from zborg.state.ledger.key import Key

_FRONTIER, _ANNOUNCED = "frontier.json", "announced.json"


@dataclass(frozen=True, slots=True)
class _Known:
    """What the server knows of the ledger that it wrote."""

    tree: Frontier
    bytes: int

    def with_lines(self, lines: Sequence[str]) -> _Known:
        """With these added."""
        size = sum(len(line) + 1 for line in lines)
        return _Known(self.tree.extended(leaf_hash(line.encode()) for line in lines), self.bytes + size)


def known(directory: Path) -> LedgerFigures | None:
    """What the server knows of the ledger that it wrote, without asking the storage; None when nothing."""
    path = directory / _FRONTIER
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
        signed = datetime.fromtimestamp(path.stat().st_mtime, UTC)
        return LedgerFigures(int(table["size"]), int(table["bytes"]), signed)
    except (OSError, ValueError, KeyError, TypeError):
        return None


class Ledger:
    """`directory` is the server's own, `files` are on the storage. The caller has the lock `ledger`."""

    def __init__(self, directory: Path, files: Files, key: Key, clock: Clock) -> None:
        self._directory, self._files, self._key, self._clock = directory, files, key, clock
        self.notices: list[str] = []  # what was healed or begun anew, for a report

    def append(self, added: Sequence[Recorded]) -> Checkpoint:
        """Add entries and a checkpoint over all. Raises ZborgError; nothing counts that has no checkpoint."""
        known, first = self._opened()
        return self._written(known, [*first, *(one.line() for one in added)])

    def heal(self) -> None:
        """Begin anew where it is shorter than what was written to it, before anything is asked of it."""
        known = self._frontier()
        if known is None:
            return  # what is written next begins it
        try:
            self._files.tail(known.bytes)
        except Short as error:
            self._written(*self._anew(error.message, known))

    def _written(self, known: _Known, lines: Sequence[str]) -> Checkpoint:
        whole = known.with_lines(lines)
        checkpoint = Checkpoint(self._key.public.name, whole.tree.size, whole.tree.root)
        note = signed(checkpoint, self._key.public, self._key.sign)
        self._announce(known, lines)
        self._files.append(known.bytes, lines, checkpoint.size, note)
        self._save(whole)
        newest.put(self._directory, note, self._clock())
        self._remember(lines)
        return checkpoint

    def latest(self, host: str) -> Audited | None:
        """The last entry of this host's audit; of one that cannot be read None, as for a new host."""
        try:
            return entries.audited(entries.parse(self._path(host).read_text(encoding="utf-8")))
        except (OSError, ValueError):
            return None

    def digests(self, host: str, names: Iterable[str]) -> dict[str, str]:
        """What these objects of a host held, by their last record; reads all lines."""
        wanted, found = set(names), dict[str, str]()
        if not wanted:
            return found
        for entry in self._of(host):
            found |= {one.name: one.digest for one in entry.objects if one.name in wanted}
        return found

    def last_clean(self, host: str) -> Audited | None:
        """The newest entry of this host without a finding that was not released; reads all lines."""
        return next((one for one in reversed(list(self._of(host))) if one.clean), None)

    def history(self) -> dict[str, list[Entry]]:
        """All entries of each host, the oldest first; reads all lines. Raises Damage as `lines` does."""
        found = defaultdict[str, list[Entry]](list)
        for line in self._text():
            with suppress(ValueError):  # of a newer zborg
                entry = entries.parse(line)
                found[entry.host].append(entry)
        return found

    def lines(self) -> tuple[bytes, ...]:
        """What this server wrote; raises Damage when that is not what is there now."""
        lines, known = self._files.read()[0], self._frontier()
        if known:
            lines = lines[: known.tree.size]
            if Frontier().extended(map(leaf_hash, lines)) != known.tree:
                raise Damage(
                    f"the ledger in {self._files.directory} is not what this server wrote",
                    remedy(command("zborg", "ledger", "check"), first="somebody changed it on the storage:"),
                )
        return lines

    def _text(self) -> Iterator[str]:
        return (line.decode("ascii", "replace") for line in self.lines())

    def _of(self, host: str) -> Iterator[Audited]:
        return (one for one in _audits(self._text()) if one.host == host)

    # --- what is there ---

    def _opened(self) -> tuple[_Known, list[str]]:
        """What is there now, and the lines to write first."""
        known = self._frontier()
        try:
            if known is None:
                return self._found()
            return self._continued(known)
        except Short as error:
            return self._anew(error.message, known)

    def _continued(self, known: _Known) -> tuple[_Known, list[str]]:
        """With lines that a killed writer left without a checkpoint."""
        tail = self._files.tail(known.bytes)
        leaves = [leaf_hash(line.encode()).hex() for line in tail.lines]
        if leaves != self._announced(known)[: len(leaves)] and not self._is_signed(known, tail.lines):
            return self._anew("there are lines in it that this server did not write", known)
        self._remember(tail.lines)
        return known.with_lines(tail.lines), self._healed(tail.torn)

    def _is_signed(self, known: _Known, lines: Sequence[str]) -> bool:
        """Whether a checkpoint of our own key is over all of them: then what the server knows is older."""
        from zborg.state.ledger.key import verify

        whole = known.with_lines(lines).tree
        try:
            _, notes = self._files.read()
        except ValueError:
            return False
        return any(
            (note.checkpoint.size, note.checkpoint.root) == (whole.size, whole.root)
            and note.is_signed_by(self._key.public, verify)
            for note in notes
        )

    def _healed(self, torn: int) -> list[str]:
        if not torn:
            return []
        self.notices.append(
            f"{torn} bytes of a line that was not finished were removed from {self._files.directory}"
        )
        return [entries.healed(self._clock(), torn)]

    def _found(self) -> tuple[_Known, list[str]]:
        """Without a frontier: a new ledger, or one whose server was set up anew."""
        tail = self._files.tail(0)
        if not tail.lines:
            line = entries.begun(self._clock(), self._key.public.name, "a new ledger")
            return _Known(Frontier(), 0), [line]
        known = _Known(Frontier(), 0).with_lines(tail.lines)
        try:
            _, notes = self._files.read()
        except ValueError as error:
            return self._anew(f"its checkpoints cannot be read: {error}", None)
        if not self._fits(tail.lines, notes):
            return self._anew(
                "its entries do not fit its last checkpoint, or that is not signed by this key", None
            )
        self.notices.append(f"the ledger in {self._files.directory} goes on, with {known.tree.size} entries")
        self._remember(tail.lines)
        return known, self._healed(tail.torn)

    def _fits(self, lines: Sequence[str], notes: Sequence[Note]) -> bool:
        from zborg.state.ledger.key import verify

        last = max(notes, key=lambda note: note.checkpoint.size, default=None)
        if last is None or not last.is_signed_by(self._key.public, verify):
            return False
        size = last.checkpoint.size
        tree = Frontier().extended(leaf_hash(line.encode()) for line in lines[:size])
        return tree.size == size and tree.root == last.checkpoint.root

    def _anew(self, because: str, known: _Known | None) -> tuple[_Known, list[str]]:
        now = self._clock()
        self._files.aside(f"broken-{now:%Y%m%dT%H%M%SZ}")
        before = (known.tree.size, known.tree.root.hex()) if known else None
        self.notices.append(
            f"a new ledger begins in {self._files.directory}: {because}; what was there is beside it"
        )
        self._files.tail(0)
        return _Known(Frontier(), 0), [entries.begun(now, self._key.public.name, because, before)]

    # --- what the server knows ---

    def _frontier(self) -> _Known | None:
        path = self._directory / _FRONTIER
        try:
            table = json.loads(path.read_text(encoding="utf-8"))
            nodes = tuple(bytes.fromhex(node) for node in table["nodes"])
            return _Known(Frontier(int(table["size"]), nodes), int(table["bytes"]))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError):
            self.notices.append(f"{path} cannot be read: the ledger is read from its beginning")
            return None

    def _save(self, known: _Known) -> None:
        self._directory.mkdir(mode=0o700, exist_ok=True)
        table = {
            "size": known.tree.size,
            "bytes": known.bytes,
            "nodes": [node.hex() for node in known.tree.nodes],
        }
        atomic.write(self._directory / _FRONTIER, json.dumps(table))

    def _announce(self, known: _Known, lines: Sequence[str]) -> None:
        """What is written next: lines behind those that are known can be of nobody else."""
        self._directory.mkdir(mode=0o700, exist_ok=True)
        table = {"size": known.tree.size, "leaves": [leaf_hash(line.encode()).hex() for line in lines]}
        atomic.write(self._directory / _ANNOUNCED, json.dumps(table))

    def _announced(self, known: _Known) -> list[str]:
        try:
            table = json.loads((self._directory / _ANNOUNCED).read_text(encoding="utf-8"))
            return list(map(str, table["leaves"])) if table["size"] == known.tree.size else []
        except (OSError, ValueError, KeyError, TypeError):
            return []

    def _remember(self, lines: Sequence[str]) -> None:
        """The last entry of each host."""
        for one in {one.host: one for one in _audits(lines)}.values():
            atomic.write(self._path(one.host), one.line())

    def _path(self, host: str) -> Path:
        return self._directory / f"host-{host}.json"


def _audits(lines: Iterable[str]) -> Iterator[Audited]:
    """Those that this version can read; what a newer one wrote is left out."""
    for line in lines:
        try:
            entry = entries.parse(line)
            if entry.kind == AUDIT:
                yield entries.audited(entry)
        except ValueError:
            continue
