"""What to send to a target, dataset by dataset.

In this order: finish a cut stream; continue from the target's newest snapshot, which the source must
still have as a snapshot or a bookmark; send in full to a dataset that does not exist. Whatever else is
found is a `Divergence`: rolling back or overwriting a copy is never planned, so there is no -F, and
every stream brings one snapshot, so there is no -R and no -I.

The values are in `zborg.planning.replicate.facts`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from zborg.model import P_TARGET, Bookmark, ResumeToken, Snapshot
from zborg.model.text.units import counted
from zborg.planning.replicate.actions import (
    Abandon,
    DatasetPlan,
    Divergence,
    Full,
    Increment,
    Kind,
    Mark,
    ReplicationPlan,
    Resume,
    Step,
)
from zborg.planning.replicate.divergence import (
    aside,
    destroy_foreign,
    forget,
    investigate,
    rename_taken,
    undo,
)
from zborg.planning.replicate.facts import Link, Pair, Recorded, Side, Tree, after, marks, newest_common
from zborg.planning.replicate.foreign_snapshots import tools_of


def plan_all(
    source: Tree,
    target: Tree,
    recorded: Mapping[str, str],
    tokens: Mapping[str, ResumeToken],
    link: Link,
) -> ReplicationPlan:
    """Plan every dataset of the source. All keys are names below the roots.

    `recorded` holds the values of `zborg:target.NAME` as they stand on the source's datasets. A conflict
    in one dataset leaves the others their plans. A parent always comes before its children.
    """
    taken = frozenset(side.name for side in target.sides.values() if side.dataset)
    present = {name: side for name, side in sorted(source.sides.items()) if side.dataset}
    results = [
        _plan_recorded(
            Pair(side, target.side(name), None, tokens.get(name), link.name, taken), recorded.get(name), link
        )
        for name, side in present.items()
    ]
    return ReplicationPlan(
        datasets=tuple(result for result in results if isinstance(result, DatasetPlan)),
        conflicts=tuple(result for result in results if isinstance(result, Divergence)),
        gone=tuple(
            side.name for name, side in sorted(target.sides.items()) if side.dataset and name not in present
        ),
    )


def _plan_recorded(pair: Pair, record: str | None, link: Link) -> DatasetPlan | Divergence:
    try:
        recorded = Recorded.parse(record) if record is not None else None
    except ValueError as error:
        return _conflict(Kind.RECORD_UNREADABLE, pair, f"{P_TARGET}{link.name}: {error}", forget(pair, link))
    return plan_dataset(replace(pair, recorded=recorded), link)


def plan_dataset(pair: Pair, link: Link) -> DatasetPlan | Divergence:
    """The steps that bring one copy up to date, or the conflict that forbids any step."""
    conflict = _against_record(pair, link) or _unlike(pair)
    if conflict:
        return conflict
    steps = _steps(pair)
    if isinstance(steps, Divergence):
        return steps
    empty = not pair.source.ours and pair.target.newest is None
    steps = (*_unmarked(pair), *steps)
    return _collision(pair, steps) or DatasetPlan(pair.source.name, pair.target.name, steps, empty)


def _against_record(pair: Pair, link: Link) -> Divergence | None:
    """The source is another dataset than the one first sent, or the streams would be of another kind."""
    recorded, dataset = pair.recorded, pair.source.dataset
    if recorded is None or dataset is None:
        return None
    if recorded.source_guid != dataset.guid:
        message = (
            f"the source was recreated: {link.name} was sent the dataset with guid {recorded.source_guid}, "
            f"now it has guid {dataset.guid}"
        )
        return _conflict(Kind.SOURCE_RECREATED, pair, message, forget(pair, link))
    if recorded.flags != link.word(dataset) and pair.target.dataset is not None:
        message = f"the copy was made of {recorded.flags} streams, now they would be {link.word(dataset)}"
        return _conflict(Kind.FLAGS_CHANGED, pair, message, aside(pair))
    return None


def _unlike(pair: Pair) -> Divergence | None:
    """Of an encrypted dataset a raw copy is encrypted, and one that is not was sent in the clear. The other
    way round proves nothing: whatever is received below an encrypted dataset is encrypted there."""
    if not pair.source.encrypted or pair.target.encrypted or pair.target.newest is None:
        return None
    message = "the source is encrypted and sent raw, but the copy is in the clear: no raw stream fits on it"
    return _conflict(Kind.FLAGS_CHANGED, pair, message, aside(pair))


def _unmarked(pair: Pair) -> tuple[Mark, ...]:
    newest = pair.target.newest
    same = pair.source.find(newest.guid) if newest else None
    missing = marks(same, newest) if newest and isinstance(same, Snapshot) else {}
    return (Mark(newest, missing),) if newest and missing else ()


def _steps(pair: Pair) -> tuple[Step, ...] | Divergence:
    resumed = _resume(pair)
    if isinstance(resumed, Resume):
        return (resumed, *_chain(pair.source, resumed.snapshot))
    base = _base(pair)
    if isinstance(base, Divergence):
        return base
    given_up = (resumed,) if resumed else ()
    return (*given_up, *_chain(pair.source, base))


def _chain(source: Side, base: Snapshot | Bookmark | None) -> tuple[Full | Increment, ...]:
    """One step per zborg snapshot newer than `base`, oldest first; without a base the first goes in full."""
    steps: list[Full | Increment] = []
    raw = source.encrypted
    for snapshot in after(source.ours, base):
        steps.append(Full(snapshot, raw) if base is None else Increment(base, snapshot, raw))
        base = snapshot
    return tuple(steps)


def _resume(pair: Pair) -> Resume | Abandon | None:
    """What to do with the target's cut stream, if it has one."""
    token = pair.token
    if token is None:
        cut = pair.target.dataset is not None and pair.target.dataset.resume_token is not None
        return Abandon("its resume token cannot be read", None) if cut else None
    snapshot = next((s for s in pair.source.snapshots if s.full == token.to_name), None)
    reason = _unfinishable(pair, token, snapshot)
    if snapshot is None or reason:
        return Abandon(reason, token.received)
    return Resume(token, snapshot)


