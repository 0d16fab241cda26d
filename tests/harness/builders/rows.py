"""Rows of the history as tests write them."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

from zborg.model import Entry, Outcome
from zborg.planning.observe.figures import Recorded

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def entry(day: int, one: Outcome, command: str = "backup", run: str = "") -> Entry:
    at = NOON + timedelta(days=day)
    return Entry(at, at + timedelta(minutes=5), "vault", run or f"{day}", command, one)


def told(last: int, **entries: Any) -> Recorded:
    first = NOON.date()
    empty: dict[str, Any] = {"hosts": (), "datasets": (), "replicas": (), "pools": ()}
    return Recorded(first, first + timedelta(days=last), **empty | entries, zone=UTC)


TODAY = date(2026, 3, 1)


def days(values: list[float]) -> list[tuple[date, float]]:
    return [(TODAY + timedelta(days=n), value) for n, value in enumerate(values)]
