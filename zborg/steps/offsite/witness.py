"""witness: on an off-site, whether the ledger that arrived only grew since what arrived before.

It is read out of a clone of its newest snapshot, since nothing is mounted that is received. All in it is the
sender's word: it follows no link, and takes no more than a ledger has.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from zborg.errors import UsageError, ZborgError
from zborg.interrupt import cancelled
from zborg.model import Outcome, Report, Snapshot, Status
from zborg.model.ledger.note import Note, PublicKey
from zborg.model.machines import LEDGER
from zborg.model.results import LedgerState
from zborg.model.text.remedy import command, remedy
from zborg.model.text.units import moment
from zborg.planning.ledger.check import Checked, Ledger, Problem, Witness, check
from zborg.planning.rotate.hold_tags import keep_tag
from zborg.state.ledger import arrived, key
from zborg.state.ledger.arrived import Accepted
from zborg.state.ledger.files import Files, Strange
from zborg.steps.context import StepRun, recording
from zborg.steps.ledger.begun import folder_of
from zborg.steps.ledger.check import Request, witness_of
from zborg.steps.ledger.store import LOCK
from zborg.steps.offsite.published_report import publish

KIND = "ledger"
_OWNER = "witness"  # of the hold
_REFUSED = "what arrived is no ledger"


class _Sealed(Exception):
    """ZFS has encrypted it, and has no key here."""


def witness(run: StepRun, files: Sequence[Path] = ()) -> Report:
    """The newest that arrived, against what was accepted here before and against these `files` of others."""
    return publish(run, _witness(run, files))


def check_arrived(run: StepRun, request: Request) -> Report:
    """`ledger check` on an off-site. Raises UsageError for what is asked of a server's own ledger alone."""
    if request.hosts is not None:
        words = "this is an off-site: the hosts that have checkpoints are its server's, and are asked there"
        raise UsageError(words, remedy("zborg ledger check --hosts", first="type it on the server:"))
    if request.public_key:
        words = "this is an off-site: what arrives is checked with the key that was accepted first"
        fix = remedy(command("cat", str(_record(run))), first="compare the key that this names with yours:")
        raise UsageError(words, fix)
    return witness(run, request.witnesses)


@recording
def _witness(run: StepRun, files: Sequence[Path]) -> Report:
    others = [witness_of(path) for path in files]
    with run.context.locks.hold(LOCK):
        look = _Look(run, others, arrived.load(_record(run)))
        newest = look.newest()
        if run.dry_run:
            return run.planned([f"compare {newest.full} with what arrived before"] if newest else [])
        return run.report([look.outcome(newest)])


def _record(run: StepRun) -> Path:
    """What was accepted last."""
    return folder_of(run.context.config) / arrived.NAME


@dataclass(frozen=True)
class _Arrived:
    """What a snapshot holds."""

    key: PublicKey
    lines: tuple[bytes, ...]
    notes: tuple[Note, ...]


