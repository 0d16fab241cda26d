"""What is known here of all compactions, for who only shows it: no connection, and nothing that signs.

The records are what compact itself goes by, so no run that was for some hosts only hides the others.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from zborg.config import Config
from zborg.errors import ZborgError
from zborg.model import Outcome, Status
from zborg.model.figures import CompactionFigures
from zborg.model.results import Compactions
from zborg.model.text.remedy import command, remedy
from zborg.model.text.units import counted, size
from zborg.state.ledger.compactions import CompactionRecords
from zborg.state.ledger.compactions import Compactions as Record
from zborg.state.locks import Locks
from zborg.steps.ledger.begun import folder_of

_FEW = 3  # hosts that are named


def record_of(records: CompactionRecords, host: str) -> Record:
    """Of a host whose file cannot be read nothing: it is due each night, and then reports what is wrong."""
    try:
        return records.of(host)
    except ZborgError:
        return Record()


def compactions(config: Config) -> tuple[CompactionFigures, ...]:
    """Each host that was looked at, also one that zborg.toml names no more: its snapshots may be held."""
    records = CompactionRecords(folder_of(config))
    return tuple(_figures(name, record_of(records, name)) for name in records.hosts())


def _figures(name: str, record: Record) -> CompactionFigures:
    until = max((one.until for one in record.held), default=None)
    return CompactionFigures(name, record.looked, record.freed, record.gain, len(record.held), until)


def summed(known: Sequence[CompactionFigures]) -> tuple[str, Compactions] | None:
    """For a person, and in numbers; None before there was anything to report."""
    held, freed, gain = sum(one.held for one in known), sum(one.freed for one in known), _gain(known)
    if not held and not freed and not gain:
        return None
    until = max((one.held_until for one in known if one.held_until), default=None)
    parts = [f"freed {size(freed)}"] if freed else []
    if until:
        parts.append(f"{counted(held, 'snapshot')} in quarantine until {until:%Y-%m-%d}")
    if gain:
        parts.append(f"{size(gain)} more could be freed{_named(known)}")
    return "; ".join(parts), Compactions(held=held, held_until=until, freed=freed, gain=gain)


def _gain(known: Sequence[CompactionFigures]) -> int:
    return sum(one.gain for one in known)


def _named(known: Sequence[CompactionFigures]) -> str:
    """Whose, the greatest first; of a single host all of it is."""
    most = sorted((one for one in known if one.gain), key=lambda one: -one.gain)
    more = f" and {len(most) - _FEW} more" if len(most) > _FEW else ""
    if len(most) == 1:
        return f" of {most[0].name}"
    return f" ({', '.join(f'{one.name} {size(one.gain)}' for one in most[:_FEW])}{more})"


def unsettled(config: Config) -> frozenset[str]:
    """Datasets in which something was begun that has not ended, or of which that cannot be read."""
    records = CompactionRecords(folder_of(config))
    names = (name for name in records.hosts() if not _settled(records, name))
    return frozenset(map(config.storage.dataset_of, names))


def _settled(records: CompactionRecords, host: str) -> bool:
    try:
        return not records.unfinished(host)
    except ZborgError:
        return False


def unfinished(config: Config, locks: Locks) -> Iterator[Outcome]:
    """Compactions and undeletes that were begun, whose end is not recorded, and which nobody is at now.

    Nothing is served, audited or freed of such a repository; a file that cannot be read keeps it so, too.
    """
    records = CompactionRecords(folder_of(config))
    known = {host.name for host in config.hosts}
    for name in records.hosts():
        try:
            killed = records.unfinished(name)
        except ZborgError as error:
            yield Outcome("compact", name, Status.FAILED, error.message, error.remedy)
            continue
        if killed and locks.owner(f"host-{name}") is None:
            words = f"its `zborg {killed}` was interrupted: nothing is served before that is finished"
            undelete = killed == "undelete"
            fix = command("zborg", "undelete", name) if undelete else command("zborg", "compact", name)
            if name not in known:
                first = f"zborg.toml names {name} no more: enrol it again; or if nobody needs its data:"
                fix = remedy(command("rm", str(records.path(name))), first=first)
            yield Outcome(killed, name, Status.WARNING, words, fix)
