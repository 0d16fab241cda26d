"""The history: every report zborg ever made, in one SQLite file, for questions about months and years.

The run files (`runs.py`) are what one step hands to the next; they are pruned, and a question about a year
would open thousands of them. Nothing that protects data asks the history: losing it costs statistics.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from zborg.errors import ZborgError
from zborg.model import Entry, Report
from zborg.model.serial.report import VERSION, from_dict, outcome_from_dict, to_dict
from zborg.model.text import os_errors
from zborg.model.text.remedy import command, remedy
from zborg.model.text.units import moment, moment_of

if TYPE_CHECKING:
    from sqlite3 import Connection

_PATIENCE = 3.0  # seconds that a writer waits for another; a record takes a few milliseconds
_MENDED = "make room there, or look at the disk below it; a later run records what is missing:"
_REBUILD = "zborg history --rebuild"

# What turns a database of one version (PRAGMA user_version) into the next; never changed, only added to.
# Moments are text as in the JSON form, so they sort by time and people can read them.
_MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        """CREATE TABLE runs (
            server TEXT NOT NULL, run TEXT NOT NULL, command TEXT NOT NULL,
            started TEXT NOT NULL, finished TEXT NOT NULL, status TEXT NOT NULL, exit INTEGER NOT NULL,
            plan TEXT NOT NULL, recorded REAL NOT NULL, PRIMARY KEY (server, run, command)) WITHOUT ROWID""",
        """CREATE TABLE outcomes (
            server TEXT NOT NULL, run TEXT NOT NULL, command TEXT NOT NULL, nth INTEGER NOT NULL,
            ended TEXT NOT NULL, gathered INTEGER NOT NULL,
            kind TEXT NOT NULL, subject TEXT NOT NULL, status TEXT NOT NULL,
            message TEXT NOT NULL, remedy TEXT NOT NULL, data TEXT NOT NULL,
            PRIMARY KEY (server, run, command, nth)) WITHOUT ROWID""",
    ),
    (
        "CREATE INDEX runs_by_time ON runs (command, started)",
        "CREATE INDEX outcomes_by_subject ON outcomes (kind, subject, ended)",
        "CREATE INDEX outcomes_by_time ON outcomes (kind, ended)",
    ),
    (
        # The run files that the rows were made of.
        """CREATE TABLE files (
            command TEXT NOT NULL, run TEXT NOT NULL, server TEXT NOT NULL, file TEXT NOT NULL,
            PRIMARY KEY (command, run, server)) WITHOUT ROWID""",
        # For what status asks of each host, and of nothing else: half of the rows are what a night gathered.
        """CREATE INDEX outcomes_by_run ON outcomes (command, subject, run)
            WHERE kind = 'host' AND NOT gathered""",
    ),
)
_VERSION = len(_MIGRATIONS)

_RUN = "server, run, command, started, finished, status, exit, plan"
_OUTCOME = "kind, subject, status, message, remedy, data"
_OUTCOME_OF = _OUTCOME.replace("status", "outcomes.status")


class Corrupt(ZborgError):
    """The file is no database, or a broken one."""


class History:
    """All reports in one file. Any thread and any process may use it at any time: one writes, others read.

    A report is recorded whole, in one transaction that is on disk when `record` returns; recorded again under
    the same (server, run, command) it replaces the older one: a fleet's report grows host by host.
    Units are those of the JSON form: UTC to the second, bytes, seconds. An outcome's `data` is what its
    step recorded of it: for a host of a backup borg's statistics (files, original_bytes, compressed_bytes,
    new_bytes, seconds). Half a character that is no UTF-8 comes back as "?", all else as it was.

    Rows stay for ever: they are few, and an old night cannot be measured again.

    Raises Corrupt for a broken file, ZborgError for one that cannot be used: no room, no right, locked by
    another for longer than three seconds, written by a newer zborg. A file that is not there reads as empty.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def record(self, report: Report, file: str = "") -> None:
        """Add one report, or replace what is known of it; `file`: the identity of its run file, "" for none.

        Raises ZborgError.
        """
        self.record_all([report], files={(report.run, report.command): file})

    def record_all(
        self,
        reports: Iterable[Report],
        unless_known: Iterable[Report] = (),
        files: Mapping[tuple[str, str], str] = MappingProxyType({}),
    ) -> int:
        """All of them or none, and of `unless_known` those of whose run nothing is known; how many in all.

        `files`: by (run, command) the identity of the file that a report was read from or written to.
        """
        with self._told(), closing(self._connect()) as database:
            self._prepare(database)
            with _transaction(database):
                number = sum(_put(database, one, files.get((one.run, one.command), "")) for one in reports)
                unknown = (one for one in unless_known if not _is_known(database, one))
                return number + sum(_put(database, one, "") for one in unknown)

    def runs(self, command: str = "", since: datetime | None = None) -> tuple[Report, ...]:
        """Reports that started at or after `since`, of one command or of all; the newest last."""
        where, values = _conditions({"command = ?": command, "started >= ?": since and moment(since)})
        with self.reading() as database:
            if database is None:
                return ()
            order = "ORDER BY started, run, command"
            heads = database.execute(f"SELECT {_RUN} FROM runs {where} {order}", values).fetchall()
            return tuple(_report(head, _outcomes(database, head[:3])) for head in heads)

    def outcomes(
        self,
        kind: str,
        subject: str = "",
        since: datetime | None = None,
        facts: Collection[str] | None = None,
    ) -> tuple[Entry, ...]:
        """What became of a kind's subjects, or of one, with ends at or after `since`; the newest last.

        No kind: of all. Each counts once, by its step: what a whole night gathered of its steps is left out.
        `facts`: of what an outcome knows only these; thousands are made in half the time.
        """
        asked = {"kind = ?": kind, "subject = ?": subject, "ended >= ?": since and moment(since)}
        where, values = _conditions(asked)
        with self.reading() as database:
            if database is None:
                return ()
            rows = database.execute(
                f"SELECT started, ended, server, run, command, {_OUTCOME_OF} FROM outcomes "
                f"JOIN runs USING (server, run, command) {where} AND NOT gathered ORDER BY ended, run, nth",
                values,
            )
            return tuple(_entry(row, facts) for row in rows)

    def recorded(self) -> Mapping[tuple[str, str], str]:
        """By (run, command) the identity of the file that it was recorded with, "" for none."""
        with self.reading() as database:
            if database is None:
                return {}
            rows = database.execute(
                "SELECT run, command, coalesce(file, '') FROM runs "
                "LEFT JOIN files USING (server, run, command)"
            )
            return {(run, command): file for run, command, file in rows}

    def check(self) -> None:
        """Read every page. Raises Corrupt."""
        if not self.path.exists():
            return
        with self._told(), closing(self._connect()) as database:
            found = database.execute("PRAGMA integrity_check(1)").fetchone()[0]
            if _version(database):  # or it was just made, and its maker was killed
                database.execute("SELECT 1 FROM runs, outcomes LIMIT 1").fetchone()
        if found != "ok":
            raise Corrupt(f"{self.path}: {found}", _REBUILD)

    def set_aside(self, now: datetime) -> Path | None:
        """Move a broken file out of the way, for a person to look at; None when another run has done so."""
        with self._told(), self._alone():
            try:
                self.check()
            except Corrupt:
                aside = self.path.with_name(f"{self.path.name}.corrupt-{now:%Y%m%dT%H%M%SZ}")
                self.path.rename(aside)
                for end in ("-wal", "-shm"):  # or they would be taken for those of the new file
                    self.path.with_name(self.path.name + end).unlink(missing_ok=True)
                return aside
            return None

    # --- the file -----------------------------------------------------------------------------------------

    def _connect(self) -> Connection:
        """A connection for one call: it costs a millisecond, and none is left open for a thread or a fork."""
        import sqlite3

        os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        database = sqlite3.connect(self.path, timeout=_PATIENCE, isolation_level=None)
        database.execute("PRAGMA synchronous = FULL")  # on disk at each commit, also when the power fails
        return database

    @contextmanager
    def reading(self) -> Iterator[Connection | None]:
        """The database, for this block; None when there is nothing to read yet."""
        with self._told():
            if not self.path.exists():
                yield None
                return
            with closing(self._connect()) as database:
                self._prepare(database)
                try:
                    yield database
                except (ValueError, KeyError, TypeError) as error:  # a row that no zborg has written
                    raise Corrupt(f"{self.path}: {error}", _REBUILD) from error

    def _prepare(self, database: Connection) -> None:
        """Bring the file to our version. Under a lock: SQLite does not always wait where two turn to WAL."""
        found = _version(database)
        if found > _VERSION:
            raise ZborgError(f"{self.path} was written by a newer zborg", "update this one")
        if found == _VERSION:
            return
        with self._alone():
            database.execute("PRAGMA journal_mode = WAL")
            with _transaction(database):
                for version in range(_version(database), _VERSION):
                    for statement in _MIGRATIONS[version]:
                        database.execute(statement)
                    database.execute(f"PRAGMA user_version = {version + 1}")

    @contextmanager
    def _alone(self) -> Iterator[None]:
        from filelock import FileLock, Timeout

        try:
            with FileLock(f"{self.path}.lock", timeout=_PATIENCE, mode=0o600):
                yield
        except Timeout:
            raise ZborgError(f"{self.path} is being made anew by another run") from None

    @contextmanager
    def _told(self) -> Iterator[None]:
        """What SQLite and the machine refuse, in words."""
        import sqlite3

        try:
            yield
        except sqlite3.Error as error:
            if _is_corrupt(error):
                raise Corrupt(f"{self.path}: {error}", _REBUILD) from error
            look = remedy(command("df", "-h", str(self.path.parent)), first=_MENDED)
            raise ZborgError(f"on this machine, {self.path}: {error}", look) from error
        except OSError as error:
            raise ZborgError(*os_errors.describe(error, str(self.path))) from error


