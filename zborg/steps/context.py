"""What every step is given, and how outcomes become a Report."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import wraps
from typing import Concatenate, ParamSpec

from zborg.config import Config
from zborg.errors import Busy, Conflict, Damage, Exit, Interrupted, UsageError, ZborgError
from zborg.model import (
    Clock,
    Emit,
    Host,
    Machine,
    Notifier,
    Outcome,
    Report,
    Runner,
    State,
    Status,
    Target,
    Tunnel,
    Zfs,
)
from zborg.model.events import StepBegun
from zborg.model.results import Result
from zborg.model.text import os_errors
from zborg.model.text.remedy import command, remedy
from zborg.state.frozen import Frozen
from zborg.state.locks import Locks
from zborg.state.runs import Runs, new_run
from zborg.state.sessions import Sessions


@dataclass(frozen=True)
class Context:
    """The world as the steps see it: protocols, and the little state that zborg keeps."""

    config: Config
    here: Runner  # plain commands on this machine
    storage: Machine
    target: Callable[[Target], Machine]
    tunnel: Tunnel
    locks: Locks
    runs: Runs
    frozen: Frozen
    sessions: Sessions
    clock: Clock
    emit: Emit
    notifiers: tuple[Notifier, ...] = ()
    # What a step leaves to be done once its report was shown and sent: each makes the report anew.
    afterwards: list[Callable[[], Report]] = field(default_factory=list)


Rule = Callable[[Sequence[Outcome]], tuple[Status, Exit]]
P = ParamSpec("P")
Step = Callable[Concatenate["StepRun", P], Report]


@dataclass(frozen=True)
class StepRun:
    """One run of a step: what every step is given first, and makes its report with.

    `dry_run`: once its plan stands the step returns it by `planned`, and does nothing else.
    """

    context: Context
    command: str
    id: str
    started: datetime
    dry_run: bool = False

    def report(
        self, outcomes: Sequence[Outcome], plan: Iterable[str] = (), *, rule: Rule | None = None
    ) -> Report:
        """The step's report as of now; `rule` (conclude) makes status and exit code of the outcomes."""
        status, code = (rule or conclude)(outcomes)
        now = self.context.clock()
        name = self.context.config.name
        return Report(
            self.command, self.id, name, self.started, now, status, code, tuple(outcomes), tuple(plan)
        )

    def planned(self, plan: Iterable[str], foreseen: Sequence[Outcome] = ()) -> Report:
        """What a dry run shows: the plan, and what is foreseen beside it."""
        return self.report([one.noting(dry_run=True) for one in foreseen], plan)

    def recorded(
        self, outcomes: Sequence[Outcome], plan: Iterable[str] = (), *, rule: Rule | None = None
    ) -> Report:
        """The same as `report`, saved."""
        report = self.report(outcomes, plan, rule=rule)
        self.context.runs.save(report)
        return report

    def part(self, command: str) -> StepRun:
        """Another step begins within this run, with an id of its own."""
        return begin(self.context, command, dry_run=self.dry_run)


def begin(context: Context, command: str, *, dry_run: bool = False) -> StepRun:
    """A step begins; listeners get it as an event."""
    run = quietly(context, command, dry_run=dry_run)
    context.emit(StepBegun(command, run=run.id))
    return run


def quietly(context: Context, command: str, *, dry_run: bool = False) -> StepRun:
    """For one that only looks, and leaves no trace."""
    now = context.clock()
    return StepRun(context, command, new_run(now), now, dry_run)


def reporting(step: Step[P]) -> Step[P]:
    """A step whose failure to begin is a report as well. Raises UsageError, and what is a bug."""

    @wraps(step)
    def reported(run: StepRun, /, *request: P.args, **options: P.kwargs) -> Report:
        try:
            return step(run, *request, **options)
        except UsageError:
            raise
        except ZborgError as error:
            return run.report([outcome_of("step", run.command, error)])

    return reported


def recording(step: Step[P]) -> Step[P]:
    """The same for a step whose report is saved, unless it only plans.

    Also of one that could not even begin: `status` would go on showing the last good one.
    """

    @wraps(step)
    def recorded(run: StepRun, /, *request: P.args, **options: P.kwargs) -> Report:
        save = (lambda _: None) if run.dry_run else run.context.runs.save
        try:
            report = reporting(step)(run, *request, **options)
        except UsageError:
            raise
        except Exception as error:
            save(run.report([outcome_of("step", run.command, error)]))
            raise
        save(report)
        return report

    return recorded


