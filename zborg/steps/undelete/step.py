"""undelete: make a repository again what it was in the last snapshot without a finding.

It happens in place: segments behind that snapshot are removed, what is missing is copied out of it. So the
dataset stays the one that is replicated, and an append-only off-site takes the next increment. What there was
before stays in a snapshot that is held until a person lets it go.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from zborg.errors import UsageError, ZborgError
from zborg.model import Outcome, Report, Snapshot
from zborg.model.ledger import entries
from zborg.model.ledger.entries import AUDIT, Audited
from zborg.model.text.remedy import command, remedy
from zborg.model.text.units import moment
from zborg.planning.rotate.hold_tags import keep_tag
from zborg.state.ledger.compactions import Undeleting
from zborg.steps.compact.facts import Subject, records_of, subject_of
from zborg.steps.context import StepRun, outcome_of, recording, select_hosts
from zborg.steps.ledger.begun import folder_of, is_begun
from zborg.steps.ledger.store import LOCK, NoLedger
from zborg.steps.one_dataset import newest_of, take
from zborg.steps.undelete.settle import KIND, Ending, check, settle

_OWNER = "undelete"  # of the holds


@dataclass(frozen=True)
class Request:
    """The snapshot (the part behind the @) that audit looked at; "" is the last one without a finding."""

    host: str
    at: str = ""


@recording
def undelete(run: StepRun, request: Request) -> Report:
    """Raises UsageError for an unknown host or a snapshot that was not audited."""
    context = run.context
    (host,) = select_hosts(context.config, [request.host])
    if context.config.storage.received:
        words = f"{context.config.storage.dataset} is received from another zborg, which alone may change it"
        raise ZborgError(words, command("zborg", "restore", "list", host.name))
    if not is_begun(context.config):
        raise NoLedger(str(folder_of(context.config)))
    subject = subject_of(context, host)
    if run.dry_run:
        point, snapshot = _point(subject, request.at)
        words = f"make {subject.dataset.name} again what it is in {snapshot.full} (transaction {point.last})"
        return run.planned([words, "hold a snapshot of what it is now, until you release it"])
    return run.report([_undeleted(run, subject, request)])


def _undeleted(run: StepRun, subject: Subject, request: Request) -> Outcome:
    name = subject.host.name
    try:
        with run.context.locks.hold(f"host-{name}"):
            subject.refuse_if_at_work()
            record = records_of(run.context).of(name)
            if record.undeleting and not request.at:
                return settle(run, subject.host)[-1]
            return _begun(run, subject, request.at, record.undeleting)
    except UsageError:
        raise
    except Exception as error:
        return outcome_of(KIND, name, error)


def _begun(run: StepRun, subject: Subject, at: str, earlier: Undeleting | None) -> Outcome:
    """`earlier`: one that did not come to its end, in whose place this one goes to another snapshot.

    A compaction that has not ended is over with it: what was alive before is what comes back.
    """
    context, name = run.context, subject.host.name
    point, snapshot = _point(subject, at)
    check(subject, point, snapshot)
    aside = earlier.aside if earlier else _set_aside(subject)
    context.storage.zfs.hold(keep_tag(_OWNER, None), snapshot.full, aside)
    records = records_of(context)
    begun = Undeleting(run.id, snapshot.guid, aside)
    records.put(name, replace(records.of(name), undeleting=begun, begun=None))
    return Ending(run, subject, begun).outcome()


def _set_aside(subject: Subject) -> str:
    context = subject.context
    return take(context, subject.dataset, newest_of(context, subject.dataset.name)).full


def _point(subject: Subject, at: str) -> tuple[Audited, Snapshot]:
    """The entry of the clean point, and its snapshot. Raises UsageError when nothing is to be undone."""
    name, root = subject.host.name, subject.dataset.name
    with subject.context.locks.hold(LOCK):
        ledger = subject.opened()
        latest = ledger.latest(name)
        audits = [entries.audited(one) for one in ledger.history()[name] if one.kind == AUDIT]
    if at:
        found = next((one for one in reversed(audits) if one.snapshot == at), None)
    elif latest and latest.clean:
        words = f"audit has no open finding about {name}: there is nothing to undo"
        look = command("zborg", "ledger", "show", name)
        raise UsageError(words, remedy(look, first="to go back all the same, name a snapshot with --at:"))
    else:
        found = next((one for one in reversed(audits) if one.clean), None)
    if found is None:
        words = f"audit has no entry of {root}@{at}" if at else f"audit found no snapshot of {name} clean yet"
        raise UsageError(words, command("zborg", "ledger", "show", name))
    there = subject.context.storage.zfs.snapshots(root)
    snapshot = next((one for one in there if one.dataset == root and one.guid == found.guid), None)
    if snapshot is None:
        raise ZborgError(
            f"{root}@{found.snapshot} of {moment(found.taken)} is gone",
            command("zborg", "restore", "list", name),
        )
    return found, snapshot
