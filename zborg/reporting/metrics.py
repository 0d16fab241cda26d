"""What zborg knows -> the text that node_exporter's textfile collector reads. Pure.

All are gauges in base units (prometheus.io/docs/practices/naming). An age is given as the moment since when:
Prometheus subtracts, and a textfile that nobody writes any more grows old by itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from zborg.model import Outcome, Report, Status
from zborg.model.figures import CompactionFigures
from zborg.model.results import PoolState, backup_of
from zborg.model.text.units import printable

# name -> (labels, help). Whatever alerts and dashboards read stands here.
METRICS = {
    "written_timestamp_seconds": ((), "When this file was written"),
    "findings": (("level",), "What zborg status shows, by how grave it is: ok, warning, bad"),
    "finding_level": (("kind", "subject"), "One line of zborg status: 0 good, 1 a warning, 2 bad"),
    "host_last_success_timestamp_seconds": (("host",), "When its last good backup ended"),
    "host_max_age_seconds": (("host",), "The age from which its last good backup is overdue"),
    "host_good": (("host",), "1 if its newest try was good"),
    "host_duration_seconds": (("host",), "How long its last good backup took"),
    "host_files": (("host",), "Files in its last good backup"),
    "host_original_bytes": (("host",), "Bytes in its last good backup, as they are on the host"),
    "host_new_bytes": (("host",), "Bytes that its last good backup added to the repository"),
    "host_verified_timestamp_seconds": (("host",), "When its repository was last read whole (zborg verify)"),
    "host_damaged": (("host",), "1 if damage was found then"),
    "command_finished_timestamp_seconds": (("command",), "When it ended last"),
    "command_duration_seconds": (("command",), "How long its last run took"),
    "command_exit_code": (("command",), "The exit code of its last run"),
    "compaction_freed_bytes": (("dataset",), "Bytes that the last compaction of each repository freed"),
    "compaction_reclaimable_bytes": (("dataset",), "Bytes that could be freed and were not worth it yet"),
    "compaction_quarantined_snapshots": (("dataset",), "Snapshots held since a compaction"),
    "host_compaction_freed_bytes": (("host",), "Bytes that its last compaction freed"),
    "host_compaction_reclaimable_bytes": (
        ("host",),
        "Bytes that a compaction would free",
    ),
    "host_quarantine_end_timestamp_seconds": (("host",), "Until when what was freed of it is held"),
    "target_last_success_timestamp_seconds": (("target",), "When all there was to send had last arrived"),
    "target_max_age_seconds": (("target",), "The age from which that is overdue"),
    "target_sent_bytes": (("target",), "Bytes sent by the last replication"),
    "pool_size_bytes": (("pool",), "Its size, when it was last looked at"),
    "pool_free_bytes": (("pool",), "What was free of it"),
    "pool_online": (("pool",), "1 if its health was ONLINE"),
    "pool_errors": (("pool",), "Data errors"),
    "pool_device_errors": (("pool",), "Errors of the device that has most"),
    "pool_scrub_timestamp_seconds": (("pool",), "When its last finished scrub ended"),
}


@dataclass(frozen=True, slots=True)
class Backups:
    """Of one host."""

    max_age: int  # seconds
    good: tuple[datetime, Outcome] | None  # its last good backup, and when that ended
    newest: Outcome | None


@dataclass(frozen=True, slots=True)
class Copies:
    """Of one target."""

    max_age: int  # seconds
    good: datetime | None  # when all of it had arrived
    sent: int | None  # bytes


@dataclass(frozen=True, slots=True)
class Facts:
    """What the metrics are made of; `now` is when they are written."""

    now: datetime
    status: Report  # of `zborg status`
    hosts: Mapping[str, Backups]
    targets: Mapping[str, Copies]
    last: Sequence[Report]  # the newest of each command
    pools: Sequence[Outcome]
    verified: Mapping[str, tuple[datetime, Outcome]] = field(default_factory=dict)  # by host the last one
    storage: str = ""  # its dataset
    compactions: Sequence[CompactionFigures] = ()


Sample = tuple[str, tuple[str, ...], float]  # a name, the values of its labels, its value


def text(facts: Facts) -> str:
    """In the exposition format. What is not known has no line: a 0 would be a claim."""
    from prometheus_client import CollectorRegistry, Gauge, generate_latest

    registry = CollectorRegistry()
    gauges = {
        name: Gauge(f"zborg_{name}", meaning, labels, registry=registry)
        for name, (labels, meaning) in METRICS.items()
    }
    for name, labels, value in samples(facts):
        gauge = gauges[name].labels(*map(printable, labels)) if labels else gauges[name]
        gauge.set(value)
    return generate_latest(registry).decode()


def samples(facts: Facts) -> Iterator[Sample]:
    """Every sample as name (without the prefix), labels and value; times are seconds since 1970."""
    yield "written_timestamp_seconds", (), facts.now.timestamp()
    yield from _findings(facts.status)
    for name, backups in facts.hosts.items():
        yield from _host(name, backups)
    for name, (at, outcome) in facts.verified.items():
        yield "host_verified_timestamp_seconds", (name,), at.timestamp()
        yield "host_damaged", (name,), outcome.status is Status.DAMAGED
    for name, copies in facts.targets.items():
        yield from _target(name, copies)
    for report in facts.last:
        labels = (report.command,)
        yield "command_finished_timestamp_seconds", labels, report.finished.timestamp()
        yield "command_duration_seconds", labels, (report.finished - report.started).total_seconds()
        yield "command_exit_code", labels, int(report.exit)
    yield from _compactions(facts)
    for pool in facts.pools:
        yield from _pool(pool)


def _compactions(facts: Facts) -> Iterator[Sample]:
    known, dataset = facts.compactions, (facts.storage,)
    if not known:
        return
    yield "compaction_freed_bytes", dataset, sum(one.freed for one in known)
    yield "compaction_reclaimable_bytes", dataset, sum(one.gain for one in known)
    yield "compaction_quarantined_snapshots", dataset, sum(one.held for one in known)
    for one in known:
        yield "host_compaction_freed_bytes", (one.name,), one.freed
        yield "host_compaction_reclaimable_bytes", (one.name,), one.gain
        if one.held_until:
            yield "host_quarantine_end_timestamp_seconds", (one.name,), one.held_until.timestamp()


def _level(status: Status) -> int:
    if status.bad or status is Status.PARTIAL:
        return 2
    return 1 if status is Status.WARNING else 0


def _findings(report: Report) -> Iterator[Sample]:
    """Of several lines about one subject the gravest counts."""
    levels: dict[tuple[str, str], int] = {}
    for one in report.outcomes:
        key = one.kind, one.subject
        levels[key] = max(levels.get(key, 0), _level(one.status))
    for number, level in enumerate(("ok", "warning", "bad")):
        yield "findings", (level,), list(levels.values()).count(number)
    for key, found in levels.items():
        yield "finding_level", key, found


def _host(name: str, backups: Backups) -> Iterator[Sample]:
    yield "host_max_age_seconds", (name,), backups.max_age
    if backups.newest:
        yield "host_good", (name,), backups.newest.status.good
    if backups.good:
        at, outcome = backups.good
        yield "host_last_success_timestamp_seconds", (name,), at.timestamp()
        made = backup_of(outcome.result)
        numbers = {
            "host_duration_seconds": made.seconds,
            "host_files": made.files,
            "host_original_bytes": made.original_bytes,
            "host_new_bytes": made.new_bytes,
        }
        yield from ((metric, (name,), value) for metric, value in numbers.items() if value is not None)


def _target(name: str, copies: Copies) -> Iterator[Sample]:
    yield "target_max_age_seconds", (name,), copies.max_age
    if copies.good:
        yield "target_last_success_timestamp_seconds", (name,), copies.good.timestamp()
    if copies.sent is not None:
        yield "target_sent_bytes", (name,), copies.sent


def _pool(outcome: Outcome) -> Iterator[Sample]:
    pool, labels = outcome.result, (outcome.subject,)
    if not isinstance(pool, PoolState):
        return
    yield "pool_size_bytes", labels, pool.size
    yield "pool_free_bytes", labels, pool.free
    yield "pool_errors", labels, pool.errors
    yield "pool_device_errors", labels, pool.device_errors
    yield "pool_online", labels, pool.health == "ONLINE"
    if pool.scrub_finished:
        yield "pool_scrub_timestamp_seconds", labels, pool.scrub_finished.timestamp()
