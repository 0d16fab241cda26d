"""Rows of the history that were made of run files as they are now."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from typing import TYPE_CHECKING, Any

from zborg.model import Outcome
from zborg.model.serial.report import outcome_from_dict
from zborg.model.text.units import moment
from zborg.state.history import History
from zborg.state.runs import stamp_of

if TYPE_CHECKING:
    from sqlite3 import Connection

_HOST = "server, run, nth, ended, kind, subject, status, message, remedy, data"
_NAMES = ("kind", "subject", "status", "message", "remedy")


@dataclass(frozen=True, slots=True)
class Seen:
    """One host's outcome in a run: the run's position among those of its command (0: the newest), and its own
    in the report."""

    position: int
    nth: int
    ended: datetime
    outcome: Outcome

    @property
    def place(self) -> tuple[int, int]:
        """Sorts the newest first."""
        return self.position, self.nth


@dataclass(frozen=True)
class Rows:
    """Of one command: by run the server under which it is recorded, and its position."""

    history: History
    command: str
    servers: Mapping[str, str]
    positions: Mapping[str, int]

    @classmethod
    def of(
        cls, history: History, command: str, files: Mapping[str, str], positions: Mapping[str, int]
    ) -> Rows:
        """Those of runs whose file was the one of `files` when they were recorded. Raises as History."""
        with history.reading() as database:
            if database is None or not files:
                return cls(history, command, {}, positions)
            rows = database.execute(
                "SELECT run, server, file FROM files WHERE command = ? AND run >= ?", (command, min(files))
            )
            known = {run: server for run, server, file in rows if file and files.get(run) == file}
            return cls(history, command, known, positions)

    def since(self, at: datetime) -> list[Seen]:
        """All that ended later. Raises as History."""
        with self.history.reading() as database:
            if database is None:
                return []
            rows = database.execute(
                f"SELECT {_HOST} FROM outcomes INDEXED BY outcomes_by_time "
                "WHERE kind = 'host' AND ended > ? AND command = ?",
                (moment(at), self.command),
            )
            return [self._seen(row) for row in rows if self._is(row)]

    def of_host(self, database: Connection, host: str, latest: str) -> Iterator[Seen]:
        """One host's, those of the newest run first; of runs after the stamp `latest` last. To be read while
        `history.reading()` has the database open."""
        for part in ("run <= ?", "run > ?"):
            rows = database.execute(
                f"SELECT {_HOST} FROM outcomes INDEXED BY outcomes_by_run "
                f"WHERE kind = 'host' AND NOT gathered AND command = ? AND subject = ? AND {part} "
                "ORDER BY run DESC",
                (self.command, host, f"{latest}~"),  # "~" sorts behind all that may follow the stamp
            )
            for _, together in groupby(filter(self._is, rows), key=lambda row: stamp_of(row[1])):
                yield from sorted(map(self._seen, together), key=lambda one: one.place)

    def _is(self, row: tuple[Any, ...]) -> bool:
        """Whether the row is of a file that is there."""
        return bool(self.servers.get(row[1]) == row[0])

    def _seen(self, row: tuple[Any, ...]) -> Seen:
        table = dict(zip(_NAMES, row[4:9], strict=True)) | {"data": json.loads(row[9])}
        ended = datetime.fromisoformat(row[3])
        return Seen(self.positions[row[1]], row[2], ended, outcome_from_dict(self.command, table))
