"""Run files: what each step leaves for the next one and for `status`.

`runs/RUN.COMMAND.json`, one Report each. RUN begins with the UTC instant, so names sort by time
and the newest of a command is found without opening the others.
"""

from __future__ import annotations

import json
import os
import secrets
import time
from collections.abc import Iterator
from datetime import datetime
from itertools import islice
from pathlib import Path

from zborg.model import Outcome, Report
from zborg.model.serial import from_dict, to_dict

_KEEP = 1000  # files; three months of a night of ten steps
_STAMP = len("20260212T144933Z")
_TORN = 86400.0  # seconds after which a half-written file has no writer any more
_RECENT = 100  # runs of one command that may have been going on at once, with a wide margin


def new_run(now: datetime) -> str:
    """20260212T144933Z-4f3a."""
    return f"{now:%Y%m%dT%H%M%SZ}-{secrets.token_hex(2)}"


class Runs:
    """The run files below one directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def save(self, report: Report) -> None:
        """Replace the file whole and on disk: a killed zborg leaves the old report or the new one."""
        path = self._directory / f"{report.run}.{report.command}.json"
        new = path.with_suffix(".new")
        with open(new, "w", encoding="utf-8") as file:
            json.dump(to_dict(report), file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)

    def newest_first(self, command: str) -> Iterator[Report]:
        """Reports of one command. A file that cannot be read is passed over: history never stops a backup."""
        for path in sorted(self._directory.glob(f"*.{command}.json"), key=_age, reverse=True):
            try:
                yield from_dict(json.loads(path.read_text(encoding="utf-8")))
            except (OSError, ValueError, KeyError, TypeError):
                continue

    def newest(self, command: str) -> Report | None:
        return next(self.newest_first(command), None)

    def outcomes_since(self, command: str, since: datetime | None) -> dict[str, list[Outcome]]:
        """Each subject's outcomes, newest run first, of runs of a command that ended after `since`.

        A long run may end after a later short one: order of start is not order of end, so the search
        does not stop at the first run that is too old.
        """
        found: dict[str, list[Outcome]] = {}
        for report in islice(self.newest_first(command), _RECENT):
            if since is None or report.finished > since:
                for outcome in report.outcomes:
                    found.setdefault(outcome.subject, []).append(outcome)
        return found

    def prune(self) -> None:
        """Drop the oldest files; ZFS is the database of snapshots, these are hand-over notes."""
        old = sorted(self._directory.glob("*.json"), reverse=True)[_KEEP:]
        torn = [path for path in self._directory.glob("*.new") if time.time() - _changed(path) > _TORN]
        for path in (*old, *torn):
            path.unlink(missing_ok=True)


def _age(path: Path) -> tuple[str, float]:
    """Runs of one second have random ends of their names: the file tells which was the later."""
    return path.name[:_STAMP], _changed(path)


def _changed(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0  # pruned in between
