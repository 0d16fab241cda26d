"""Rotation and replication planned for 1,000, 10,000 and 100,000 snapshots: the time must grow as they do."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from tests.bench.pairs import machine
from zborg.model import Dataset, Policy, Snapshot, SnapshotName
from zborg.planning.replicate.facts import Link, Tree
from zborg.planning.replicate.plan import plan_all
from zborg.planning.rotate.retention import plan_rotation

_SIZES = (1_000, 10_000, 100_000)
_EACH = 2_000  # snapshots of a dataset, at most
_POLICY = Policy(last=3, daily=14, weekly=8, monthly=12, yearly=3)
_NOW = datetime(2026, 2, 12, 14, 49, 33, tzinfo=UTC)


def main(rounds: int) -> None:
    print(f"{machine()}; {rounds} rounds, processor time\n")
    print("| snapshots | datasets | rotation ms | replication ms | rotation µs each | replication µs each |")
    print("|---|---|---|---|---|---|")
    for size in _SIZES:
        source, target = _tree("tank/borg", size), _tree("vault/zborg", size, lag=1)
        seconds = [_median(way, rounds) for way in (_rotation(source), _replication(source, target))]
        words = [f"{one * 1e3:.0f}" for one in seconds] + [f"{one * 1e6 / size:.1f}" for one in seconds]
        print(f"| {size:,} | {len(source[1])} | {' | '.join(words)} |", flush=True)


def _median(way: Callable[[], object], rounds: int) -> float:
    return statistics.median(_seconds(way) for _ in range(rounds))


_Listing = tuple[str, list[Dataset], list[Snapshot]]


def _tree(root: str, size: int, lag: int = 0) -> _Listing:
    """One snapshot an hour, in as many datasets as are needed; a copy lacks the newest `lag` of each."""
    datasets, snapshots = [], []
    for number in range(max(1, size // _EACH)):
        name = f"{root}/host{number}"
        datasets.append(Dataset(name, str(10_000_000 + number), True, f"/{name}", 0, 0))
        count = min(size, _EACH)
        snapshots += [_snapshot(name, number, age, count) for age in range(count - 1, lag - 1, -1)]
    return root, datasets, snapshots


def _snapshot(dataset: str, number: int, age: int, count: int) -> Snapshot:
    at = _NOW - timedelta(hours=age)
    place = count - age
    return Snapshot(dataset, str(SnapshotName.of(at)), str(number * _EACH + place), place, at, 0, 0)


def _rotation(listing: _Listing) -> Callable[[], object]:
    _, _, snapshots = listing
    return lambda: plan_rotation(snapshots, _POLICY, _NOW, {})


def _replication(source: _Listing, target: _Listing) -> Callable[[], object]:
    def plan() -> object:
        # Trees are built of flat listings each time, as a run has to.
        return plan_all(Tree.of(*source), Tree.of(*target), {}, {}, replace(Link("offsite"), flags="lec"))

    return plan


def _seconds(way: Callable[[], object]) -> float:
    started = time.process_time()
    way()
    return time.process_time() - started
