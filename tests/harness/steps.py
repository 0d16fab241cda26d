"""Steps as a command starts them, each with a run of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Concatenate, ParamSpec

from zborg.model import Report, Status
from zborg.model.enrolment import Entry
from zborg.model.enrolment import Request as Enrolment
from zborg.steps.audit import step as auditing
from zborg.steps.backup import step as backups
from zborg.steps.compact import step as compaction
from zborg.steps.context import Context, StepRun, begin
from zborg.steps.drill import step as drilling
from zborg.steps.escrow import accept as answers
from zborg.steps.escrow import challenge as challenges
from zborg.steps.escrow import reseal as resealing
from zborg.steps.escrow import show as escrow
from zborg.steps.hosts import enrol, overview, remove
from zborg.steps.hosts import rotate_key as keys
from zborg.steps.init import init as _init
from zborg.steps.ledger.store import make as _make_ledger
from zborg.steps.night import night as _night
from zborg.steps.observe import notify
from zborg.steps.replicate import step as replication
from zborg.steps.replicate import verify as verification
from zborg.steps.restore import files, lend, listing, repository
from zborg.steps.restore.source import STORAGE, Source
from zborg.steps.rotate import freeze as freezing
from zborg.steps.rotate import holds
from zborg.steps.rotate import step as rotation
from zborg.steps.scrub import Request as Scrubbing
from zborg.steps.scrub import scrub as _scrub
from zborg.steps.snapshot import snapshot as _snapshot
from zborg.steps.undelete import step as undeleting
from zborg.steps.verify import step as verifying

Request = backups.Request
P = ParamSpec("P")


def backup(context: Context, request: Request = Request(), *, dry_run: bool = False) -> Report:  # noqa: B008  # frozen
    return backups.backup(begin(context, "backup", dry_run=dry_run), request)


def snapshot(context: Context, *, label: str | None = None, dry_run: bool = False) -> Report:
    return _snapshot(begin(context, "snapshot", dry_run=dry_run), label)


def audit(context: Context, names: Sequence[str] = (), *, dry_run: bool = False) -> Report:
    return auditing.audit(begin(context, "audit", dry_run=dry_run), names)


def compact(
    context: Context,
    names: Sequence[str] = (),
    approve: Sequence[int] = (),
    *,
    dry_run: bool = False,
) -> Report:
    request = compaction.Request(names, approve)
    return compaction.compact(begin(context, "compact", dry_run=dry_run), request)


def undelete(context: Context, host: str, at: str = "", *, dry_run: bool = False) -> Report:
    return undeleting.undelete(begin(context, "undelete", dry_run=dry_run), undeleting.Request(host, at))


def verify_hosts(
    context: Context, names: Sequence[str] = (), at: str = "", *, dry_run: bool = False
) -> Report:
    run = begin(context, "verify", dry_run=dry_run)
    return verifying.verify(run, verifying.Request(names, at))


def drill(
    context: Context, names: Sequence[str] = (), source: Source = STORAGE, *, dry_run: bool = False
) -> Report:
    return drilling.drill(begin(context, "drill", dry_run=dry_run), drilling.Request(names, source))


def rotate(context: Context, *, dry_run: bool = False) -> Report:
    return rotation.rotate(begin(context, "rotate", dry_run=dry_run))


def replicate(context: Context, names: Sequence[str] = (), *, dry_run: bool = False) -> Report:
    return replication.replicate(begin(context, "replicate", dry_run=dry_run), names)


def scrub(context: Context, request: Scrubbing = Scrubbing(), *, dry_run: bool = False) -> Report:  # noqa: B008  # frozen
    return _scrub(begin(context, "scrub", dry_run=dry_run), request)


def night(context: Context, *, allow_partial: bool = False, dry_run: bool = False) -> Report:
    return _night(begin(context, "run", dry_run=dry_run), allow_partial=allow_partial)


def begin_ledger(context: Context) -> None:
    """What `zborg init` does for it."""
    for outcome in _make_ledger(begin(context, "init")):
        assert outcome.status is Status.OK, outcome


def init(context: Context, names: Sequence[str] = (), *, dry_run: bool = False) -> Report:
    return _init(begin(context, "init", dry_run=dry_run), names)


def place_holds(context: Context, placing: holds.Placing, *, dry_run: bool = False) -> Report:
    return holds.place_holds(begin(context, "holds place", dry_run=dry_run), placing)


def release_stale(context: Context, *, dry_run: bool = False) -> Report:
    return holds.release_stale(begin(context, "holds release", dry_run=dry_run))


def restore_files(
    context: Context, host: str, paths: Sequence[str], at: str = "", *, dry_run: bool = False
) -> Report:
    return files.restore_files(
        begin(context, "restore files", dry_run=dry_run), files.Request(host, paths, at)
    )


def restore_repo(
    context: Context, host: str, to: Path, at: str = "", source: Source = STORAGE, *, dry_run: bool = False
) -> Report:
    run = begin(context, "restore repo", dry_run=dry_run)
    return repository.restore_repo(run, repository.Request(host, to, at, source))


def restore_serve(
    context: Context, host: str, at: str = "", source: Source = STORAGE, *, dry_run: bool = False
) -> Report:
    return lend.restore_serve(
        begin(context, "restore serve", dry_run=dry_run), lend.Request(host, at, source)
    )


def enroll(context: Context, request: Enrolment, entry: Entry | None, *, dry_run: bool = False) -> Report:
    return enrol.enroll(begin(context, "host add", dry_run=dry_run), request, entry)


def rotate_key(context: Context, name: str, entry: Entry, *, dry_run: bool = False) -> Report:
    return keys.rotate_key(begin(context, "host rotate-key", dry_run=dry_run), name, entry)


def remove_host(context: Context, name: str, *, dry_run: bool = False) -> Report:
    return remove.remove_host(begin(context, "host remove", dry_run=dry_run), name)


def forget_host(context: Context, name: str, *, dry_run: bool = False) -> Report:
    return remove.forget_host(begin(context, "host forget", dry_run=dry_run), name)


def try_all(context: Context, *, dry_run: bool = False) -> Report:
    return notify.try_all(begin(context, "notify test", dry_run=dry_run))


# Those of which no test needs the plan alone.


def _started(
    command: str, work: Callable[Concatenate[StepRun, P], Report]
) -> Callable[Concatenate[Context, P], Report]:
    def started(context: Context, /, *request: P.args, **options: P.kwargs) -> Report:
        return work(begin(context, command), *request, **options)

    return started


verify = _started("replicate --verify", verification.verify)
list_holds = _started("holds list", holds.list_holds)
release_hold = _started("holds release", holds.release_hold)
freeze = _started("rotate --freeze", freezing.freeze)
release = _started("rotate --release", freezing.release)
list_snapshots = _started("restore list", listing.list_snapshots)
reach_hosts = _started("host test", overview.reach_hosts)


def challenge(context: Context, to: Path, names: Sequence[str] = (), *, dry_run: bool = False) -> Report:
    return challenges.challenge(begin(context, "escrow challenge", dry_run=dry_run), names, to)


def accept(context: Context, *words: str) -> Report:
    return answers.accept(begin(context, "escrow accept"), words)


def reseal(context: Context, names: Sequence[str] = ()) -> Report:
    return resealing.reseal(begin(context, "escrow reseal"), names)


def escrow_status(context: Context) -> Report:
    return escrow.status(begin(context, "escrow status"))