def _is_corrupt(error: Exception) -> bool:
    """A table that is missing in a file of our version, or text that is none, is damage as well."""
    import sqlite3

    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    odd = str(error).startswith(("no such", "Could not decode"))
    return odd or code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def _version(database: Connection) -> int:
    return int(database.execute("PRAGMA user_version").fetchone()[0])


@contextmanager
def _transaction(database: Connection) -> Iterator[None]:
    """With the right to write from its beginning: two that read first would refuse each other to write."""
    database.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        if database.in_transaction:  # a full disk has rolled it back already
            database.execute("ROLLBACK")
        raise
    database.execute("COMMIT")


# --- rows -------------------------------------------------------------------------------------------------


def _is_known(database: Connection, report: Report) -> bool:
    asked = "SELECT 1 FROM runs WHERE run = ? AND command = ?"
    return database.execute(asked, (_text(report.run), _text(report.command))).fetchone() is not None


def _put(database: Connection, report: Report, file: str) -> int:
    table = to_dict(report)
    if not _is_text(table):
        file = ""  # its row is not what its file is
    key = tuple(_text(table[name]) for name in ("server", "run", "command"))
    head = (*key, table["started"], table["finished"], table["status"], table["exit"])
    database.execute(
        f"INSERT OR REPLACE INTO runs ({_RUN}, recorded) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (*head, json.dumps(table["plan"]), time.time()),
    )
    database.execute(
        "INSERT OR REPLACE INTO files (server, run, command, file) VALUES (?, ?, ?, ?)", (*key, file)
    )
    database.execute("DELETE FROM outcomes WHERE server = ? AND run = ? AND command = ?", key)
    database.executemany(
        f"INSERT INTO outcomes (server, run, command, nth, ended, gathered, {_OUTCOME}) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [(*key, nth, *_columns(one, table["finished"])) for nth, one in enumerate(table["outcomes"])],
    )
    return 1


