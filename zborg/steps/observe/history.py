"""history: what earlier nights came to, and what the snapshots show of them when the history is lost."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from zborg.config import Config
from zborg.errors import Exit, UsageError
from zborg.model import P_RUN, P_TRANSACTION, Emit, Entry, Outcome, Report, Snapshot, Status, Zfs
from zborg.model.events import Warned
from zborg.model.results import Night as NightResult
from zborg.model.results import RecordedBackup, RecordedFinding, SnapshotTaken, backup_of
from zborg.model.text.units import counted
from zborg.planning.observe.nights import Night, nights, trend
from zborg.state.history import History
from zborg.state.recorder import Recorder
from zborg.state.runs import Runs, new_run
from zborg.steps.inventory import Remembering

_OF_A_NIGHT = ("original_bytes", "new_bytes")  # what is summed up of its hosts


def recorded_runs(config: Config, state: Path, zfs: Zfs, emit: Emit) -> Runs:
    """The run files below `state`, whose every report is recorded in the history beside them.

    Which hosts there are is remembered as well.
    """
    record = recorder(config, state, zfs, emit)
    remember = Remembering(config, Runs(state / "runs"), lambda words: emit(Warned("hosts", words)))

    def also(report: Report, file: str) -> None:
        record(report, file)
        remember(report)

    return Runs(state / "runs", also, lambda words: emit(Warned("state", words)), history=_history_of(state))


def recorder(config: Config, state: Path, zfs: Zfs, emit: Emit) -> Recorder:
    """What takes reports into the history, and makes a lost one anew."""
    return Recorder(
        _history_of(state),
        state / "runs",
        lambda: told_by_snapshots(zfs, config),
        lambda words: emit(Warned("history", words)),
    )


def _history_of(state: Path) -> History:
    return History(state / "history.db")


def history(past: History, config: Config, host: str, days: int, now: datetime) -> Report:
    """The nights of the last days, or the backups of one host with their trend.

    Raises UsageError, and as History. It only shows: whatever the nights came to, this is exit 0.
    """
    since = now - timedelta(days=days)
    entries = past.outcomes("host", host, since, None if host else _OF_A_NIGHT)
    findings = _findings(past, host, since) if host else []
    if host and not (entries or findings) and host not in (known := [one.name for one in config.hosts]):
        raise UsageError(f"nothing is recorded of {host}", f"known hosts: {', '.join(known) or 'none'}")
    parts = _of_host(host, entries, findings) if host else [_of_night(one) for one in nights(entries)]
    return Report("history", new_run(now), config.name, now, now, Status.OK, Exit.OK, tuple(parts))


def _of_night(night: Night) -> Outcome:
    status = Status.OK if night.good and not night.bad else Status.PARTIAL if night.good else Status.FAILED
    words = ", ".join(night.bad) if night.hosts else "no backup"
    result = NightResult(
        good=len(night.good),
        bad=night.bad,
        original_bytes=night.total(lambda one: one.original_bytes),
        new_bytes=night.total(lambda one: one.new_bytes),
        seconds=night.seconds,
    )
    return Outcome("night", night.day.isoformat(), status, words, result=result)


def _findings(past: History, host: str, since: datetime) -> list[Entry]:
    """What audit and the ledger's witnesses found of it."""
    found = [entry for kind in ("audit", "witness") for entry in past.outcomes(kind, host, since)]
    return [entry for entry in found if entry.outcome.status is Status.DAMAGED]


def _of_host(host: str, entries: Sequence[Entry], findings: Sequence[Entry]) -> Iterator[Outcome]:
    for entry in sorted((*entries, *findings), key=lambda entry: entry.ended):
        if entry.outcome.kind != "host":
            found = RecordedFinding(run=entry.run, ended=entry.ended, ended_here=_here(entry))
            yield replace(entry.outcome, result=found)
        elif entry.command == "backup":
            here = _here(entry)
            facts: dict[str, Any] = vars(backup_of(entry.outcome.result))
            recorded = RecordedBackup(**facts, run=entry.run, ended=entry.ended, ended_here=here)
            yield replace(entry.outcome, result=recorded)
    shown = trend(entries)
    words = f"nothing is recorded of {host} in these days" if not (shown.of or findings) else ""
    yield Outcome("trend", host, Status.OK, words, result=shown)


def _here(entry: Entry) -> str:
    """When it ended, in the server's own time zone."""
    return f"{entry.ended.astimezone():%Y-%m-%d %H:%M}"


def rebuild(again: Recorder, config: Config, now: datetime, *, dry_run: bool) -> Report:
    """Make the history anew of what is known elsewhere; what it knows stays. Raises as History."""
    empty = Report("history", new_run(now), config.name, now, now, Status.OK, Exit.OK, ())
    if dry_run:
        return replace(empty, plan=("record what all run files and the snapshots' properties tell",))
    words = f"{counted(again.rebuild(), 'run')} recorded"
    return replace(empty, outcomes=(Outcome("history", "history.db", Status.OK, words),))


def told_by_snapshots(zfs: Zfs, config: Config) -> Iterator[Report]:
    """One report per run of `zborg snapshot` whose snapshots are still there. Raises as Zfs.

    They show when each dataset was snapshotted and how its host's backup was marked; nothing of a backup's
    numbers, of replications and of scrubs.
    """
    if config.storage.received:  # of those copies another server's zborg has the history
        return
    by_run: dict[str, list[Snapshot]] = defaultdict(list)
    for snapshot in zfs.snapshots(config.storage.dataset):
        if snapshot.name and snapshot.dataset != config.storage.dataset and P_RUN in snapshot.properties:
            by_run[snapshot.properties[P_RUN]].append(snapshot)
    for run, snapshots in by_run.items():
        yield _report(run, config.name, snapshots)


def _report(run: str, server: str, snapshots: Sequence[Snapshot]) -> Report:
    at = min(snapshot.created for snapshot in snapshots)
    outcomes = tuple(map(_outcome, snapshots))
    return Report("snapshot", run, server, at, at, Status.OK, Exit.OK, outcomes)


def _outcome(snapshot: Snapshot) -> Outcome:
    state = snapshot.state
    words = f"{snapshot.snapname}, marked {state.value}" if state else f"{snapshot.snapname}, without a mark"
    number = snapshot.properties.get(P_TRANSACTION, "")
    result = SnapshotTaken(
        snapshot=snapshot.full,
        state=state.value if state else None,
        transaction=int(number) if number.isascii() and number.isdigit() else None,
    )
    return Outcome("dataset", snapshot.dataset, Status.OK, words, result=result)
