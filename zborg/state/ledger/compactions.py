"""What is known of each host's compactions: the last one, what is held since, and one that has not ended.

One small file per host. It is written before `borg compact` starts, so whatever is killed is gone on with.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from zborg import atomic
from zborg.errors import ZborgError
from zborg.model.ledger.sealed import Living
from zborg.model.text.remedy import command, remedy
from zborg.model.text.units import moment, moment_of


@dataclass(frozen=True, slots=True)
class Quarantined:
    """A snapshot that is held because a compaction followed it."""

    snapshot: str  # dataset@name
    tag: str
    until: datetime


@dataclass(frozen=True, slots=True)
class Begun:
    """A compaction whose end was not recorded: the snapshot before it, and what was alive in that."""

    run: str
    snapshot: str  # the part after the @
    guid: str
    living: Living


@dataclass(frozen=True, slots=True)
class Undeleting:
    """An undelete whose end was not recorded: the snapshot that the repository is to be again."""

    run: str
    guid: str
    aside: str  # dataset@name of what it was before


@dataclass(frozen=True, slots=True)
class Compactions:
    """Of one host. Sizes are bytes."""

    looked: datetime | None = None  # when it was last compacted, or nothing was worth it
    gain: int = 0  # what it could have given back then
    freed: int = 0  # by the last compaction
    held: tuple[Quarantined, ...] = ()
    begun: Begun | None = None
    undeleting: Undeleting | None = None
    failed: int = 0  # looks at it in turn that failed
    tried: datetime | None = None  # when the last of these began


@dataclass(frozen=True, slots=True)
class CompactionRecords:
    """The files below one directory, which exists."""

    directory: Path
    _prefix: str = field(default="compact-", init=False)

    def unfinished(self, host: str) -> str:
        """The command that was killed while it worked on the repository, "" when none was.

        Raises ZborgError when the file cannot be read.
        """
        if not self.path(host).exists():
            return ""
        record = self.of(host)
        return "compact" if record.begun else "undelete" if record.undeleting else ""

    def of(self, host: str) -> Compactions:
        """Raises ZborgError for a file that cannot be read: whether one has begun is not known then."""
        path = self.path(host)
        try:
            return _compactions(json.loads(path.read_text(encoding="utf-8")))
        except FileNotFoundError:
            return Compactions()
        except (OSError, ValueError, KeyError, TypeError) as error:
            fix = remedy(
                command("cat", str(path)),
                command("rm", str(path)),
                first="if no compaction and no undelete was interrupted, the second forgets the last one:",
            )
            raise ZborgError(f"{path} cannot be read: {error}", fix) from error

    def hosts(self) -> list[str]:
        """All that have a file, also those that are in the configuration no more."""
        files = self.directory.glob(f"{self._prefix}*.json")
        return sorted(path.stem.removeprefix(self._prefix) for path in files)

    def put(self, host: str, record: Compactions) -> None:
        """Replace the host's record whole."""
        atomic.write(self.path(host), json.dumps(_table(record)))

    def ended(self, host: str, freed: int, at: datetime, held: Sequence[Quarantined]) -> None:
        """The one that had begun."""
        ended = replace(self.of(host), looked=at, gain=0, freed=freed, held=tuple(held), begun=None)
        self.put(host, replace(ended, failed=0, tried=None))

    def path(self, host: str) -> Path:
        """Its file."""
        return self.directory / f"{self._prefix}{host}.json"


def _table(record: Compactions) -> dict[str, Any]:
    begun, undeleting = record.begun, record.undeleting
    return {
        "looked": moment(record.looked) if record.looked else None,
        "gain": record.gain,
        "freed": record.freed,
        "held": [[one.snapshot, one.tag, moment(one.until)] for one in record.held],
        "failed": record.failed,
        "tried": moment(record.tried) if record.tried else None,
        "undeleting": undeleting and [undeleting.run, undeleting.guid, undeleting.aside],
        "begun": begun and [begun.run, begun.snapshot, begun.guid, _living(begun.living)],
    }


def _living(living: Living) -> list[Any]:
    return [living.objects, living.bytes, living.digest, living.manifest, living.gain, living.copied]


def _compactions(table: dict[str, Any]) -> Compactions:
    begun, undeleting = table["begun"], table["undeleting"]
    return Compactions(
        moment_of(table["looked"]),
        int(table["gain"]),
        int(table["freed"]),
        tuple(_quarantined(*row) for row in table["held"]),
        begun and Begun(str(begun[0]), str(begun[1]), str(begun[2]), Living(*begun[3])),
        undeleting and Undeleting(*map(str, undeleting)),
        int(table.get("failed", 0)),
        moment_of(table.get("tried")),
    )


def _quarantined(snapshot: str, tag: str, until: str) -> Quarantined:
    at = moment_of(until)
    if at is None:
        raise ValueError(f"no time: {until}")
    return Quarantined(str(snapshot), str(tag), at)
