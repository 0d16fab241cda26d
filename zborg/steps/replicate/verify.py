"""replicate --verify: both sides' full lists of guids, dataset by dataset. Changes nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from zborg.errors import ZborgError
from zborg.model import Outcome, Report, Status
from zborg.model.results import Verified
from zborg.model.text.remedy import command
from zborg.planning.replicate.verify import Gap, gap
from zborg.steps.context import StepRun, inspect, outcome_of, reporting, select_targets
from zborg.steps.replicate.endpoints import Comparison, ReplicationPair


@reporting
def verify(run: StepRun, names: Sequence[str] = ()) -> Report:
    """Exit 4 where a copy is without a snapshot, 12 where both sides contradict each other. Saves nothing."""
    targets = select_targets(run.context.config, names)
    outcomes: list[Outcome] = []
    for target in targets:
        try:
            pair = ReplicationPair(run, target, run.context.target(target).zfs)
            outcomes += _datasets(pair, pair.compare())
        except ZborgError as error:
            outcomes.append(outcome_of("target", target.name, error))
    if not targets:
        outcomes.append(Outcome("target", "targets", Status.SKIPPED, "none in zborg.toml"))
    return run.report(outcomes, rule=inspect)


def _datasets(pair: ReplicationPair, found: Comparison) -> Iterator[Outcome]:
    conflicts = {one.source.name: one for one in found.plan.conflicts}
    again = command("zborg", "replicate", pair.target.name)
    for name, side in sorted(found.source.sides.items()):
        copy = found.copy.side(name)
        between, subject = gap(side, copy), f"{pair.target.name}:{copy.name}"
        if conflict := conflicts.get(side.name):
            words = f"{conflict.kind.value}: {conflict.message}; {between}"
            yield Outcome("replica", subject, Status.CONFLICT, words, conflict.remedy, _result(between))
        elif copy.dataset is None:
            status = Status.FAILED if side.ours else Status.SKIPPED
            yield Outcome("replica", subject, status, "there is no copy", again, _result(between))
        else:
            status = Status.OK if between.closed else Status.FAILED
            advice = "" if between.closed else again
            yield Outcome("replica", subject, status, str(between), advice, _result(between))
    for name in found.plan.gone:
        yield Outcome("replica", f"{pair.target.name}:{name}", Status.WARNING, "is no longer on the source")


def _result(between: Gap) -> Verified:
    return Verified(
        common=between.common,
        unsent=tuple(one.snapname for one in between.unsent),
        here=tuple(one.snapname for one in between.here),
        there=tuple(one.snapname for one in between.there),
    )
