"""What the zfs command prints, read into zborg's types. Pure.

Every function raises ZborgError, and nothing else, for text that the command does not print. Lines end
with a newline only: values may hold what Python's splitlines() would also take for an end.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime

from zborg.errors import ZborgError
from zborg.model import Bookmark, Dataset, Hold, Snapshot
from zborg.model.storage.mounting import Mounting
from zborg.model.text.remedy import command

Properties = Mapping[str, Mapping[str, str]]  # by dataset or snapshot

_NUMBER = re.compile(r"[0-9]{1,20}")
_LAST_SECOND = 253_402_300_799  # of the year 9999
_PROGRESS = re.compile(r"[0-9]{2}:[0-9]{2}:[0-9]{2}\t([0-9]{1,20})\t.")
_SIZE = re.compile(r"^size\t([0-9]{1,20})$", re.MULTILINE)
_RECLAIM = re.compile(r"^reclaim\t([0-9]{1,20})$", re.MULTILINE)
# All that ZFS takes for a name, and % of what a receive makes for itself; no longer than ZFS makes any.
_NAME = re.compile(r"[A-Za-z0-9_.:%/ -]{1,255}")
_UNMOUNTABLE = frozenset({"none", "legacy", "-"})


def _refuse(what: str, text: str) -> ZborgError:
    return ZborgError(f"zfs printed something else than {what}: {text[:200]!r}")


def number(text: str) -> int:
    """A whole number as -p prints it. Raises ZborgError."""
    if not _NUMBER.fullmatch(text):
        raise _refuse("a number", text)
    return int(text)


def instant(text: str) -> datetime:
    """Seconds since 1970."""
    seconds = number(text)
    if seconds > _LAST_SECOND:
        raise _refuse("a time", text)
    return datetime.fromtimestamp(seconds, UTC)


def date(text: str) -> datetime:
    """ctime(3) with or without the seconds, printed with TZ=UTC and LC_ALL=C."""
    for form in ("%a %b %d %H:%M:%S %Y", "%a %b %d %H:%M %Y"):
        try:
            return datetime.strptime(text, form).replace(tzinfo=UTC)
        except ValueError:
            continue
    raise _refuse("a date", text)


def lines(text: str) -> list[str]:
    """The lines that are not empty."""
    return [line for line in text.split("\n") if line]


def rows(text: str, columns: int) -> list[list[str]]:
    """Tab-separated rows of exactly that many columns."""
    found = [line.split("\t") for line in lines(text)]
    for row in found:
        if len(row) != columns:
            raise _refuse(f"{columns} columns", "\t".join(row))
    return found


def split(name: str, mark: str) -> tuple[str, str]:
    """Dataset and component of DATASET@NAME or DATASET#NAME. Raises ZborgError."""
    dataset, found, component = name.partition(mark)
    if not (dataset and found and component):
        raise _refuse(f"DATASET{mark}NAME", name)
    return named(dataset), named(component)


def named(text: str) -> str:
    """A name as it is. It is another machine's word, and goes into messages, reports and what to type."""
    if not _NAME.fullmatch(text):
        raise _refuse("a name", text)
    return text


def datasets(text: str, properties: Properties) -> tuple[Dataset, ...]:
    """`zfs list -o` argv.DATASET_COLUMNS, in ZFS's order."""
    return tuple(dataset(row, properties) for row in rows(text, 9))


def dataset(row: list[str], properties: Properties) -> Dataset:
    """argv.DATASET_COLUMNS of one."""
    name, guid, mounted, used, available, token, written, encryption, mountpoint = row
    return Dataset(
        name=named(name),
        guid=str(number(guid)),
        mounted=mounted == "yes",
        mountpoint=place(mountpoint),
        used=number(used),
        available=number(available),
        resume_token=None if token == "-" else token,  # noqa: S105  # no secret
        written=number(written),
        properties=properties.get(name, {}),
        encrypted=encryption not in ("off", "-"),
    )


def place(mountpoint: str) -> str | None:
    """A mountpoint as a path, or None where ZFS does not mount by itself."""
    return None if mountpoint in _UNMOUNTABLE else mountpoint


