"""What `zfs allow DATASET` prints, read into grants. Pure.

The form is that of OpenZFS 2.1 to 2.3 (tried: 2.3.9): a heading for the dataset and each of its parents,
titles of four kinds, and lines that begin with a tab. Raises ZborgError, and nothing else, for other text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

from zborg.errors import ZborgError
from zborg.model.storage.grants import EVERYONE, Grant
from zborg.zfs import names

APPEND = "receive:append"
VERSION = ("zfs", "version")

_HEADING = re.compile(r"---- Permissions on (?P<dataset>.+?) -+")
_SETS, _LATER = "Permission sets:", "Create time permissions:"
_TITLES = {
    "Local permissions:": False,
    "Descendent permissions:": True,
    "Local+Descendent permissions:": True,
}
_LINE = re.compile(rf"\t(?:(?P<kind>user|group) (?P<who>.+)|(?P<everyone>{EVERYONE})) (?P<words>\S+)")
_SET = re.compile(r"\t(?P<name>@\S+) (?P<words>\S+)")


def argv(dataset: str) -> tuple[str, ...]:
    """What is delegated on a dataset."""
    return ("zfs", "allow", names.dataset(dataset))


_RELEASE = re.compile(r"zfs-kmod-(\d{1,3})\.(\d{1,3})\.(\d{1,3})")
_BEFORE, _WITH = (2, 3, 0), (2, 3, 9)


def knows_append(version: str, held: Iterable[Grant] = ()) -> bool | None:
    """Whether the kernel there knows receive:append, by `zfs version` and by what somebody holds.

    No list that `zfs allow` prints has it, and what it says of an unknown word names none (2.3.9, tried). It
    is younger than 2.3.0, and 2.3.9 has it; None for what is between.
    """
    if any(APPEND in one.permissions for one in held):
        return True
    found = _RELEASE.search(version)
    if not found:
        return None
    release = tuple(map(int, found.groups()))
    return True if release >= _WITH else None if release > _BEFORE else False


def grants(text: str) -> tuple[Grant, ...]:
    """Who holds which rights. What a new dataset's maker would get is passed over: that is its maker's."""
    found: list[Grant] = []
    sets: dict[str, str] = {}
    dataset = title = ""
    for line in text.split("\n"):
        if heading := _HEADING.fullmatch(line):
            dataset, title, sets = heading["dataset"], "", {}
        elif line in (*_TITLES, _SETS, _LATER):
            title = line
        elif title == _SETS and (named := _SET.fullmatch(line)):
            sets[named["name"]] = named["words"]
        elif title in _TITLES and dataset and (given := _LINE.fullmatch(line)):
            words = given["words"]
            found.append(
                Grant(
                    dataset,
                    given["kind"] or EVERYONE,
                    given["who"] or "",
                    frozenset(_resolved(words, sets, 0)),
                    frozenset(filter(None, words.split(","))),
                    _TITLES[title],
                )
            )
        elif line and title != _LATER:
            raise ZborgError(f"zfs allow printed something else than permissions: {line[:200]!r}")
    return tuple(found)


def _resolved(words: str, sets: Mapping[str, str], depth: int) -> Iterator[str]:
    """A set may name others; one that names itself ends somewhere."""
    for word in words.split(","):
        if word in sets and depth < 10:
            yield from _resolved(sets[word], sets, depth + 1)
        elif word:
            yield word