def conclude(outcomes: Sequence[Outcome], *, partial_ok: bool = False) -> tuple[Status, Exit]:
    """The worst outcome decides; some bad among good is partial; skipped and pending ones do not count.

    With `partial_ok` some good is exit 0, whatever the others came to: one host must not keep the rest
    from being snapshotted. The status shows it all the same.
    """
    counted = [one.status for one in outcomes if one.status not in (Status.SKIPPED, Status.PENDING)]
    bad = [status for status in counted if status.bad]
    some_good = len(bad) < len(counted)
    if Status.INTERRUPTED in bad:
        return Status.INTERRUPTED, Exit.INTERRUPTED
    enough = some_good and partial_ok
    for status, code in ((Status.DAMAGED, Exit.DAMAGE), (Status.CONFLICT, Exit.CONFLICT)):
        if status in bad:
            return status, Exit.OK if enough else code
    if bad and some_good or Status.PARTIAL in counted:
        return Status.PARTIAL, Exit.OK if enough else Exit.PARTIAL
    if not bad:
        return (Status.WARNING if Status.WARNING in counted else Status.OK), Exit.OK
    if all(status is Status.BUSY for status in bad):
        return Status.BUSY, Exit.LOCKED
    return Status.FAILED, Exit.FAILED


def inspect(outcomes: Sequence[Outcome]) -> tuple[Status, Exit]:
    """For commands that only look (status, scrub): an error finding among good ones is 4, not partial."""
    status, code = conclude(outcomes)
    return (Status.FAILED, Exit.FAILED) if status in (Status.PARTIAL, Status.BUSY) else (status, code)


_BUG = "report it with what the same command prints with --json, which has the traceback"


def outcome_of(kind: str, subject: str, error: Exception) -> Outcome:
    """An error that ended the work on one subject, as its outcome. A bug keeps its traceback."""
    if isinstance(error, OSError):
        return Outcome(kind, subject, Status.FAILED, *os_errors.describe(error))
    if not isinstance(error, ZborgError):
        words = f"this is a bug in zborg: {type(error).__name__}: {error}"
        result = Result(traceback="".join(traceback.format_exception(error)))
        return Outcome(kind, subject, Status.FAILED, words, _BUG, result)
    kinds: tuple[tuple[type[ZborgError], Status], ...] = (
        (Busy, Status.BUSY),
        (Conflict, Status.CONFLICT),
        (Damage, Status.DAMAGED),
        (Interrupted, Status.INTERRUPTED),
    )
    status = next((status for cls, status in kinds if isinstance(error, cls)), Status.FAILED)
    return Outcome(kind, subject, status, error.message, error.remedy)


def unrecorded(context: Context, report: Report) -> Report:
    """A report whose run could not be written down says so, and is no full success."""
    lost = context.runs.unsaved
    if lost is None:
        return report
    words = f"on this machine it cannot be written: {lost.reason}; this run is not recorded"
    look = remedy(command("df", "-h", str(lost.directory)), first="make room there, or mount it for writing:")
    outcome = Outcome("state", str(lost.directory), Status.FAILED, words, look)
    status = report.status if report.status.bad else Status.PARTIAL
    code = report.exit or Exit.PARTIAL
    return replace(report, outcomes=(*report.outcomes, outcome), status=status, exit=code)


def missing(zfs: Zfs, dataset: str, where: str, remedy: str) -> ZborgError:
    """Why a dataset was not listed: its pool cannot be asked (that error is raised), or it was never made."""
    zfs.pool(dataset.split("/")[0])
    return ZborgError(f"the dataset {dataset} does not exist{where}", remedy)


def refuse_to_replace(context: Context, host: Host) -> None:
    """A new repository only in a dataset of a host that was never seen good. Raises Conflict."""
    name = context.config.storage.dataset_of(host.name)
    if any(s.state is State.OK for s in context.storage.zfs.snapshots(name)):
        raise Conflict(
            f"{name} holds no commit but has good snapshots: its repository was lost",
            remedy(
                command("zborg", "restore", "list", host.name),
                first='README, "The rebuilt host"; its good snapshots are:',
            ),
        )


def nobody(config: Config) -> Outcome:
    """A server without hosts keeps nothing: drop-ins that got lost must not look like a good night."""
    look, enrol = command("ls", "-lR", str(config.path.parent)), "zborg host add --help"
    return Outcome(
        "config",
        str(config.path),
        Status.FAILED,
        f"names no host (include = {list(config.include)})",
        remedy(look, enrol, first="if there were hosts, look for their files; else enrol one:"),
    )


def select_hosts(config: Config, names: Sequence[str], exclude: Sequence[str] = ()) -> tuple[Host, ...]:
    """The named hosts (none named: all) without the excluded. Unknown names are refused."""
    known = {host.name: host for host in config.hosts}
    if unknown := [name for name in (*names, *exclude) if name not in known]:
        raise UsageError(
            f"no such host: {', '.join(unknown)}",
            f"known hosts: {', '.join(known) or 'none'} ({config.path})",
        )
    return tuple(h for h in config.hosts if (not names or h.name in names) and h.name not in exclude)


def select_targets(config: Config, names: Sequence[str]) -> tuple[Target, ...]:
    """The named targets (none named: all). Unknown names are refused."""
    known = {target.name: target for target in config.targets}
    if unknown := [name for name in names if name not in known]:
        raise UsageError(
            f"no such target: {', '.join(unknown)}",
            f"known targets: {', '.join(known) or 'none'} ({config.path})",
        )
    return tuple(t for t in config.targets if not names or t.name in names)
