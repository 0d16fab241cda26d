"""history: what earlier nights came to, and what the snapshots tell of them when the history is lost."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

from zborg.config import Config
from zborg.errors import Exit
from zborg.model import P_RUN, P_TRANSACTION, Emit, Event, Outcome, Report, Snapshot, Status, Zfs
from zborg.state.history import History
from zborg.state.recorder import Recorder
from zborg.state.runs import Runs


def recorded_runs(config: Config, state: Path, zfs: Zfs, emit: Emit) -> Runs:
    """The run files below `state`, whose every report is recorded in the history beside them."""
    return Runs(state / "runs", recorder(config, state, zfs, emit))


def recorder(config: Config, state: Path, zfs: Zfs, emit: Emit) -> Recorder:
    return Recorder(
        History(state / "history.db"),
        state / "runs",
        lambda: told_by_snapshots(zfs, config),
        lambda words: emit(Event("warning", "history", words)),
    )


def told_by_snapshots(zfs: Zfs, config: Config) -> Iterator[Report]:
    """One report per run of `zborg snapshot` whose snapshots are still there. Raises as Zfs.

    They tell when each dataset was snapshotted and how its host's backup was marked; nothing of a backup's
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
    words = f"{snapshot.raw}, marked {state.value}" if state else f"{snapshot.raw}, without a mark"
    data: dict[str, object] = {"snapshot": snapshot.full, "state": state.value if state else None}
    number = snapshot.properties.get(P_TRANSACTION, "")
    if number.isascii() and number.isdigit():
        data["transaction"] = int(number)
    return Outcome("dataset", snapshot.dataset, Status.OK, words, data=data)
