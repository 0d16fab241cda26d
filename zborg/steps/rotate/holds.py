"""holds: every hold on the storage's snapshots; place one by hand, release one, release the stale."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date

from zborg.errors import UsageError, ZborgError
from zborg.model import P_TARGET, Dataset, Outcome, Report, Snapshot, Status
from zborg.model.results import HeldSnapshot, ListedHold
from zborg.model.text.units import duration
from zborg.planning.replicate.facts import Recorded
from zborg.planning.rotate.hold_tags import OWN, Facts, Held, is_over, judge_holds, keep_tag
from zborg.steps.compact.known import unsettled
from zborg.steps.context import Context, StepRun, missing, outcome_of, select_hosts
from zborg.steps.restore.source import chosen, place_of


@dataclass(frozen=True)
class Placing:
    """What to hold: each host's snapshot that `at` means (no host: all), for whom and until when."""

    at: str
    hosts: Sequence[str]
    owner: str
    until: date | None = None


def list_holds(run: StepRun) -> Report:
    """Every hold, oldest first; the stale ones with the way to let them go."""
    return run.report([_shown(run, held) for held in _judged(run)] or [_none(run)])


def _none(run: StepRun) -> Outcome:
    return Outcome("dataset", run.context.config.storage.dataset, Status.OK, "nothing is held")


def _judged(run: StepRun, dataset: str = "") -> tuple[Held, ...]:
    """One listing of each kind, and one command per 100 held snapshots."""
    context = run.context
    root = dataset or context.config.storage.dataset
    datasets, snapshots = context.storage.zfs.datasets(root), context.storage.zfs.snapshots(root)
    if not datasets:
        raise missing(context.storage.zfs, root, "", "zborg init")
    holds = context.storage.zfs.holds([one.full for one in snapshots if one.holds])
    targets = [target.name for target in context.config.targets]
    facts = Facts(snapshots, targets, _records(datasets), run.started, unsettled(context.config))
    return judge_holds(holds, facts)


def _records(datasets: Iterable[Dataset]) -> dict[tuple[str, str], Recorded]:
    found = {}
    for dataset in datasets:
        for key, value in dataset.properties.items():
            if key.startswith(P_TARGET):
                with suppress(ValueError):  # proves nothing: its holds stay
                    found[dataset.name, key.removeprefix(P_TARGET)] = Recorded.parse(value)
    return found


def _shown(run: StepRun, held: Held) -> Outcome:
    age = duration(max((run.started - held.hold.since).total_seconds(), 0))
    words = [held.hold.tag, f"{held.tag.purpose}, {age} old"]
    if held.tag.owner in OWN:
        words.append(f"placed by {held.tag.owner}")
    if held.tag.until:
        words.append(f"until {held.tag.until}")
    if held.label:
        words.append(f"of the snapshot labelled {held.label}")
    if held.stale:
        words.append(f"stale: {held.stale}")
    result = ListedHold(
        tag=held.hold.tag,
        purpose=held.tag.purpose,
        label=held.label,
        owner=held.tag.owner,
        since=held.hold.since,
        until=held.tag.until,
        stale=held.stale,
    )
    status = Status.WARNING if held.stale else Status.OK
    remedy = "zborg holds release --stale" if held.stale else ""
    return Outcome("hold", held.hold.snapshot, status, "; ".join(words), remedy, result)


def place_holds(run: StepRun, placing: Placing) -> Report:
    """Hold snapshots by hand. Raises UsageError before anything is held."""
    context = run.context
    hosts = select_hosts(context.config, placing.hosts)
    try:
        tag = keep_tag(placing.owner, placing.until)
    except ValueError as error:
        raise UsageError(f"--owner: {error}", "a-z, 0-9 and _ . -, at most 31 characters") from error
    if placing.owner in OWN:
        raise UsageError(
            f"--owner {placing.owner}: holds of that name are zborg's own",
            "give the name of a person or a job",
        )
    today = context.clock()
    if is_over(placing.until, today):
        raise UsageError(
            f"--until {placing.until} is past: today is {today.astimezone(UTC).date()} (UTC)",
            "give a day that is still to come, or leave --until out to hold it for good",
        )
    snapshots = [chosen(run, place_of(context, host.name).snapshots(), placing.at) for host in hosts]
    if run.dry_run:
        return run.planned(f"hold {one.full} as {tag}" for one in snapshots)
    return run.recorded([_place(context, tag, one) for one in snapshots])


def _place(context: Context, tag: str, snapshot: Snapshot) -> Outcome:
    try:
        context.storage.zfs.hold(tag, snapshot.full)
    except ZborgError as error:
        return outcome_of("hold", snapshot.full, error)
    return Outcome("hold", snapshot.full, Status.OK, f"held as {tag}", result=HeldSnapshot(tag=tag))


def release_hold(run: StepRun, snapshot: str, tag: str) -> Report:
    """Release exactly one hold, no matter who placed it. Raises UsageError when it is not there."""
    dataset = snapshot.partition("@")[0]
    root = run.context.config.storage.dataset
    if f"{dataset}/".startswith(f"{root}/"):
        found = [held for held in _judged(run, dataset) if held.hold.snapshot == snapshot]
    else:
        found = []
    wanted = [held for held in found if held.hold.tag == tag]
    if not wanted:
        there = ", ".join(held.hold.tag for held in found) or "no hold"
        raise UsageError(f"there is no hold {tag} on {snapshot}; it has {there}", "zborg holds list")
    return _release(run, wanted)


def release_stale(run: StepRun) -> Report:
    """Release what is stale; nobody else's holds are, whatever their age."""
    return _release(run, [held for held in _judged(run) if held.stale])


def _release(run: StepRun, wanted: Sequence[Held]) -> Report:
    if run.dry_run:
        plan = [f"release {held.hold.tag} of {held.hold.snapshot}" for held in wanted]
        return run.planned(plan or ["nothing is stale"])
    return run.recorded([_let_go(run, held) for held in wanted] or [_none_stale(run)])


def _none_stale(run: StepRun) -> Outcome:
    return Outcome("dataset", run.context.config.storage.dataset, Status.OK, "nothing is stale")


def _let_go(run: StepRun, held: Held) -> Outcome:
    """Under the dataset's lock: a replication at work may need the hold after all."""
    snapshot, tag = held.hold.snapshot, held.hold.tag
    dataset = snapshot.partition("@")[0]
    try:
        with run.context.locks.hold(f"dataset-{dataset.replace('/', ':')}"):
            run.context.storage.zfs.release(tag, snapshot)
    except ZborgError as error:
        return outcome_of("hold", snapshot, error)
    return Outcome("hold", snapshot, Status.OK, f"released {tag}", result=HeldSnapshot(tag=tag))
