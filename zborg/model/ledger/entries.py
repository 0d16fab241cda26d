"""Entries of the ledger: one line of JSON each, in the form that docs/proof.md describes.

A line is a leaf of the tree, byte for byte: what a newer zborg wrote and this one does not know stays
readable as an Entry with its kind, and is checked like any other.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Protocol

from zborg.model.ledger.sealed import Listing, Log, SealedObject
from zborg.model.ledger.sessions import Purpose, Session
from zborg.model.text.units import moment, moment_of

VERSION = 1
AUDIT, BEGUN, DRILL, HEALED, VERIFY = "audit", "begun", "drill", "healed", "verify"


class Recorded(Protocol):
    """What becomes an entry."""

    def line(self) -> str:
        """The entry, without a line's end; `entry_line` makes it."""
        ...


class Rule(StrEnum):
    """What audit looks for; the word is part of the ledger's form."""

    CONFIG = "config"  # the repository's configuration changed
    WENT_BACK = "went-back"  # the last transaction is an earlier one than before
    LOG = "log"  # the list of commits was rewritten
    GONE = "gone"  # sealed objects vanished, or have another size
    REWRITTEN = "rewritten"  # a sealed object holds something else than what was recorded
    MANIFEST = "manifest"  # the list of archives shrank outside a prune
    DELETES = "deletes"  # objects were deleted outside a prune
    REPLACED = "replaced"  # objects were replaced under their own id
    OUTSIDE = "outside"  # a transaction while nothing was served
    NONCE = "nonce"
    STRAY = "stray"  # what is no file of a repository
    HUGE = "huge"  # a file larger than a repository's ever are
    MALFORMED = "malformed"  # an entry that borg would not have written
    UNREADABLE = "unreadable"  # it could not be read at all
    VERSION = "version"  # a repository of a form that zborg does not know


@dataclass(frozen=True, slots=True)
class Anomaly:
    """One finding of audit: the rule, and what was met, for a person."""

    rule: Rule
    message: str
    transaction: int | None = None  # that did it, where one did
    and_before: bool = False  # or one before it, which nobody judged


@dataclass(frozen=True, slots=True)
class Audited:
    """What one look at a host's repository found, and all that the next one compares with."""

    host: str
    run: str
    at: datetime
    snapshot: str  # the part after the @
    guid: str
    taken: datetime  # the snapshot, by the storage's clock
    repository: str  # its id
    last: int  # its last transaction
    prior: int  # the one before
    config: str
    manifest: int | None  # its size
    most: int  # the largest size that it had since the last prune
    nonce: int | None
    log: Log
    sealed: Listing
    bytes: int  # of the whole repository
    objects: tuple[SealedObject, ...]  # those that are new
    puts: int
    deletes: int
    sessions: tuple[Session, ...]  # in which its transactions were made
    anomalies: tuple[Anomaly, ...]
    clean: bool  # nothing was found, and what was found before was released by a person
    unjudged: int = -1  # up to this transaction something was deleted before the first look; -1: nothing was

    @property
    def goes_on(self) -> bool:
        """Whether earlier looks have recorded a part of what is there."""
        return self.sealed.count > len(self.objects)

    def line(self) -> str:
        """The entry, without a line's end."""
        past = {"unjudged": self.unjudged} if self.unjudged >= 0 else {}
        return entry_line(
            AUDIT,
            self.at,
            {
                "host": self.host,
                "run": self.run,
                "snapshot": [self.snapshot, self.guid, moment(self.taken)],
                "repository": self.repository,
                "transactions": [self.prior, self.last],
                "config": self.config,
                "manifest": [self.manifest, self.most],
                "nonce": self.nonce,
                "log": [self.log.size, self.log.digest],
                "sealed": [self.sealed.count, self.sealed.bytes, self.sealed.digest],
                "bytes": self.bytes,
                "puts": self.puts,
                "deletes": self.deletes,
                "objects": [[one.name, one.size, one.digest] for one in self.objects],
                "sessions": [_session(one) for one in self.sessions],
                "findings": [_finding(one) for one in self.anomalies],
                "clean": self.clean,
            }
            | past,
        )


@dataclass(frozen=True, slots=True)
class Entry:
    """Any line: its kind, its time, and what it holds besides."""

    kind: str
    at: datetime | None
    table: Mapping[str, Any]

    @property
    def host(self) -> str:
        """Whose it is; "" where it is nobody's."""
        return str(self.table.get("host", ""))


