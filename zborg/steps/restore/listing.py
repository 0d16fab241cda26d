"""restore list: what a host can be restored from, with local times and sizes."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

from zborg.errors import ZborgError
from zborg.model import P_TRANSACTION, Entry, Outcome, Report, Snapshot, State, Status
from zborg.model.events import Warned
from zborg.model.results import HostBackup, ListedSnapshot, backup_of
from zborg.model.text.units import counted, size
from zborg.state.history import History
from zborg.steps.context import StepRun
from zborg.steps.restore.source import STORAGE, Source, host_named, place_of

_WORDS = {
    State.OK: "good backup",
    State.FAILED: "the backup before it failed",
    State.BUSY: "taken in a backup",
    None: "no backup since the one before",
}


def list_snapshots(run: StepRun, name: str, source: Source = STORAGE) -> Report:
    """Every snapshot of one host's dataset, oldest first, with what its backup came to.

    `original_bytes` and `files` are those of the backup that the snapshot holds, where the history has it;
    `used` is what only this snapshot holds.
    """
    host = host_named(run.context, name, source)
    snapshots = place_of(run.context, host, source).snapshots()
    backups = _backups(run, name)
    return run.report([_listed(snapshot, backups) for snapshot in snapshots])


def _backups(run: StepRun, name: str) -> list[Entry]:
    """The host's good backups, oldest first. A broken history costs their sizes, and that is reported."""
    try:
        found = History(run.context.config.state_dir / "history.db").outcomes("host", name)
    except ZborgError as error:
        run.context.emit(Warned(name, f"no sizes of backups: {error.message}"))
        return []
    return [one for one in found if one.command == "backup" and one.outcome.status.good]


def _listed(snapshot: Snapshot, backups: Sequence[Entry]) -> Outcome:
    status = Status.WARNING if snapshot.state in (State.FAILED, State.BUSY) else Status.OK
    here = f"{snapshot.created.astimezone():%a %Y-%m-%d %H:%M:%S %Z}"
    backup = _newest(snapshot, backups)
    result = ListedSnapshot(
        state=snapshot.state.value if snapshot.state else None,
        transaction=snapshot.properties.get(P_TRANSACTION),
        label=snapshot.label,
        guid=snapshot.guid,
        used=snapshot.used,
        holds=snapshot.holds,
        created=snapshot.created,
        created_here=here,
        files=backup.files,
        original_bytes=backup.original_bytes,
    )
    words = [here, _WORDS[snapshot.state]]
    words += [f"labelled {snapshot.label}"] if snapshot.label else []
    words += [counted(snapshot.holds, "hold")] if snapshot.holds else []
    words += [f"{size(snapshot.used)} in it alone"] if snapshot.used else []
    return Outcome("snapshot", snapshot.snapname, status, ", ".join(words), result=result)


def _newest(snapshot: Snapshot, backups: Sequence[Entry]) -> HostBackup:
    """The newest good backup that had ended by then; an empty one where there is none."""
    before = bisect_right(backups, snapshot.created, key=lambda one: one.ended)
    if snapshot.state is not State.OK or not before:
        return HostBackup()
    return backup_of(backups[before - 1].outcome.result)
