"""escrow challenge: a file of a few KiB with which a custodian shows that sealed keys open repositories."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from zborg import atomic
from zborg.borg.escrow.reader import manifest_of
from zborg.borg.storage.reader import Unreadable
from zborg.errors import UsageError, ZborgError
from zborg.model import Host, Outcome, Report, Snapshot, Status
from zborg.model.escrow.challenge import Case, Challenge
from zborg.model.escrow.sealed import recipients
from zborg.model.results import ChallengeMade
from zborg.model.text import os_errors
from zborg.model.text.remedy import command, remedy
from zborg.model.text.units import moment, size, to_second
from zborg.state.escrow.proofs import Pending
from zborg.steps.context import StepRun, outcome_of, reporting, select_hosts
from zborg.steps.escrow.facts import (
    KIND,
    LOCK,
    Repositories,
    escrow_of,
    no_agent,
    proofs_of,
    repositories,
    repository_of,
)
from zborg.steps.ledger.begun import folder_of, is_begun, newest_checkpoint
from zborg.steps.ledger.store import NoLedger
from zborg.steps.one_dataset import newest_of

OPEN = timedelta(days=90)
"""How long answers to a challenge are taken."""


@dataclass(frozen=True)
class _Made:
    """A host's part of a challenge, and where it was taken from."""

    case: Case
    snapshot: Snapshot
    transaction: int


@reporting
def challenge(run: StepRun, names: Sequence[str], to: Path) -> Report:
    """Of the named hosts, none named: all that have a sealed key. Raises UsageError for a wrong `to`."""
    context, config = run.context, run.context.config
    hosts = select_hosts(config, names)
    if config.storage.received:
        raise ZborgError(
            f"{config.storage.dataset} is received from another zborg, which has the sealed keys", ""
        )
    if not is_begun(config):
        raise NoLedger(str(folder_of(config)))
    if not to.parent.is_dir():
        raise UsageError(f"{to.parent} is no directory", command("mkdir", "-p", str(to.parent)))
    if run.dry_run:
        return run.planned(f"a challenge for {host.name} in {to}" for host in hosts if not host.reverse)
    with context.locks.hold(LOCK):
        seen = repositories(context, [host for host in hosts if not host.reverse])
        made = [_one(run, seen, host) for host in hosts]
        return run.report(_written(run, to, made))


def _one(run: StepRun, seen: Repositories, host: Host) -> _Made | Outcome:
    if host.reverse:
        return no_agent(host)
    try:
        return _made(run, seen, host)
    except Exception as error:
        return outcome_of(KIND, host.name, error)


def _made(run: StepRun, seen: Repositories, host: Host) -> _Made | Outcome:
    context, reseal = run.context, command("zborg", "escrow", "reseal", host.name)
    dataset, _ = repository_of(seen, context, host)
    sealed = escrow_of(context.config).of(host.name)
    if sealed is None:
        return Outcome(KIND, host.name, Status.WARNING, "its key is not in escrow here", reseal)
    try:
        recipients(sealed.text)
    except ValueError as error:
        raise ZborgError(f"what it sealed cannot be opened by anybody: {error}", reseal) from error
    newest = newest_of(context, dataset.name)
    if newest is None:
        return Outcome(KIND, host.name, Status.SKIPPED, "there is no snapshot of it yet", "zborg snapshot")
    path = context.storage.zfs.contents(newest, dataset.mountpoint or "")
    found = manifest_of(context.storage.runner, path)
    if isinstance(found, Unreadable):
        raise ZborgError(f"{newest.full} was not read: {found.reason}", command("zborg", "audit", host.name))
    if found is None:
        words = f"{newest.full} has no manifest that is whole: there is nothing to open"
        raise ZborgError(words, command("zborg", "verify", host.name))
    if found.repository != sealed.repository:
        words = f"the sealed key is of the repository {sealed.repository[:8]}, which was replaced by "
        raise ZborgError(words + found.repository[:8], reseal)
    nonce, checkpoint = os.urandom(16).hex(), newest_checkpoint(context.config)
    case = Case(host.name, found.repository, nonce, checkpoint, sealed.text, found.entry)
    return _Made(case, newest, found.transaction)


def _written(run: StepRun, to: Path, found: Sequence[_Made | Outcome]) -> list[Outcome]:
    """The file, once the server remembers what is in it."""
    config, now = run.context.config, to_second(run.context.clock())
    made, until = [one for one in found if isinstance(one, _Made)], now + OPEN
    outcomes = [one if isinstance(one, Outcome) else _outcome(one, until) for one in found]
    if not made:
        return outcomes
    for one in made:
        proofs_of(config).challenge(Pending(one.case.bound, one.transaction, now, until))
    text = Challenge(config.name, now, until, tuple(one.case for one in made)).text()
    try:
        atomic.write(to, text)
    except OSError as error:
        raise ZborgError(*os_errors.describe(error, str(to), "cannot be written")) from error
    fix = remedy(
        command("zborg", "escrow", "prove", to.name, "--identity", "key.txt"),
        first="give it to a custodian, whose secret key is in key.txt; there, without a network:",
    )
    words = f"{size(len(text))}, without a secret; answers are taken until {moment(until)}"
    return [*outcomes, Outcome("file", str(to), Status.OK, words, fix)]


def _outcome(one: _Made, until: datetime) -> Outcome:
    result = ChallengeMade(
        repository=one.case.repository,
        nonce=one.case.nonce,
        snapshot=one.snapshot.full,
        transaction=one.transaction,
        until=until,
        bytes=len(one.case.manifest),
    )
    words = f"its manifest in {one.snapshot.snapname}, {size(len(one.case.manifest))}, and its sealed key"
    return Outcome(KIND, one.case.host, Status.OK, words, result=result)