def _unfinishable(pair: Pair, token: ResumeToken, snapshot: Snapshot | None) -> str:
    """Why `zfs send -t` or the receive would fail, whenever it is tried; empty when it can work."""
    if snapshot is None:
        return f"{token.to_name} is gone from the source"
    if snapshot.guid != token.to_guid:
        return f"{token.to_name} is another snapshot now (guid {snapshot.guid}, was {token.to_guid})"
    if snapshot.name is None:
        return f"{token.to_name} is not a snapshot of zborg's"
    if token.raw != pair.source.encrypted:
        return f"{token.to_name} is {'not ' if token.raw else ''}encrypted, and the rest was to come " + (
            "raw" if token.raw else "in the clear"
        )
    if token.from_guid and pair.source.find(token.from_guid) is None:
        return f"its base (guid {token.from_guid}) is gone from the source"
    newest = pair.target.newest
    if token.from_guid != (newest.guid if newest else None):
        return "the target's newest snapshot is not the one it builds on"
    return ""


def _base(pair: Pair) -> Snapshot | Bookmark | Divergence | None:
    """Where the next increment starts on the source; None when the first stream must be a full one."""
    source, newest = pair.source, pair.target.newest
    if newest is None:
        return None if _receives_full(pair) or not source.ours else _unreceivable(pair)
    if pair.target.ours and not source.ours:
        message = "the source has no snapshot of zborg's left, the target has some"
        return _conflict(Kind.SOURCE_SHRUNK, pair, message, investigate(pair))
    return source.find(newest.guid) or _apart(pair, newest)


def _receives_full(pair: Pair) -> bool:
    """A full stream, never forced, needs a dataset that does not exist, or will not once the rest of a
    cut first full is given up."""
    dataset = pair.target.dataset
    if dataset is None:
        return True
    cut = pair.token is not None or dataset.resume_token is not None
    return cut and (pair.token is None or pair.token.from_guid is None)


def _unreceivable(pair: Pair) -> Divergence:
    message = "the target exists without a snapshot, and a full stream would have to overwrite it"
    return _conflict(Kind.NO_COMMON_BASE, pair, message, aside(pair))


def _apart(pair: Pair, newest: Snapshot) -> Divergence:
    """The target's newest snapshot is unknown to the source: say in which way."""
    if _goes_back(pair):
        message = "the source's newest snapshot is older than the target's, and the target's is not on it"
        return _conflict(Kind.SOURCE_SHRUNK, pair, message, investigate(pair))
    common = newest_common(pair.source, pair.target)
    if common is None:
        message = "no snapshot and no bookmark of the source is on the target"
        return _conflict(Kind.NO_COMMON_BASE, pair, message, aside(pair))
    extra = after(pair.target.snapshots, common)
    since = f"since the common base @{common.snapname} (guid {common.guid})"
    several = counted(len(extra), "snapshot")
    if all(one.name is None and not one.clones for one in extra):
        tools = " and ".join(tools_of(one.snapname for one in extra)) or "somebody other than zborg"
        last = newest.snapname
        message = f"{since} {tools} took {several} of the copy, the newest @{last}: no increment fits on it"
        return _conflict(Kind.FOREIGN, pair, message, destroy_foreign(pair, extra))
    message = f"{since} the target got {several} the source does not have, the newest @{newest.snapname}"
    return _conflict(Kind.DIVERGED, pair, message, aside(pair))


def modified(source: Side, target: Side, where: str = "the target") -> Divergence:
    """What only the receive can find: the target was written to, so its newest snapshot is not its state."""
    pair = Pair(source, target, where=where)
    last = f"{target.name}@{target.newest.snapname if target.newest else 'SNAPSHOT'}"
    message = f"the target was written to since {last}, and an increment would have to overwrite that"
    return _conflict(Kind.MODIFIED, pair, message, undo(pair))


def _goes_back(pair: Pair) -> bool:
    """By the names: one side's createtxg means nothing to the other."""
    here, there = pair.source.ours, pair.target.ours
    if not here or not there:
        return False
    return here[-1].snapname < there[-1].snapname and pair.source.find(there[-1].guid) is None


def _collision(pair: Pair, steps: tuple[Step, ...]) -> Divergence | None:
    """ZFS refuses to receive a snapshot whose name the target has already, whatever its guid."""
    snapnames = {s.snapname for s in pair.target.snapshots}
    taken = [
        step.snapshot.snapname
        for step in steps
        if not isinstance(step, Abandon | Mark) and step.snapshot.snapname in snapnames
    ]
    if not taken:
        return None
    message = (
        f"the target has other snapshots under the names to be sent: {', '.join(f'@{r}' for r in taken[:5])}"
    )
    return _conflict(Kind.DIVERGED, pair, message, rename_taken(pair, taken))


def _conflict(kind: Kind, pair: Pair, message: str, remedy: str) -> Divergence:
    return Divergence(kind, pair.source, pair.target, message, remedy)
