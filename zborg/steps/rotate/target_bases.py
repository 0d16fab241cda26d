"""What replication keeps on the storage: the last common snapshot of every target, and what is on its way.

Rotation reads it from the records on the datasets, and gives up what stayed too long for a target.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from zborg.errors import ZborgError
from zborg.model import P_TARGET, Dataset, Outcome, Snapshot, Status, Target
from zborg.model.text.remedy import command, remedy
from zborg.model.text.units import counted
from zborg.planning.replicate.facts import Recorded
from zborg.planning.rotate.hold_tags import TO
from zborg.planning.rotate.unreplicated import Judged, Retained, judge
from zborg.steps.context import StepRun
from zborg.steps.run_queries import up_to_date


@dataclass(frozen=True)
class Bases:
    """Each target's last common guid, by dataset and target; and whose record says nothing."""

    guids: Mapping[tuple[str, str], str]
    unreadable: Mapping[str, ZborgError]

    def vetoes(self, snapshots: Iterable[Snapshot], let_go: Iterable[Retained]) -> dict[str, str]:
        """Why snapshots stay, whatever their holds say: each is the last common one, or could be."""
        gone = {(one.snapshot.dataset, one.target) for one in let_go if self._is_base(one)}
        common: dict[tuple[str, str], list[str]] = {}
        for (dataset, target), guid in self.guids.items():
            if (dataset, target) not in gone:
                common.setdefault((dataset, guid), []).append(target)
        reasons = {}
        for one in snapshots:
            if error := self.unreadable.get(one.dataset):
                reasons[one.guid] = error.message
            elif targets := common.get((one.dataset, one.guid)):
                reasons[one.guid] = f"last common snapshot with {', '.join(targets)}"
        return reasons

    def _is_base(self, retained: Retained) -> bool:
        return self.guids.get((retained.snapshot.dataset, retained.target)) == retained.snapshot.guid


def bases(datasets: Iterable[Dataset]) -> Bases:
    """What the records on the datasets say; one that cannot be read is an error of its dataset."""
    guids: dict[tuple[str, str], str] = {}
    unreadable: dict[str, ZborgError] = {}
    for dataset in datasets:
        for key, value in dataset.properties.items():
            if not key.startswith(P_TARGET):
                continue
            try:
                base = Recorded.parse(value).base
            except ValueError as error:
                again = remedy(command("zfs", "inherit", key, dataset.name), "zborg replicate")
                unreadable[dataset.name] = ZborgError(f"{key} cannot be read: {error}", again)
                continue
            if base:
                guids[dataset.name, key.removeprefix(P_TARGET)] = base
    return Bases(guids, unreadable)


def kept_too_long(run: StepRun, known: Bases, snapshots: Sequence[Snapshot]) -> Judged:
    """Judged by each target's limits. Asks for tags only when something is old: one command per 100."""
    targets = run.context.config.targets
    old = list(_old(run, snapshots)) if targets else []
    return judge(_kept(run, known, old) if old else (), targets, run.started)


def _old(run: StepRun, snapshots: Sequence[Snapshot]) -> Iterator[Snapshot]:
    """What no replication that is in time still keeps: not the newest, and older than `max_age`."""
    shortest = timedelta(seconds=min(target.max_age for target in run.context.config.targets))
    ours = sorted((one for one in snapshots if one.name), key=lambda one: one.createtxg)
    newest = {one.dataset: one.guid for one in ours}
    for one in ours:
        if one.guid != newest[one.dataset] and run.started - _at(one) > shortest:
            yield one


def _at(snapshot: Snapshot) -> datetime:
    return snapshot.name.at if snapshot.name else snapshot.created


def _kept(run: StepRun, known: Bases, old: Sequence[Snapshot]) -> Iterator[Retained]:
    """Not of a target that has nothing yet: without a base no bookmark helps, and a first stream may take
    months."""
    # By the records first: a held snapshot of a dataset without one is not replication's.
    replicated = {dataset for dataset, _ in known.guids}
    held = [one.full for one in old if one.holds and one.dataset in replicated]
    tagged = {(hold.snapshot, hold.tag) for hold in run.context.storage.zfs.holds(held)} if held else set()
    arrived: Mapping[str, datetime] | None = None
    for one in old:
        for target in run.context.config.targets:
            is_held = (one.full, TO + target.name) in tagged
            base = known.guids.get((one.dataset, target.name))
            if base and (is_held or base == one.guid):
                arrived = up_to_date(run.context.runs, _at(old[0])) if arrived is None else arrived
                last = arrived.get(_subject(run, one, target))
                yield Retained(target.name, one, max(_at(one), last) if last else _at(one), is_held)


def _subject(run: StepRun, snapshot: Snapshot, target: Target) -> str:
    below = snapshot.dataset.removeprefix(run.context.config.storage.dataset)
    return f"{target.name}:{target.dataset}{below}"


def behind(run: StepRun, known: Bases, judged: Judged) -> list[Outcome]:
    """Targets that do not get what they should, and records of those that zborg.toml names no more."""
    late = [Outcome("target", one.subject, one.level, one.message, one.remedy) for one in judged.findings]
    return [*late, *_of_no_target(run, known)]


def _of_no_target(run: StepRun, known: Bases) -> Iterator[Outcome]:
    """A record may outlive its target in zborg.toml. It might come back, so only somebody can forget it."""
    config = run.context.config
    targets = Counter(target for _, target in known.guids)
    for name in sorted(targets.keys() - {target.name for target in config.targets}):
        words = f"is not in {config.path}, and for it {counted(targets[name], 'dataset')} still hold on to "
        words += "the last common snapshot, whatever the policy says"
        forget = command("zfs", "inherit", "-r", f"{P_TARGET}{name}", config.storage.dataset)
        release = command("zborg", "holds", "release", "--stale")
        gone = remedy(forget, release, first="if that target is gone for good:")
        yield Outcome("target", name, Status.WARNING, words, gone)


def give_way(run: StepRun, doomed: Sequence[Snapshot], let_go: Iterable[Retained]) -> str:
    """What is let go and about to be destroyed becomes a bookmark first, then its hold is released.

    Returns its message. The dataset's lock must be held.
    """
    guids, zfs, output = {one.guid for one in doomed}, run.context.storage.zfs, []
    for one in let_go:
        if one.snapshot.guid in guids:
            zfs.bookmark(one.snapshot.full, one.snapshot.snapname)
            if one.held:
                zfs.release(TO + one.target, one.snapshot.full)
            output.append(f"; @{one.snapshot.snapname} stays as a bookmark, for {one.target}")
    return "".join(output)
