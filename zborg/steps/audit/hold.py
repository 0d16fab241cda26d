"""What a finding does to a host's snapshots: its rotation is frozen, and the last clean one is held."""

from __future__ import annotations

from zborg.errors import ZborgError
from zborg.model import Snapshot
from zborg.model.ledger.entries import Audited
from zborg.planning.rotate.hold_tags import keep_tag
from zborg.state.frozen import Freeze
from zborg.state.ledger.ledger import Ledger
from zborg.steps.context import Context

_LONGEST = 300  # characters of a reason
_OWNER = "audit"  # of the hold


def freeze(context: Context, audited: Audited) -> None:
    """After a finding, and unless it is frozen already."""
    frozen, host = context.frozen, audited.host
    if audited.anomalies and host not in frozen.now():
        reasons = "; ".join(one.message for one in audited.anomalies)
        frozen.put(Freeze(host, f"audit: {reasons}"[:_LONGEST], audited.at))


def is_open(context: Context, before: Audited) -> bool:
    """What was found once is there until a person has looked into it and released the host."""
    if before.clean:
        return False
    found = context.frozen.get(before.host)
    return not (found and found.released and found.released >= before.at)


def last_clean(context: Context, ledger: Ledger, host: str) -> Snapshot | None:
    """The last snapshot in which nothing was wrong, where it is still there."""
    clean = ledger.last_clean(host)
    if clean is None:
        return None
    name = context.config.storage.dataset_of(host)
    found = context.storage.zfs.snapshots(name)
    return next((one for one in found if one.dataset == name and one.guid == clean.guid), None)


def hold(context: Context, clean: Snapshot) -> str:
    """Until a person lets it go; what became of that, as the end of a sentence."""
    tag = keep_tag(_OWNER, None)
    try:
        context.storage.zfs.hold(tag, clean.full)
    except ZborgError as error:
        return f", and could not be held: {error.message}"
    return f", which is held now ({tag})"
