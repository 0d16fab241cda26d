"""What the ledger has of the hosts to be verified: this server's own, or the one that came with copies.

What was received need not be mounted, and nothing may be made in it: it is read from a clone of its newest
snapshot, and believed when it agrees with its own checkpoints and their signatures.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from zborg.errors import CommandFailed, Damage, ZborgError
from zborg.model.ledger.entries import AUDIT, Entry, by_host
from zborg.model.ledger.note import PublicKey
from zborg.model.machines import LEDGER
from zborg.model.text.remedy import command, remedy
from zborg.planning.ledger.check import Ledger, check
from zborg.state.ledger import key
from zborg.state.ledger.files import Files
from zborg.steps.context import StepRun
from zborg.steps.ledger.begun import PUBLIC, public_key
from zborg.steps.ledger.store import LOCK, NoLedger, opened
from zborg.steps.restore.interrupted import restore_lock
from zborg.steps.restore.source import Place, clone


@dataclass(frozen=True)
class Records:
    """`known`: the hosts of which there is an audit."""

    known: frozenset[str]
    _lines: Callable[[], Sequence[bytes]]

    def of(self, hosts: Collection[str]) -> dict[str, list[Entry]]:
        """Their entries, the oldest first. Raises Damage when it is not what was written."""
        return by_host(self._lines(), hosts) if hosts else {}


def own(run: StepRun, names: Collection[str]) -> Records:
    """This server's. Raises NoLedger where it was not begun."""
    context = run.context
    datasets = context.storage.zfs.datasets(context.config.storage.ledger)
    ledger = opened(context, datasets)

    def lines() -> Sequence[bytes]:
        with context.locks.hold(LOCK):
            return ledger.lines()

    return Records(frozenset(name for name in names if ledger.latest(name)), lines)


def received(run: StepRun) -> Records:
    """The one that came with the copies. Raises NoLedger without one, Damage for one that was changed."""
    storage, name = run.context.storage, run.context.config.storage.ledger
    place = Place(storage, name, LEDGER)
    found = [one for one in storage.zfs.snapshots(name) if one.dataset == name and one.name]
    if not found:
        raise NoLedger(f"no snapshot of {name} has arrived")
    with run.context.locks.hold(restore_lock(LEDGER)), clone(run, place, found[-1]) as home:
        try:
            lines, notes = Files(storage.runner, home).read()
        except ValueError as error:
            raise Damage(f"the ledger in {found[-1].full} cannot be read: {error}") from error
        public = _key(run, home)
    checked = check(Ledger(lines, notes, public), (), key.verify)
    if checked.problems:
        problems = "; ".join(map(str, checked.problems))
        words = f"the ledger in {found[-1].full} does not agree with itself: {problems}"
        look = command("zborg", "ledger", "check")
        raise Damage(words, remedy(look, first="nothing is compared with it; on the server that sends it:"))
    signed = lines[: checked.signed]
    audits = frozenset(
        host for host, some in by_host(signed).items() if any(one.kind == AUDIT for one in some)
    )
    return Records(audits, lambda: signed)


def _key(run: StepRun, home: str) -> PublicKey:
    """The one that somebody put here (state_dir/ledger/key.pub) before the one that came with the ledger."""
    pinned = public_key(run.context.config)
    text = _text(run, pinned, home)
    try:
        return PublicKey.parse(text)
    except ValueError as error:
        look = command("ls", "-l", str(pinned))
        fix = remedy(look, first="copy ledger/key.pub of the server that sends it to this file:")
        raise ZborgError(f"the ledger came without a public key that can be read: {error}", fix) from error


def _text(run: StepRun, pinned: Path, home: str) -> str:
    if pinned.exists():
        return pinned.read_text(encoding="utf-8")
    try:
        return run.context.storage.runner.run(["head", "-c", "1000", f"{home}/{PUBLIC}"]).stdout
    except CommandFailed as error:
        if error.retryable:
            raise
        return ""
