"""`zpool status` and `zpool list` read into a Pool. Pure.

ZFS remembers one scan per pool. A resilver overwrites what was known of the last scrub, and a running
scrub what was known of the one before; what ZFS no longer knows is not guessed:

    scan:                                   Scrub      finished  done
    nothing, "none requested"               NEVER
    resilver in progress since DATE         HIDDEN
    resilvered ..., canceled on DATE        HIDDEN     yes               scrub again after a resilver
    scrub in progress                       RUNNING              yes
    scrub paused since DATE                 CANCELED   yes       yes     it will not go on by itself
    scrub canceled on DATE                  CANCELED   yes
    scrub repaired ... on DATE              FINISHED   yes       1
    scrub: (zpool scrub -e, from 2.2)
    error scrub in progress, paused         HIDDEN     paused
    error scrub canceled, scrubbed on DATE  HIDDEN     yes               reads known bad blocks only

`finished` is when that scan ended, of whatever kind and however far it came: no scrub ended later.

`Pool.errors` is the larger of what the last scan (a resilver too) could not repair and the known data
errors: a scrub that found 343 leaves 343 known ones. `Pool.device_errors` is what the worst row of the
table of devices counts.
"""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

from zborg.errors import ZborgError
from zborg.model import Pool, Scrub
from zborg.model.text.units import counted
from zborg.zfs.output import parse

_SCAN = re.compile(r"^ *(?:scan|scrub): (.*(?:\n\t.*)*)", re.MULTILINE)
_ERRORS = re.compile(r"^ *errors: (.*)$", re.MULTILINE)
_FINISHED = re.compile(r"scrub repaired (\S+) in .* with ([0-9]{1,20}) errors on (.*)")
_ENDED = re.compile(r".* (?:on|since) (.+)")
_RESILVERED = re.compile(r"resilvered .* with ([0-9]{1,20}) errors on ")
_DONE = re.compile(r"([0-9]{1,3}(?:\.[0-9]{1,6})?)% done")
_REPAIRED = re.compile(r"^\t(\S+) repaired", re.MULTILINE)
_KNOWN = re.compile(r"([0-9]{1,20}) data errors")
_HUMAN = re.compile(r"([0-9]{1,20}(?:\.[0-9]{1,6})?)([BKMGTPEZ]?)")
_DEVICE = re.compile(
    r"^\t *(\S.*?) +([A-Z]{1,20}) +([0-9]{1,20}|-) +([0-9]{1,20}|-) +([0-9]{1,20}|-)(?: |$)", re.MULTILINE
)
_WELL = ("ONLINE", "AVAIL", "INUSE")  # the last two are a spare's
_GROUP = re.compile(r"(mirror|raidz[123]?|draid[123]?.*|spare|replacing|indirect)-\d+$")
_NAMED = 20  # devices
_FILES = 1000
_LIST = "Permanent errors have been detected"


@dataclass(frozen=True, slots=True)
class Scan:
    """The last scan of a pool, as far as it was a scrub; `finished` of any that is not going on."""

    scrub: Scrub
    finished: datetime | None = None
    errors: int = 0
    repaired: int = 0  # bytes, as exact as ZFS prints it (three digits)
    done: float = 0.0


def pool(listed: str, status: str) -> Pool:
    """From `zpool list -Hp -o name,health,size,free` and `zpool status`. Raises ZborgError."""
    found = parse.rows(listed, 4)
    if len(found) != 1:
        raise ZborgError(f"zpool list did not print one pool: {listed[:200]!r}")
    name, health, size, free = found[0]
    last = scan(status)
    return Pool(
        name=name,
        health=health,
        scrub=last.scrub,
        finished=last.finished,
        errors=max(last.errors, data_errors(status)),
        repaired=last.repaired,
        done=last.done,
        size=_number_or_nothing(size),
        free=_number_or_nothing(free),
        device_errors=device_errors(status),
        devices=ailing(status),
    )


def _number_or_nothing(text: str) -> int:
    return 0 if text == "-" else parse.number(text)  # a faulted pool has no sizes, a spare no counters