def mounting(name: str, values: list[str]) -> Mounting:
    """The values of argv.MOUNTING of one dataset."""
    mounted, mountpoint, canmount, overlay, status, root = values
    return Mounting(
        dataset=name,
        mounted=mounted == "yes",
        mountpoint=place(mountpoint),
        canmount=canmount,
        overlay=overlay != "off",
        locked=named(root) if status == "unavailable" else "",
    )


def snapshots(text: str) -> tuple[Snapshot, ...]:
    """`zfs list -o` argv.SNAPSHOT_COLUMNS; oldest first within each dataset."""
    return ordered(snapshot(row) for row in rows(text, 7))


def ordered(found: Iterable[Snapshot]) -> tuple[Snapshot, ...]:
    """Oldest first within each dataset."""
    return tuple(sorted(found, key=lambda one: (one.dataset, one.createtxg)))


def snapshot(row: list[str]) -> Snapshot:
    """argv.SNAPSHOT_COLUMNS of one."""
    name, guid, createtxg, created, used, holds, clones = row
    dataset, snapname = split(name, "@")
    return Snapshot(
        dataset=dataset,
        snapname=snapname,
        guid=str(number(guid)),
        createtxg=number(createtxg),
        created=instant(created),
        used=number(used),
        holds=number(holds),
        clones=() if clones in ("-", "") else tuple(clones.split(",")),
    )


def with_properties(found: Iterable[Snapshot], properties: Properties) -> tuple[Snapshot, ...]:
    """The snapshots with their properties."""
    return tuple(replace(one, properties=properties.get(one.full, {})) for one in found)


def user_properties(text: str, subjects: Iterable[str]) -> Properties:
    """zborg's own properties from `zfs get -s local,received -o name,property,value`.

    Other properties, other subjects (made in between) and lines that are the rest of some value with
    newlines are passed over. One property twice on one subject is a forged row: ZborgError.
    """
    found: dict[str, dict[str, str]] = {subject: {} for subject in subjects}
    for line in lines(text):
        subject, _, rest = line.partition("\t")
        name, tab, value = rest.partition("\t")
        if not tab or subject not in found or not name.startswith("zborg:"):
            continue
        if name in found[subject]:
            raise ZborgError(
                f"{subject} shows {name} twice: a property below it holds a newline, as a forgery would",
                command("zfs", "get", "-r", "-s", "local,received", "all", subject),
            )
        found[subject][name] = value
    return found


def bookmarks(text: str) -> tuple[Bookmark, ...]:
    """`zfs list -o` argv.BOOKMARK_COLUMNS; oldest first within each dataset."""
    found = [
        Bookmark(*split(name, "#"), str(number(guid)), number(createtxg))
        for name, guid, createtxg in rows(text, 3)
    ]
    return tuple(sorted(found, key=lambda bookmark: (bookmark.dataset, bookmark.createtxg)))


def holds(text: str) -> tuple[Hold, ...]:
    """`zfs holds -H`; `since` is to the minute."""
    found = []
    for line in lines(text):
        snapshot, first, rest = line.partition("\t")
        tag, second, since = rest.rpartition("\t")
        if not (first and second):
            raise _refuse("a hold", line)
        found.append(Hold(snapshot, tag, date(since)))
    return tuple(found)


def values(text: str, count: int) -> list[str]:
    """`zfs get -H -o value`: one line each; the last may hold anything but a newline."""
    found = text.removesuffix("\n").split("\n")
    if len(found) != count:
        raise _refuse(f"{count} values", text)
    return found


def size(text: str) -> int:
    """Bytes, from `zfs send -nP`."""
    match = _SIZE.search(text)
    if match is None:
        raise _refuse("the size of a stream", text)
    return int(match[1])


def reclaim(text: str) -> int:
    """Bytes, from `zfs destroy -nvp`."""
    match = _RECLAIM.search(text)
    if match is None:
        raise _refuse("what a destroy would free", text[-200:])
    return int(match[1])


def progress(line: str) -> int | None:
    """Bytes sent so far from one stderr line of `zfs send -vP`, or None for any other line."""
    match = _PROGRESS.match(line)
    return int(match[1]) if match else None