def _columns(outcome: Mapping[str, Any], finished: str) -> tuple[Any, ...]:
    data = outcome["data"]
    at = moment_of(data.get("finished"))
    texts = (_text(outcome[name]) for name in ("kind", "subject", "status", "message", "remedy"))
    return (moment(at) if at else finished, "step" in data, *texts, json.dumps(data))


def _is_text(table: Mapping[str, Any]) -> bool:
    """Whether the rows of a report are what it is."""
    texts = (one[name] for one in table["outcomes"] for name in ("kind", "subject", "message", "remedy"))
    return all(text == _text(text) for text in (table["run"], table["command"], table["server"], *texts))


def _text(text: str) -> str:
    """SQLite's text is UTF-8, which has no halves of pairs."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _conditions(asked: Mapping[str, object]) -> tuple[str, tuple[object, ...]]:
    held = {condition: value for condition, value in asked.items() if value}
    return f"WHERE {' AND '.join(held) or '1'}", tuple(held.values())


def _outcomes(database: Connection, key: tuple[str, ...]) -> list[dict[str, Any]]:
    rows = database.execute(
        f"SELECT {_OUTCOME} FROM outcomes WHERE server = ? AND run = ? AND command = ? ORDER BY nth", key
    )
    return [_table(row) for row in rows]


def _table(row: tuple[Any, ...]) -> dict[str, Any]:
    names = ("kind", "subject", "status", "message", "remedy")
    return dict(zip(names, row[:5], strict=True)) | {"data": json.loads(row[5])}


def _report(head: tuple[Any, ...], outcomes: list[dict[str, Any]]) -> Report:
    names = ("server", "run", "command", "started", "finished", "status", "exit")
    table = dict(zip(names, head[:7], strict=True))
    return from_dict({"zborg": VERSION, **table, "plan": json.loads(head[7]), "outcomes": outcomes})


def _entry(row: tuple[Any, ...], facts: Collection[str] | None) -> Entry:
    table = _table(row[5:])
    if facts is not None:
        table["data"] = {name: value for name, value in table["data"].items() if name in facts}
    outcome = outcome_from_dict(row[4], table)
    started, ended = map(datetime.fromisoformat, row[:2])
    server, run, command = row[2:5]
    return Entry(started, ended, server, run, command, outcome)
