"""ledger check: the tree recomputed, and compared with every checkpoint that anybody has of it.

It needs the ledger's files and its public key, and no zborg.toml: a copy will do, on any machine.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from zborg.errors import UsageError, ZborgError
from zborg.model import Outcome, Report, Status, utc_now
from zborg.model.ledger.note import PublicKey, parse_all
from zborg.model.results import LedgerState
from zborg.model.text.remedy import command, remedy
from zborg.planning.ledger.check import Checked, Ledger, Witness, check
from zborg.state.ledger import key
from zborg.state.ledger.files import LINES, in_folder
from zborg.state.runs import new_run
from zborg.steps.context import Context, StepRun, conclude, reporting, select_hosts
from zborg.steps.ledger import hosts
from zborg.steps.ledger.begun import public_key
from zborg.steps.ledger.store import files_of

_SHOWN = 5  # problems
_NO_WITNESS = (
    "it agrees with itself; whether it is the whole past cannot be known from it alone: "
    "who has the server's keys could have written it anew"
)


@dataclass(frozen=True)
class Request:
    """`folder`: a copy of the ledger, None: the storage's. Witnesses are files of checkpoints, or copies.

    `hosts`: those that are asked what they have, () all; None: none is.
    """

    folder: Path | None = None
    witnesses: Sequence[Path] = ()
    public_key: Path | None = None
    hosts: Sequence[str] | None = None


def check_own(run: StepRun, request: Request) -> Report:
    """The ledger on the storage. Raises UsageError for a witness, a key or a host that is none.

    Recorded where something was found: it is part of the past of the host that has shown it.
    """
    report = _check_own(run, request)
    if report.status is Status.DAMAGED:
        run.context.runs.save(report)
    return report


@reporting
def _check_own(run: StepRun, request: Request) -> Report:
    context = run.context
    witnesses = [witness_of(path) for path in request.witnesses]
    chosen = () if request.hosts is None else select_hosts(context.config, request.hosts)
    answers = hosts.ask(context, chosen)  # first: the ledger may grow meanwhile
    ledger, where = own_ledger(context, request.public_key)
    verify = cache(key.verify)  # most hosts have the same checkpoints
    found = hosts.witnesses(answers, ledger.key, verify)
    checked = check(ledger, [*witnesses, *map(hosts.as_witness, found)], verify)
    unknown = [one.failed for one in answers if one.failed]
    return run.report([judged(where, checked), *(hosts.outcome(one, checked) for one in found), *unknown])


def own_ledger(context: Context, public: Path | None = None) -> tuple[Ledger, str]:
    """All of it, and where it is. Raises ZborgError."""
    files = files_of(context, context.storage.zfs.datasets(context.config.storage.ledger))
    try:
        lines, notes = files.read()
    except ValueError as error:
        raise ZborgError(f"the checkpoints in {files.directory} cannot be read: {error}") from error
    return Ledger(lines, notes, _key(public or public_key(context.config))), files.directory


def check_copy(request: Request) -> Outcome:
    """A copy in a folder of this machine. Raises UsageError for what is none."""
    folder = request.folder or Path()
    own = request.public_key or folder / "key.pub"
    try:
        lines, notes = in_folder(folder)
    except (OSError, ValueError) as error:
        raise UsageError(f"{folder} holds no ledger: {error}", command("ls", "-l", str(folder))) from error
    witnesses = [witness_of(path) for path in request.witnesses]
    return judged(str(folder), check(Ledger(lines, notes, _key(own)), witnesses, key.verify))


def copy_report(outcome: Outcome) -> Report:
    """Of a machine that need not be a server: no run is recorded."""
    status, code = conclude([outcome])
    now = utc_now()
    return Report("ledger check", new_run(now), "", now, now, status, code, (outcome,))


def judged(where: str, found: Checked) -> Outcome:
    """As one outcome."""
    problems = tuple(map(str, found.problems))
    result = LedgerState(entries=found.size, root=found.root.hex(), covered=found.covered, problems=problems)
    words = f"{found.size} entries"
    if problems:
        shown = (
            problems if len(problems) <= _SHOWN else (*problems[:_SHOWN], f"{len(problems) - _SHOWN} more")
        )
        fix = remedy(
            command("zborg", "ledger", "show", "--all"),
            first="somebody changed the ledger, or a witness is of another one; the entries that are there:",
        )
        return Outcome("ledger", where, Status.DAMAGED, f"{words}; {'; '.join(shown)}", fix, result)
    if found.signed < found.size:
        words += f", {found.size - found.signed} of them without a checkpoint yet"
    if not found.covered:
        return Outcome("ledger", where, Status.OK, f"{words}: {_NO_WITNESS}", result=result)
    words += f": nothing was changed in the first {found.covered}, by the word of a witness"
    return Outcome("ledger", where, Status.OK, words, result=result)


def _key(path: Path) -> PublicKey:
    try:
        return PublicKey.parse(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        fix = "give the public key of the ledger with --public-key FILE; the server has it as ledger/key.pub"
        raise UsageError(f"{path} holds no public key of a ledger: {error}", fix) from error


def witness_of(path: Path) -> Witness:
    """What somebody else has, out of a file or a folder. Raises UsageError for what is none."""
    try:
        if path.is_dir():
            lines, notes = in_folder(path)
            return Witness(str(path), notes, lines)
        if path.name == LINES:
            return Witness(str(path), (), tuple(path.read_bytes().removesuffix(b"\n").split(b"\n")))
        return Witness(str(path), parse_all(path.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        fix = "a witness is a file of checkpoints, or the folder of a copy of the ledger"
        raise UsageError(f"{path} is no witness: {error}", fix) from error
