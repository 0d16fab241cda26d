"""ledger show: what is in the ledger, the newest last."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from zborg.model import Outcome, Report, Status
from zborg.model.ledger import entries, verified
from zborg.model.ledger.compacted import APPROVED, COMPACTED, UNDELETED
from zborg.model.ledger.entries import AUDIT, BEGUN, DRILL, HEALED, VERIFY, Entry
from zborg.model.ledger.merkle import leaf_hash
from zborg.model.ledger.proved import PROVED
from zborg.model.results import LedgerEntry
from zborg.model.text.units import counted, moment, printable, size
from zborg.steps.context import StepRun, reporting
from zborg.steps.ledger.store import files_of

_NEWEST = 20


@reporting
def show(run: StepRun, host: str = "", *, everything: bool = False) -> Report:
    """The newest entries, of one host or of all; `everything`: not only the newest."""
    context = run.context
    files = files_of(context, context.storage.zfs.datasets(context.config.storage.ledger))
    lines, _ = files.read()
    shown = [one for one in _shown(lines, host) if one]
    left_out = 0 if everything else max(0, len(shown) - _NEWEST)
    words = f"{counted(left_out, 'earlier entry').replace('entrys', 'entries')} left out (--all shows them)"
    head = [Outcome("ledger", files.directory, Status.OK, words)] if left_out else []
    none = Outcome("ledger", files.directory, Status.SKIPPED, "no entry" + (f" of {host}" if host else ""))
    return run.report([*head, *shown[left_out:]] or [none])


def _shown(lines: tuple[bytes, ...], host: str) -> Iterator[Outcome]:
    for index, line in enumerate(lines):
        leaf = leaf_hash(line).hex()
        try:
            entry = entries.parse(line.decode())
        except ValueError:
            result = LedgerEntry(index=index, leaf=leaf)
            yield Outcome("entry", str(index), Status.DAMAGED, "not an entry", "zborg ledger check", result)
            continue
        if not host or entry.host == host:
            status, words = _words(entry)
            result = LedgerEntry(index=index, leaf=leaf, line=line.decode())
            yield Outcome("entry", str(index), status, words, result=result)


def _words(entry: Entry) -> tuple[Status, str]:
    at = moment(entry.at) if entry.at else "at no time"
    if entry.kind == AUDIT:
        return _audit(entry, at)
    if entry.kind == VERIFY:
        return _verify(entry, at)
    if entry.kind == BEGUN:
        return Status.OK, f"{at}  begun: {printable(str(entry.table.get('because', '')))}"
    if entry.kind == HEALED:
        return Status.WARNING, f"{at}  {entry.table.get('bytes')} bytes of an unfinished line were removed"
    words = _OTHERS[entry.kind](entry.table) if entry.kind in _OTHERS else "of a newer zborg"
    return Status.OK, f"{at}  {printable(f'{entry.host} {entry.kind}'.strip())}: {printable(words)}"


_OTHERS: dict[str, Callable[[Mapping[str, Any]], str]] = {
    DRILL: lambda table: _drill(table),
    APPROVED: lambda table: f"transaction {table.get('transaction')}, by {table.get('by')}",
    COMPACTED: lambda table: _compacted(table),
    PROVED: lambda table: _proved(table),
    UNDELETED: lambda table: (
        f"again what it was in {table.get('snapshot')}, set aside as {table.get('aside')}"
    ),
}


def _proved(table: Mapping[str, Any]) -> str:
    try:
        repository, (archives, newest) = str(table["repository"]), table["archives"]
        shown = counted(int(archives), "archive")
    except (KeyError, TypeError, ValueError):
        return "not an entry of a proof"
    return f"its sealed key opened {repository[:8]}: {shown}, the newest of {newest}"


def _drill(table: Mapping[str, Any]) -> str:
    try:
        files, read, mismatched = map(int, table["files"])
        where = f" on {table['snapshot'][2]}" if table["snapshot"][2] else ""
        words = (
            f"{counted(files, 'file')}, {size(read)}, of {table['archive']} in {table['snapshot'][0]}{where}"
        )
    except (KeyError, TypeError, IndexError, ValueError):
        return "not an entry that drill wrote"
    return words if table.get("whole") else f"damaged: {mismatched} other than these; {words}"


def _compacted(table: Mapping[str, Any]) -> str:
    if undone := table.get("undone"):
        return f"undone: {undone}"
    try:
        before, after = int(table["before"][3][1]), int(table["after"][3][1])
    except (KeyError, TypeError, IndexError, ValueError):
        return "not an entry that compact wrote"
    return f"sealed objects of {size(before)} became {size(after)}; what was alive still is"


def _audit(entry: Entry, at: str) -> tuple[Status, str]:
    try:
        audited = entries.audited(entry)
    except ValueError as error:
        return Status.DAMAGED, f"{at}  {printable(str(error))}"
    new = sum(one.size for one in audited.objects)
    facts = f"{at}  {printable(audited.host)}: {counted(len(audited.objects), 'object')}, {size(new)}, "
    facts += f"up to transaction {audited.last}, snapshot {printable(audited.snapshot)}"
    if audited.anomalies:
        found = "; ".join(f"{one.rule}: {printable(one.message)}" for one in audited.anomalies)
        return Status.DAMAGED, f"{facts}; {found}"
    return (Status.OK, facts) if audited.clean else (Status.WARNING, f"{facts}; an earlier finding is open")


def _verify(entry: Entry, at: str) -> tuple[Status, str]:
    try:
        one = verified.verified(entry)
    except ValueError as error:
        return Status.DAMAGED, f"{at}  {printable(str(error))}"
    facts = f"{at}  {printable(one.host)}: verified {counted(one.objects, 'object')}, {size(one.bytes)}, "
    facts += f"in snapshot {printable(one.snapshot)}; borg check: {one.structure}"
    if one.damages:
        facts += f"; damaged: {printable(', '.join(' '.join(words) for words in one.damaged))}"
    return (Status.OK if one.whole else Status.DAMAGED), facts