@dataclass(frozen=True)
class _Look:
    """One look at the newest snapshot of the ledger."""

    run: StepRun
    others: Sequence[Witness]
    before: Accepted | None

    @property
    def _dataset(self) -> str:
        return self.run.context.config.storage.ledger

    def newest(self) -> Snapshot | None:
        """None where none has arrived."""
        found = self.run.context.storage.zfs.snapshots(self._dataset)
        return next((one for one in reversed(found) if one.dataset == self._dataset and one.name), None)

    def outcome(self, newest: Snapshot | None) -> Outcome:
        """What it came to. Raises ZborgError when nothing could be read."""
        before = self.before
        if newest is None:
            if before is None:
                return self._outcome(Status.SKIPPED, "no ledger has arrived yet")
            return self._damaged([Problem("", "no snapshot of it is here any more")])
        if before and before.guid == newest.guid and not self.others:
            entries = before.note.checkpoint.size
            words = f"nothing new since {before.snapshot}: {entries} entries, seen {moment(before.at)}"
            return self._outcome(Status.OK, words)
        try:
            found = self._read(newest)
        except _Sealed:
            return self._outcome(
                Status.WARNING, "it is encrypted, and its key is not here: it cannot be read"
            )
        except (Strange, ValueError) as error:
            return self._damaged([Problem("", f"{_REFUSED}: {error}")])
        return self._judged(newest, found)

    def _judged(self, newest: Snapshot, found: _Arrived) -> Outcome:
        before = self.before
        own = before.key if before else found.key
        earlier = [Witness(f"what arrived by {moment(before.at)}", (before.note,))] if before else []
        checked = check(Ledger(found.lines, found.notes, own), [*earlier, *self.others], key.verify)
        problems = list(checked.problems)
        if found.key != own:
            problems.insert(0, Problem("", f"its public key is {found.key.name}'s, and was {own.name}'s"))
        if problems:
            return self._damaged(problems, checked)
        words = f"{checked.size} entries in {newest.snapname}"
        if before:
            words += f": the first {before.note.checkpoint.size} are those that had arrived before"
        elif found.notes:
            words += f": seen for the first time, with the key {own}; compare it with the server's, once"
        else:
            return self._outcome(Status.OK, f"{words}, and no checkpoint yet", checked)
        self._accept(newest, found)
        return self._outcome(Status.OK, words, checked)

    def _accept(self, newest: Snapshot, found: _Arrived) -> None:
        last = max(found.notes, key=lambda note: note.checkpoint.size)
        folder = folder_of(self.run.context.config)
        folder.mkdir(mode=0o700, exist_ok=True)
        now = self.run.context.clock()
        accepted = Accepted(found.key, last.whole, newest.guid, newest.snapname, now)
        arrived.put(_record(self.run), accepted)

    # --- what is reported ---

    def _outcome(self, status: Status, words: str, checked: Checked | None = None) -> Outcome:
        result = LedgerState()
        if checked:
            result = LedgerState(
                entries=checked.size,
                root=checked.root.hex(),
                covered=checked.covered,
                problems=tuple(map(str, checked.problems)),
            )
        return Outcome(KIND, self._dataset, status, words, result=result)

    def _damaged(self, problems: Sequence[Problem], checked: Checked | None = None) -> Outcome:
        """The last that was good is held: it shows what the server's past was."""
        words = f"the server's past was changed: {'; '.join(map(str, problems))}{self._hold()}"
        outcome = self._outcome(Status.DAMAGED, words, checked)
        record = str(_record(self.run))
        fix = remedy(
            command("zborg", "holds", "list"),
            command("mv", record, f"{record}.refused"),
            first="ask who has the server, not by way of it; the last line accepts what is there now:",
        )
        result = outcome.result.replace(problems=tuple(map(str, problems)))
        return Outcome(KIND, self._dataset, Status.DAMAGED, words, fix, result)

    def _hold(self) -> str:
        before = self.before
        if before is None:
            return ""
        zfs = self.run.context.storage.zfs
        found = [one for one in zfs.snapshots(self._dataset) if one.guid == before.guid]
        if not found:
            return f"; {before.snapshot}, the last that was good, is gone"
        tag = keep_tag(_OWNER, None)
        try:
            zfs.hold(tag, found[0].full)
        except ZborgError as error:
            return f"; {before.snapshot}, the last that was good, could not be held: {error.message}"
        return f"; {before.snapshot}, the last that was good, is held now ({tag})"

    # --- reading it ---

    def _read(self, newest: Snapshot) -> _Arrived:
        """Raises Strange and ValueError for what is no ledger."""
        with self._cloned(newest) as home:
            files = Files(self.run.context.storage.runner, home)
            own = PublicKey.parse(files.public_key())
            return _Arrived(own, *files.read())

    @contextmanager
    def _cloned(self, newest: Snapshot) -> Iterator[str]:
        """We hold the ledger's lock: a clone that is there is of a run that was killed."""
        zfs, scratch = self.run.context.storage.zfs, self.run.context.config.storage.scratch
        for one in zfs.datasets(scratch):
            if one.name.rpartition("/")[2] == LEDGER:
                zfs.destroy_clone(one.name)
        made = f"{scratch}/{self.run.id}/{LEDGER}"
        try:
            yield self._clone(newest, made)
        finally:
            with cancelled.shielded():
                zfs.destroy_clone(made)

    def _clone(self, newest: Snapshot, made: str) -> str:
        zfs = self.run.context.storage.zfs
        try:
            return zfs.clone(newest.full, made)
        except ZborgError as error:
            if any(one.encrypted for one in zfs.datasets(self._dataset) if one.name == self._dataset):
                raise _Sealed from error
            raise
