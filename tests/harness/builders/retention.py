"""Snapshots and instants for tests of retention, and borg's rules in our words."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from zborg.model import P_STATE, Snapshot, SnapshotName

DATASET = "tank/borg/web1"


def snap(at: datetime, txg: int, *, state: str | None = None, holds: int = 0, raw: str = "") -> Snapshot:
    properties = {P_STATE: state} if state else {}
    name = raw or str(SnapshotName.of(at))
    return Snapshot(DATASET, name, f"g{txg}", txg, at, 0, holds, properties)


# Instants near which calendars go wrong, as the start of a random walk.
EDGES = [
    datetime(2024, 2, 28, 23, 59, 59, tzinfo=UTC),  # a leap day follows
    datetime(2025, 2, 28, 23, 59, 59, tzinfo=UTC),  # and here it does not
    datetime(2020, 12, 31, 12, tzinfo=UTC),  # ISO week 53
    datetime(2024, 12, 30, tzinfo=UTC),  # ISO week 1 of the next year
    datetime(2027, 1, 3, 23, 59, 59, tzinfo=UTC),  # ISO week 53 of the last year
    datetime(2025, 3, 30, 0, 59, 59, tzinfo=UTC),  # Europe leaves winter time
    datetime(2025, 10, 26, 0, 30, tzinfo=UTC),  # and summer time
    datetime(1999, 12, 31, 23, 59, 59, tzinfo=UTC),
]
GAPS = [1, 59, 60, 3_600, 5_400, 21_600, 86_399, 86_400, 90_000, 604_800, 2_678_400, 31_536_000]

BORG_RULES = {
    "last": "secondly",
    "hourly": "hourly",
    "daily": "daily",
    "weekly": "weekly",
    "monthly": "monthly",
    "yearly": "yearly",
}


def in_our_words(rule: str, number: int) -> str:
    if rule == "within":
        return "within"
    name, oldest, _ = rule.partition("[oldest]")
    word = {theirs: ours for ours, theirs in BORG_RULES.items()}[name]
    return f"{word} #{number}" + (" (oldest)" if oldest else "")


def ours_said(reasons: Mapping[str, tuple[str, ...]]) -> dict[str, str]:
    return {guid: "within" if reason.startswith("within ") else reason for guid, (reason,) in reasons.items()}
