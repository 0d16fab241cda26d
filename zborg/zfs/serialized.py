"""What py-libzfs lists as dictionaries (its *_serialized methods), read into zborg's types. Pure.

Each has a name, a type, children (of a dataset) and properties; each property the raw value that `zfs -p`
prints, "" where that prints "-", and a source. Raises ZborgError for values that ZFS does not have.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from zborg.model import Dataset, Snapshot
from zborg.zfs import argv
from zborg.zfs.output import parse

Listed = Mapping[str, Any]

# What to ask for.
DATASET = argv.DATASET_COLUMNS.split(",")
SNAPSHOT = argv.SNAPSHOT_COLUMNS.split(",")
_OWN = ("LOCAL", "RECEIVED")  # all other sources are inherited


def datasets(trees: Iterable[Listed]) -> tuple[Dataset, ...]:
    """The file systems among them, in ZFS's order."""
    found = [one for tree in trees for one in _flat(tree) if one["type"] == "FILESYSTEM"]
    found.sort(key=lambda one: str(one["name"]))
    return tuple(parse.dataset(_row(one, DATASET), {one["name"]: _own(one)}) for one in found)


def snapshots(listed: Sequence[Listed]) -> tuple[Snapshot, ...]:
    """Oldest first within each dataset."""
    found = [parse.snapshot(_row(one, SNAPSHOT)) for one in listed]
    return parse.with_properties(parse.ordered(found), {one["name"]: _own(one) for one in listed})


def _flat(tree: Listed) -> Iterator[Listed]:
    yield tree
    for child in tree["children"]:
        yield from _flat(child)


def _row(one: Listed, columns: Sequence[str]) -> list[str]:
    """As `zfs list -Hp` prints it."""
    return [one["name"], *(one["properties"][column]["rawvalue"] or "-" for column in columns[1:])]


def _own(one: Listed) -> dict[str, str]:
    """zborg's properties that it has itself."""
    return {
        name: str(found["rawvalue"])
        for name, found in one["properties"].items()
        if name.startswith("zborg:") and found["source"] in _OWN
    }
