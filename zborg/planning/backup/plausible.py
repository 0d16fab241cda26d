"""Whether a night's archive can be what the host has, by its counts and those of earlier nights.

A host says itself what it archived. A fake or emptied archive is a commit like any other, so what shows it is
that far less arrived than usual.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from statistics import median
from typing import NamedTuple, TypeGuard

from zborg.model.results import HostBackup
from zborg.model.text.units import counted, size

_NUMBERS: tuple[tuple[Callable[[HostBackup], int | None], Callable[[int], str]], ...] = (
    (lambda one: one.files, lambda n: counted(n, "file")),
    (lambda one: one.original_bytes, size),
)


class Doubt(NamedTuple):
    """Why an archive is not believed. `certain`: it breaks a rule that a person wrote down."""

    message: str
    remedy: str
    certain: bool


def doubt(
    host: str, found: HostBackup, earlier: Sequence[HostBackup], *, min_files: int, shrink: int
) -> Doubt | None:
    """`found` and `earlier` are the numbers of this night and of earlier good ones .

    Fewer files than `min_files`, or less than `shrink` percent of the median of earlier nights in files or
    in bytes. What is missing is not judged; `shrink` 0 leaves the past alone.
    """
    files = found.files
    if files is not None and files < min_files:
        return Doubt(
            f"the archive holds {counted(files, 'file')}, fewer than min_files = {min_files}",
            f"look at agent.conf and the paths on the host, or change min_files under [hosts.{host}]",
            certain=True,
        )
    shrunk = list(_shrunk(found, earlier, shrink))
    if not shrunk:
        return None
    return Doubt(
        f"the archive holds {' and '.join(shrunk)}",
        f"if that is meant, lower shrink under [hosts.{host}] for a while; else look at the host",
        certain=False,
    )


def _shrunk(found: HostBackup, earlier: Sequence[HostBackup], percent: int) -> Iterator[str]:
    for number, words in _NUMBERS:
        now, before = number(found), [n for one in earlier if _is_count(n := number(one))]
        if _is_count(now) and before and 100 * now < percent * (usual := median(before)):
            yield f"{words(now)} (usually {words(int(usual))})"


def _is_count(value: int | None) -> TypeGuard[int]:
    """Counts come from run files: anybody may have edited them."""
    return value is not None and 0 <= value < 2**63
