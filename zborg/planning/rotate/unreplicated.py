"""How long a target that gets nothing may keep snapshots on the storage.

The last snapshot that a target has stays here for the next increment, whatever the policy says, and so
does one that is on its way. While the target is away both hold on to ever more space (zrepl issue 606).
At the limit they stay for it no longer: a bookmark, which costs nothing, is as good a base. What the
policy keeps is not touched by that.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from zborg.model import Finding, Snapshot, Status, Target
from zborg.model.text.remedy import command, remedy
from zborg.model.text.units import counted, duration, size

EARLY = 2
"""The alarm is given at this part of a limit, a half."""


@dataclass(frozen=True, slots=True)
class Retained:
    """A snapshot that stays for a target. `since` is when that target last got something of the dataset;
    `held` whether a hold of the target's is on it."""

    target: str
    snapshot: Snapshot
    since: datetime
    held: bool = False


@dataclass(frozen=True, slots=True)
class Judged:
    """What no longer stays for its target, and the findings of each target."""

    let_go: tuple[Retained, ...]
    findings: tuple[Finding, ...]


def judge(retained: Iterable[Retained], targets: Sequence[Target], now: datetime) -> Judged:
    """Each target by its own limits, each dataset by itself. Other targets than these have none."""
    by_target: defaultdict[str, list[Retained]] = defaultdict(list)
    for one in retained:
        by_target[one.target].append(one)
    let_go: list[Retained] = []
    findings: list[Finding] = []
    for target in targets:
        over = tuple(_over(by_target[target.name], target, now))
        let_go += over
        findings += _warnings(by_target[target.name], over, target, now)
    return Judged(tuple(let_go), tuple(findings))


def _over(retained: Iterable[Retained], target: Target, now: datetime) -> Iterator[Retained]:
    """Those past a limit, the oldest first: the base is given up before what is on its way."""
    by_dataset: defaultdict[str, list[Retained]] = defaultdict(list)
    for one in sorted(retained, key=lambda one: one.snapshot.createtxg):
        by_dataset[one.snapshot.dataset].append(one)
    for some in by_dataset.values():
        space = sum(one.snapshot.used for one in some)
        for one in some:
            if _is_past(_age(one, now), space, target):
                space -= one.snapshot.used
                yield one


def _age(retained: Retained, now: datetime) -> float:
    return (now - retained.since).total_seconds()


def _is_past(age: float, space: int, target: Target, part: int = 1) -> bool:
    """Whether that part of a limit is reached. Space counts only once the replication is overdue."""
    longest, most = target.max_unreplicated_age, target.max_unreplicated_space
    return bool(longest and age * part > longest) or bool(
        most and age > target.max_age and space * part > most
    )


def _warnings(
    retained: Sequence[Retained], over: Sequence[Retained], target: Target, now: datetime
) -> Iterator[Finding]:
    """One warning per target, whatever the number of its datasets; none while it is early."""
    space: defaultdict[str, int] = defaultdict(int)
    for one in retained:
        space[one.snapshot.dataset] += one.snapshot.used
    late = [
        one for one in retained if _is_past(_age(one, now), space[one.snapshot.dataset], target, part=EARLY)
    ]
    if not late:
        return
    age, bytes_ = max(_age(one, now) for one in late), sum(one.snapshot.used for one in late)
    message = (
        f"nothing new arrived there for {duration(age)}: {counted(len(late), 'snapshot')} "
        f"({size(bytes_)} in no other) stayed here for it whatever the policy says"
    )
    message += (
        f"; {len(over)} no longer, for the limit is {_limits(target)}; their bookmarks remain for the next"
        if over
        else f"; the limit is {_limits(target)}"
    )
    first = f"the limits are max_unreplicated_age and max_unreplicated_space of [targets.{target.name}]:"
    again = remedy(command("zborg", "replicate", target.name), first=first)
    yield Finding(target.name, Status.WARNING, message, again)


def _limits(target: Target) -> str:
    age, space = target.max_unreplicated_age, target.max_unreplicated_space
    words = [duration(age)] if age else []
    return " or ".join([*words, *([f"{size(space)} of a dataset"] if space else [])])


def without(snapshots: Iterable[Snapshot], let_go: Iterable[Retained]) -> tuple[Snapshot, ...]:
    """The snapshots as they will be once the holds of `let_go` are released."""
    released: defaultdict[str, int] = defaultdict(int)
    for one in let_go:
        released[one.snapshot.guid] += one.held
    return tuple(
        replace(one, holds=one.holds - released[one.guid]) if one.guid in released else one
        for one in snapshots
    )