def begun(at: datetime, origin: str, because: str, before: tuple[int, str] | None = None) -> str:
    """The first line of a ledger: why it begins, and the size and root of the one before that was broken."""
    table: dict[str, Any] = {"origin": origin, "because": because}
    return entry_line(BEGUN, at, table | ({"before": list(before)} if before else {}))


def healed(at: datetime, torn: int) -> str:
    """So many bytes of a line whose writer was killed were removed."""
    return entry_line(HEALED, at, {"bytes": torn})


def entry_line(kind: str, at: datetime, table: Mapping[str, Any]) -> str:
    """Every entry begins with the version of the form, its kind and its time."""
    head = {"v": VERSION, "kind": kind, "at": moment(at)}
    return json.dumps(head | dict(table), separators=(",", ":"), ensure_ascii=True)


def _finding(one: Anomaly) -> list[Any]:
    row: list[Any] = [one.rule.value, one.message]
    return row if one.transaction is None else [*row, one.transaction]


def _read_finding(row: list[Any]) -> Anomaly:
    return Anomaly(Rule(row[0]), str(row[1]), int(row[2]) if len(row) > 2 else None)


def _session(one: Session) -> list[Any]:
    return [one.purpose.value, one.run, moment(one.since), one.first, one.last]


def parse(line: str) -> Entry:
    """Raises ValueError for what is no entry."""
    try:
        table = json.loads(line)
    except RecursionError as error:
        raise ValueError("not an entry of a ledger") from error
    kind = table.get("kind") if isinstance(table, dict) else None
    if not isinstance(kind, str):
        raise ValueError("not an entry of a ledger")  # noqa: TRY004  # of its text
    return Entry(kind, moment_of(table.get("at")), table)


def by_host(lines: Iterable[bytes], hosts: Collection[str] = ()) -> dict[str, list[Entry]]:
    """The entries of these hosts (none named: of all), the oldest first; a line that is none is left out."""
    found: dict[str, list[Entry]] = {}
    for line in lines:
        try:
            entry = parse(line.decode("ascii", "replace"))
        except ValueError:
            continue
        if entry.host and (not hosts or entry.host in hosts):
            found.setdefault(entry.host, []).append(entry)
    return found


def audited(entry: Entry) -> Audited:
    """Of an entry of the kind `audit`. Raises ValueError for any other."""
    try:
        return _audited(entry)
    except (KeyError, TypeError, IndexError, AttributeError, OverflowError) as error:
        raise ValueError(f"not an entry that audit wrote: {error}") from error


def _audited(entry: Entry) -> Audited:
    table = entry.table
    taken = moment_of(table["snapshot"][2])
    if entry.kind != AUDIT or entry.at is None or taken is None:
        raise ValueError("not an entry that audit wrote")
    sessions = (_read_session(one) for one in table["sessions"])
    return Audited(
        host=entry.host,
        run=str(table["run"]),
        at=entry.at,
        snapshot=str(table["snapshot"][0]),
        guid=str(table["snapshot"][1]),
        taken=taken,
        repository=str(table["repository"]),
        last=int(table["transactions"][1]),
        prior=int(table["transactions"][0]),
        config=str(table["config"]),
        manifest=_whole(table["manifest"][0]),
        most=int(table["manifest"][1]),
        nonce=_whole(table["nonce"]),
        log=Log(int(table["log"][0]), str(table["log"][1]), ""),
        sealed=Listing(int(table["sealed"][0]), int(table["sealed"][1]), str(table["sealed"][2])),
        bytes=int(table["bytes"]),
        objects=tuple(
            SealedObject(str(name), int(size), str(digest)) for name, size, digest in table["objects"]
        ),
        puts=int(table["puts"]),
        deletes=int(table["deletes"]),
        sessions=tuple(one for one in sessions if one),
        anomalies=tuple(_read_finding(row) for row in table["findings"]),
        clean=bool(table["clean"]),
        unjudged=int(table.get("unjudged", -1)),
    )


def _read_session(row: list[Any]) -> Session | None:
    since = moment_of(row[2])
    return Session(Purpose(row[0]), str(row[1]), since, int(row[3]), _whole(row[4])) if since else None


def _whole(value: Any) -> int | None:
    return None if value is None else int(value)
