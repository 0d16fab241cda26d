"""What the zfs commands print, as golden texts."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime

from tests.harness.checkout import GOLDEN_FILES
from zborg.errors import ZborgError

GOLDEN = GOLDEN_FILES / "zfs"


def golden(name: str) -> str:
    return (GOLDEN / f"{name}.txt").read_text()


def at(year: int, month: int, day: int, hour: int, minute: int, second: int = 0) -> datetime:
    return datetime(year, month, day, hour, minute, second, tzinfo=UTC)


def only_zborg_errors(parser: Callable[[str], object], text: str) -> None:
    with suppress(ZborgError):
        parser(text)
