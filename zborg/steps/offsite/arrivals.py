"""What an off-site's own rotation does besides: it minds when copies arrived, and gives up cut streams."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from zborg.config import Config
from zborg.errors import ZborgError
from zborg.model import Dataset, Finding, Outcome, Snapshot, Status
from zborg.model.results import Arrivals, GivenUp
from zborg.model.storage.zfs import P_ABANDON
from zborg.model.text.units import size
from zborg.planning.observe.health import arrival_finding
from zborg.state.arrivals import FirstSeen
from zborg.steps.context import StepRun, outcome_of

KIND = "arrivals"


def arrivals(run: StepRun, snapshots: Sequence[Snapshot], datasets: Sequence[Dataset]) -> Outcome:
    """Whether anything still comes. Its data lets `status` judge again later."""
    config, now, first = run.context.config, run.started, run.context.runs.since() or run.started
    root = config.storage.dataset
    newest: dict[str, datetime | None] = {one.name: None for one in datasets if one.name != root}
    for one in snapshots:
        known = newest.get(one.dataset)
        if one.arrived and one.dataset in newest and (known is None or known < one.arrived):
            newest[one.dataset] = one.arrived
    found = _outcome(arrival_finding(root, newest, config.snapshot_max_age, now, first), newest)
    # Saved reports are read by older versions and other servers, which do not know this state.
    return replace(found, status=Status.SKIPPED) if found.status is Status.PENDING else found


def first_seen(run: StepRun, snapshots: Sequence[Snapshot]) -> Mapping[str, datetime]:
    """By guid, and written down, before anything is destroyed."""
    record = FirstSeen(run.context.config.state_dir / "arrivals.json")
    seen = record.among([one.guid for one in snapshots], run.started)
    if not run.dry_run:
        record.put(seen)
    return seen


def again(seen: Outcome, config: Config, first: datetime | None, now: datetime) -> Outcome:
    """The same, judged by how old it has become meanwhile."""
    newest = seen.result.newest if isinstance(seen.result, Arrivals) else {}
    found = arrival_finding(config.storage.dataset, newest, config.snapshot_max_age, now, first)
    return _outcome(found, newest)


def _outcome(finding: Finding, newest: Mapping[str, datetime | None]) -> Outcome:
    result = Arrivals(newest=newest)
    return Outcome(KIND, finding.subject, finding.level, finding.message, finding.remedy, result)


def give_up(run: StepRun, datasets: Sequence[Dataset]) -> Iterator[Outcome]:
    """Abort the partial receives that their sender asked to abort, through the sink, and no others."""
    for one in datasets:
        if one.resume_token and P_ABANDON in one.properties:
            try:
                yield from _give_up(run, one, one.resume_token)
            except ZborgError as error:
                yield outcome_of("dataset", one.name, error)


def _give_up(run: StepRun, dataset: Dataset, token: str) -> Iterator[Outcome]:
    cut = run.context.storage.zfs.decode(token)
    if cut.to_guid == dataset.properties[P_ABANDON]:  # else the wish was about an earlier one
        run.context.storage.zfs.abort_receive(dataset.name)
        _fulfilled(run, dataset.name)
        words = f"gave up a cut stream of {cut.to_name}, {size(cut.received)}, as its sender asked"
        yield Outcome("dataset", dataset.name, Status.OK, words, result=GivenUp(given_up=cut.received))


def _fulfilled(run: StepRun, name: str) -> None:
    """The same snapshot may come anew, from another base, and be cut again: nobody asked to give that up.
    Of a first stream the dataset is gone, and the wish with it."""
    if any(one.name == name for one in run.context.storage.zfs.datasets(name)):
        run.context.storage.zfs.set([name], {P_ABANDON: "done"})
