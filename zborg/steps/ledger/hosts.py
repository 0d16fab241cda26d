"""What hosts have of the ledger: their agents are asked for the checkpoints that they were given.

What a host answers is its word. Only what the ledger's key has signed can show that the ledger changed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from zborg.errors import CommandFailed
from zborg.model import Host, Outcome, Status
from zborg.model.events import Finished, Started
from zborg.model.ledger.note import PublicKey, Verify
from zborg.model.results import HostLedger
from zborg.model.text.remedy import command, on, remedy
from zborg.model.text.units import counted, moment
from zborg.planning.ledger.check import Checked, Witness
from zborg.planning.ledger.host_witness import Given, HostWitness, parse, sorted_out
from zborg.steps.context import Context, outcome_of

KIND = "witness"
_BROKEN = 68  # the agent's exit status
_REFUSED = 2


@dataclass(frozen=True)
class Answer:
    """What one host has, or the outcome that says why that is not known."""

    host: str
    given: tuple[Given, ...] = ()
    failed: Outcome | None = None


def ask(context: Context, hosts: Sequence[Host]) -> list[Answer]:
    """Several at once; a host that cannot be asked hides no other."""
    if not hosts:
        return []
    with ThreadPoolExecutor(max_workers=context.config.asked_at_once) as pool:
        return list(pool.map(lambda host: _asked(context, host), hosts))


def _asked(context: Context, host: Host) -> Answer:
    if host.reverse:
        words = "its forced command is borgmatic, which keeps no checkpoints"
        return Answer(host.name, failed=Outcome(KIND, host.name, Status.SKIPPED, words))
    context.emit(Started(host.name, "asked"))
    try:
        return one(context, host)
    except Exception as error:  # a bug in what reads one host's answer hides no other host
        return Answer(host.name, failed=outcome_of(KIND, host.name, error))
    finally:
        context.emit(Finished(host.name))


def one(context: Context, host: Host) -> Answer:
    """One host's. Raises ZborgError when it cannot be asked."""
    try:
        return Answer(host.name, parse(context.tunnel.ask(host, "witness")))
    except ValueError as error:
        words = f"its answer is no list of checkpoints: {error}"
        fix = command("zborg", "host", "test", host.name)
        return Answer(host.name, failed=Outcome(KIND, host.name, Status.FAILED, words, fix))
    except CommandFailed as error:
        if error.status == _BROKEN and not error.retryable:
            return Answer(host.name, failed=_broken(host))
        if error.status == _REFUSED and not error.retryable and not _knows(context, host):
            words = "its agent is older, and keeps no checkpoints"
            fix = command("zborg", "host", "add", host.name, str(host.endpoint))
            return Answer(host.name, failed=Outcome(KIND, host.name, Status.SKIPPED, words, fix))
        raise


def _knows(context: Context, host: Host) -> bool:
    """Whether its agent has the verb: one that is older refuses it."""
    return any(line.startswith("witness ") for line in context.tunnel.ask(host, "version").splitlines())


def _broken(host: Host) -> Outcome:
    path = "/var/lib/zborg/witness"
    words = f"{path} there has lines that are no checkpoints, or is not root's alone: it is not read"
    return Outcome(
        KIND, host.name, Status.FAILED, words, on(host.name, command("mv", path, f"{path}.broken"))
    )


def witnesses(answers: Iterable[Answer], key: PublicKey, verify: Verify) -> list[HostWitness]:
    """Of those that answered, sorted by signature."""
    return [sorted_out(one.host, one.given, key, verify) for one in answers if one.failed is None]


def as_witness(found: HostWitness) -> Witness:
    """What of it proves something."""
    return Witness(found.host, found.signed)


def outcome(found: HostWitness, checked: Checked) -> Outcome:
    """One host's word against the ledger."""
    problems = tuple(one.words for one in checked.problems if one.whose == found.host)
    result = HostLedger(
        covered=found.covered,
        signed=len(found.signed),
        unsigned=found.unsigned,
        others=found.others,
        last=found.last,
        problems=problems,
    )
    words = _words(found)
    if problems:
        first = (
            "it has checkpoints that this server signed, and the ledger is another one now; what is in it:"
        )
        fix = remedy(command("zborg", "ledger", "show", "--all"), first=first)
        return Outcome(KIND, found.host, Status.DAMAGED, "; ".join(problems), fix, result)
    if found.doubts:
        return Outcome(KIND, found.host, Status.WARNING, "; ".join((words, *found.doubts)), "", result)
    status = Status.OK if found.signed else Status.WARNING
    fix = "" if found.signed else command("zborg", "backup", found.host)
    return Outcome(KIND, found.host, status, words, fix, result)


def _words(found: HostWitness) -> str:
    if not found.signed or found.last is None:
        return "it has no checkpoint of this ledger"
    stored = counted(len(found.signed), "checkpoint")
    return (
        f"it is a witness of the first {found.covered} entries: {stored}, the newest of {moment(found.last)}"
    )
