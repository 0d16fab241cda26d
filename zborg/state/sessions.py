"""When each host's repository was served: what audit compares its transactions with.

One small file per host, written before `borg serve` starts. A session whose end nobody saw ends where the
next one begins.
"""

from __future__ import annotations

import errno
import fcntl
import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from zborg import atomic
from zborg.model.ledger.sessions import Purpose, Session

_MOST = 400  # a year of nights, for a server that is not audited


class Sessions:
    """The records below one directory, which is made with the first."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._unsaved: dict[str, tuple[Session, ...]] = {}  # by host: the disk is full, and this run goes on

    def of(self, host: str) -> tuple[Session, ...]:
        """The oldest first. A file that cannot be read is none: audit reports what it then cannot explain."""
        if host in self._unsaved:
            return self._unsaved[host]
        try:
            table = json.loads(self._path(host).read_text(encoding="utf-8"))
            return tuple(_session(one) for one in table["sessions"])
        except (OSError, ValueError, KeyError, TypeError):
            return ()

    def begin(self, host: str, session: Session) -> None:
        """It lasts from now on."""
        with self._alone(host):
            self._write(host, [*_ended(self.of(host), session.first), session])

    def end(self, host: str, last: int) -> None:
        """The one that lasts has ended with this transaction; nothing when there is none."""
        with self._alone(host):
            known = self.of(host)
            if known and known[-1].last is None:
                self._write(host, _ended(known, last))

    def mark(self, host: str, purpose: Purpose) -> None:
        """What the one that lasts turned out to be for."""
        with self._alone(host):
            known = self.of(host)
            if known and known[-1].last is None:
                self._write(host, [*known[:-1], replace(known[-1], purpose=purpose)])

    def forget(self, host: str, until: int) -> None:
        """Those that ended with this transaction or before it: they are in the ledger."""
        with self._alone(host):
            known = self.of(host)
            left = [one for one in known if one.last is None or one.last > until]
            if len(left) < len(known):
                self._write(host, left)

    @contextmanager
    def _alone(self, host: str) -> Iterator[None]:
        """A backup of the host and an audit change the same file, and neither may lose what the other wrote.

        On a disk that takes no file they may: what is in memory is this process's own.
        """
        with ExitStack() as held:
            with suppress(OSError):
                self._directory.mkdir(mode=0o700, exist_ok=True)
                lock = held.enter_context(open(self._directory / f".{host}.lock", "w", encoding="utf-8"))
                fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _write(self, host: str, sessions: Sequence[Session]) -> None:
        """On a full disk they stay in memory: a backup does not depend on them, and audit may follow."""
        try:
            self._directory.mkdir(mode=0o700, exist_ok=True)
            atomic.write(
                self._path(host), json.dumps({"sessions": [_table(one) for one in sessions[-_MOST:]]})
            )
            self._unsaved.pop(host, None)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
                raise
            self._unsaved[host] = tuple(sessions)

    def _path(self, host: str) -> Path:
        return self._directory / f"{host}.json"


def _ended(sessions: Sequence[Session], last: int) -> list[Session]:
    return [replace(one, last=max(last, one.first)) if one.last is None else one for one in sessions]


def _table(session: Session) -> dict[str, Any]:
    return {
        "purpose": session.purpose.value,
        "run": session.run,
        "since": session.since.isoformat(timespec="seconds"),
        "first": session.first,
        "last": session.last,
    }


def _session(table: dict[str, Any]) -> Session:
    since = datetime.fromisoformat(table["since"])
    last = table["last"]
    return Session(
        Purpose(table["purpose"]),
        str(table["run"]),
        since,
        int(table["first"]),
        None if last is None else int(last),
    )
