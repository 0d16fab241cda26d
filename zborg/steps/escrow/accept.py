"""escrow accept: an answer to a challenge is checked against the repository, and recorded in the ledger."""

from __future__ import annotations

import getpass
import os
from collections.abc import Sequence

from zborg.borg.escrow.reader import is_author
from zborg.borg.storage.reader import Unreadable
from zborg.errors import UsageError, ZborgError
from zborg.model import Outcome, Report, Status
from zborg.model.escrow.challenge import Answer, parse_answer
from zborg.model.ledger.proved import Proved
from zborg.model.results import KeyProved
from zborg.model.text.remedy import command, remedy
from zborg.model.text.units import counted, moment, printable
from zborg.planning.escrow.answers import Asked, refusal
from zborg.state.escrow.proofs import Pending
from zborg.steps.context import StepRun, outcome_of, recording, select_hosts
from zborg.steps.escrow.facts import KIND, LOCK, escrow_of, proofs_of, repositories, repository_of
from zborg.steps.ledger.store import LOCK as LEDGER
from zborg.steps.ledger.store import opened
from zborg.steps.one_dataset import newest_of


@recording
def accept(run: StepRun, words: Sequence[str]) -> Report:
    """Each is an answer. Raises UsageError for what is none."""
    answers = [_answer(word) for word in words]
    if run.dry_run:
        return run.planned(f"check the answer of {one.host}, and record it" for one in answers)
    with run.context.locks.hold(LOCK):
        return run.report([_one(run, answer) for answer in answers])


def _answer(word: str) -> Answer:
    try:
        return parse_answer(word)
    except ValueError as error:
        fix = "copy the whole line that the custodian was shown: it is one word that begins with zborg-proof@"
        raise UsageError(f"{printable(word[:60])}: this is no answer to a challenge: {error}", fix) from error


def _one(run: StepRun, answer: Answer) -> Outcome:
    """One answer, whatever happens to it, as an outcome."""
    try:
        return _accepted(run, answer)
    except Exception as error:
        return outcome_of(KIND, answer.host, error)


def _accepted(run: StepRun, answer: Answer) -> Outcome:
    context, config = run.context, run.context.config
    proofs, now = proofs_of(config), context.clock()
    pending, sealed = proofs.pending(answer.nonce), escrow_of(config).of(answer.host)
    digest = sealed.digest if sealed else ""
    asked = Asked(pending.bound, pending.made, pending.until, digest) if pending else None
    why = refusal(asked, answer, now)
    if pending is None or why:
        raise ZborgError(why, _again(answer.host))
    if not _made_by_who_opened(run, pending, answer):
        words = "it was made by nobody who has opened the manifest, or its newest archive was freed since"
        raise ZborgError(words, _again(answer.host))
    proof = _proof(run, pending, answer)
    with context.locks.hold(LEDGER):
        ledger = opened(context, context.storage.zfs.datasets(config.storage.ledger))
        entry = ledger.append([proof]).size - 1
    proofs.put(proof)
    proofs.answered(answer.nonce)
    result = KeyProved(
        repository=proof.repository, archives=answer.archives, newest=answer.newest, entry=entry
    )
    opened_words = (
        f"its sealed key opens the repository: {counted(answer.archives, 'archive')}, the newest of "
    )
    return Outcome(
        KIND,
        answer.host,
        Status.OK,
        f"{opened_words}{moment(answer.newest)}, by the custodian's word; recorded as entry {entry}",
        result=result,
    )


def _made_by_who_opened(run: StepRun, pending: Pending, answer: Answer) -> bool:
    """Asks the newest snapshot, in which the newest archive of that time still is. Raises ZborgError."""
    context = run.context
    (host,) = select_hosts(context.config, [answer.host])
    dataset, repository = repository_of(repositories(context, [host]), context, host)
    if repository != pending.bound.repository:
        words = (
            f"the repository {pending.bound.repository[:8]} of the challenge was replaced by {repository[:8]}"
        )
        raise ZborgError(words, command("zborg", "escrow", "reseal", host.name))
    newest = newest_of(context, dataset.name)
    if newest is None:
        raise ZborgError(f"there is no snapshot of {dataset.name}", "zborg snapshot")
    path = context.storage.zfs.contents(newest, dataset.mountpoint or "")
    message = pending.bound.message(answer.archives, answer.newest)
    found = is_author(context.storage.runner, path, message, answer.mac)
    if isinstance(found, Unreadable):
        raise ZborgError(f"{newest.full} was not read: {found.reason}", command("zborg", "audit", host.name))
    return found


def _proof(run: StepRun, pending: Pending, answer: Answer) -> Proved:
    bound = pending.bound
    return Proved(
        host=answer.host,
        run=run.id,
        at=run.context.clock(),
        repository=bound.repository,
        sealed=bound.sealed,
        manifest=bound.manifest,
        transaction=pending.transaction,
        checkpoint=bound.checkpoint,
        nonce=bound.nonce,
        archives=answer.archives,
        newest=answer.newest,
        by=os.environ.get("SUDO_USER") or getpass.getuser(),
    )


def _again(host: str) -> str:
    return remedy(
        command("zborg", "escrow", "challenge", host, "--to", f"{host}.challenge"),
        first="a new challenge can be answered at once:",
    )