def scan(status: str) -> Scan:
    """A dRAID pool may show a rebuild and a scrub: the scrub counts."""
    found = [_scan(match[1]) for match in _SCAN.finditer(status)]
    scrubs = [one for one in found if one.scrub not in (Scrub.NEVER, Scrub.HIDDEN)]
    return (scrubs or found or [Scan(Scrub.NEVER)])[0]


def _scan(text: str) -> Scan:
    if match := _FINISHED.match(text):
        when = parse.date(match[3])
        return Scan(Scrub.FINISHED, when, int(match[2]), human(match[1]), 1.0)
    if text.startswith("scrub in progress"):
        return Scan(Scrub.RUNNING, repaired=_repaired(text), done=_done(text))
    if text.startswith("scrub paused"):
        return Scan(Scrub.CANCELED, _ended(text), repaired=_repaired(text), done=_done(text))
    if text.startswith("scrub canceled"):
        return Scan(Scrub.CANCELED, _ended(text))
    if text.startswith(("resilver", "scrubbed ", "error scrub ")):
        match = _RESILVERED.match(text)
        return Scan(Scrub.HIDDEN, _ended(text), int(match[1]) if match else 0)
    return Scan(Scrub.NEVER)


def _ended(text: str) -> datetime | None:
    """None while it goes on, and for a date that cannot be read: the rest is worth knowing without it."""
    match = _ENDED.match(text)
    if match and " in progress " not in match[0]:
        with suppress(ZborgError):
            return parse.date(match[1])
    return None


def _done(text: str) -> float:
    match = _DONE.search(text)
    return round(min(float(match[1]) / 100, 1.0), 4) if match else 0.0


def _repaired(text: str) -> int:
    match = _REPAIRED.search(text)
    return human(match[1]) if match else 0


def human(text: str) -> int:
    """14.7M -> bytes; powers of 1024, as ZFS prints them even with -p."""
    match = _HUMAN.fullmatch(text)
    if match is None:
        raise ZborgError(f"zpool printed something else than a size: {text[:80]!r}")
    return int(float(match[1]) * 1024 ** "BKMGTPEZ".index(match[2] or "B"))


def device_errors(status: str) -> int:
    """READ, WRITE and CKSUM of the row that counts most, of a disk or of what is made of disks.

    Not the sum of rows: a raidz or pool counts again what its disks do. And not disks alone: what could
    not be repaired may count for their raidz only.
    """
    return max((errors for _, _, errors in _devices(status)), default=0)


def ailing(status: str) -> tuple[str, ...]:
    """The devices that count errors or are not ONLINE, in words; what is made of them is not named too."""
    rows = _devices(status)[1:]  # without the pool's own
    found = [row for row in rows if row[1] not in _WELL or row[2]]
    leaves = [row for row in found if not _GROUP.match(row[0])] or found
    return tuple(
        f"{name} {state}, {counted(errors, 'error')}" if errors else f"{name} {state}"
        for name, state, errors in leaves[:_NAMED]
    )


def _devices(status: str) -> list[tuple[str, str, int]]:
    """(name, state, errors of all kinds) of each row; the first is the pool's."""
    rows = _DEVICE.findall(status)
    return [(name, state, sum(map(_number_or_nothing, errors))) for name, state, *errors in rows]


def damaged_files(status: str) -> tuple[str, ...]:
    """From `zpool status -v`: the first of the files it lists, without blanks around."""
    match = _ERRORS.search(status)
    if match is None or not match[1].startswith(_LIST):
        return ()
    listed = [line.strip() for line in status[match.end() :].split("\n")]
    return tuple(line for line in listed if line)[:_FILES]


def data_errors(status: str) -> int:
    """Known data errors; with `status -v` the number of files listed. ZborgError for unknown words."""
    match = _ERRORS.search(status)
    # A pool that cannot be opened has no such line; its health says so.
    if match is None or match[1] == "No known data errors":
        return 0
    if known := _KNOWN.match(match[1]):
        return int(known[1])
    if match[1].startswith(_LIST):
        return max(1, len([line for line in status[match.end() :].split("\n") if line.strip()]))
    raise ZborgError(f"zpool status says of errors: {match[1][:200]!r}", "zpool status -v")
