"""Results <-> `data` of version 1 of the JSON form, as docs/json.md describes it.

Moments are UTC to the second with Z, days ISO 8601. What is read comes from files that an older or a newer
zborg wrote, or a person edited: a key that no field has is passed over, and so is a value of another type.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date, datetime
from types import NoneType, UnionType
from typing import Any, get_args, get_origin, get_type_hints

from zborg.model import results as r
from zborg.model.results import NOTHING, Result
from zborg.model.text.units import moment, moment_of

_LIMIT = 2**63

# By command ("": any other) and kind the candidates; the first whose required fields are there is taken.
_CLASSES: dict[tuple[str, str], tuple[type[Result], ...]] = {
    ("", "host"): (r.HostBackup,),
    ("", "enrolment"): (r.HostBackup,),
    ("", "dataset"): (r.SnapshotTaken, r.NoSnapshot, r.GivenUp, r.Labelled, r.Rotated),
    ("", "hold"): (r.ListedHold, r.HeldSnapshot),
    ("", "replica"): (r.Contradiction, r.Replicated, r.Verified),
    ("", "pool"): (r.PoolState, r.PoolForecast, r.PoolUse),
    ("", "step"): (r.TargetState, r.Due, r.VerifyState, r.CompactState, r.DrillState, r.StepState),
    ("", "trend"): (r.Trend,),
    ("", "night"): (r.Night,),
    ("", "wall"): (r.Walls,),
    ("", "arrivals"): (r.Arrivals, r.Due),
    ("", "told"): (r.PublishedReport,),
    ("", "snapshot"): (r.ListedSnapshot,),
    ("", "target"): (r.TargetLag,),
    ("", "rotate"): (r.Frozen,),
    ("", "key"): (r.KeyMade,),
    ("", "audit"): (r.AuditedHost,),
    ("", "compact"): (r.CompactedHost,),
    ("", "compactions"): (r.Compactions,),
    ("", "undelete"): (r.UndeletedHost,),
    ("", "verify"): (r.VerifiedHost,),
    ("", "drill"): (r.DrilledHost,),
    ("", "ledger"): (r.LedgerState,),
    ("", "witness"): (r.HostLedger,),
    ("", "entry"): (r.LedgerEntry,),
    ("", "escrow"): (r.SealedKey,),
    ("", "log"): (r.LogLines,),
    ("", "notifier"): (r.Delivered,),
    ("", "schedule"): (r.ScheduledFile,),
    ("status", "host"): (r.HostState,),
    ("history", "host"): (r.RecordedBackup,),
    ("history", "audit"): (r.RecordedFinding,),
    ("history", "witness"): (r.RecordedFinding,),
    ("report", "host"): (r.HostProof,),
    ("host list", "host"): (r.ListedHost,),
    ("host test", "host"): (r.TestedHost,),
    ("host remove", "host"): (r.RemovedHost,),
    ("host bundle", "host"): (r.Bundle,),
    ("import qb-backup", "host"): (r.Imported,),
    ("restore files", "host"): (r.RestoredFiles, r.LeftFiles),
    ("restore repo", "host"): (r.CopiedRepository,),
    ("restore serve", "host"): (r.LentSnapshot,),
    ("escrow challenge", "escrow"): (r.ChallengeMade,),
    ("escrow prove", "escrow"): (r.KeyProved,),
    ("escrow accept", "escrow"): (r.KeyProved,),
    ("doctor", "hosts"): (r.WellHosts,),
    ("rotate", "step"): (r.Rotated,),
    ("rotate", "dataset"): (r.GivenUp, r.Rotated),
    ("digest", "host"): (r.Week,),
    ("digest", "dataset"): (r.Week,),
    ("digest", "replica"): (r.Week,),
    ("digest", "pool"): (r.Week,),
}


def classes() -> dict[tuple[str, str], tuple[type[Result], ...]]:
    """By command ("": any other) and kind the classes that an outcome's result may be of."""
    return dict(_CLASSES)


# --- to JSON ------------------------------------------------------------------------------------------------


def to_table(result: Result) -> dict[str, Any]:
    """`data` of the JSON form: what is known, in the order in which it became known."""
    found: dict[str, Any] = {}
    for name, value in vars(result).items():
        if name == result._by_name:
            found |= value
        else:
            found[name] = _plain(value)
    return found


def _plain(value: object) -> object:
    if value is None or isinstance(value, str | int | float):
        return value
    if isinstance(value, datetime):
        return moment(value)
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, tuple):
        return [_plain(one) for one in value]
    if isinstance(value, Mapping):
        return {key: _plain(one) for key, one in value.items()}
    return value


# --- and back -----------------------------------------------------------------------------------------------


def from_table(command: str, kind: str, table: Mapping[str, Any]) -> Result:
    """The result of an outcome of this kind in a report of this command. Raises TypeError for no table."""
    if not isinstance(table, Mapping):
        raise TypeError(f"data of {kind} is no object")
    if not table:
        return NOTHING
    if command == "run":  # it gathers what its steps came to
        command = str(table.get("step", ""))
    for cls in _CLASSES.get((command, kind)) or _CLASSES.get(("", kind), ()):
        if cls._by_name:
            return _of_names(cls, table)
        facts = _facts(cls, table)
        if cls._required <= facts.keys():
            return cls(**facts)
    return Result(**_facts(Result, table))


def _of_names(cls: type[Result], table: Mapping[str, Any]) -> Result:
    own = _facts(Result, table)
    names = {str(key): value for key, value in table.items() if key not in own and isinstance(value, str)}
    facts: dict[str, Any] = {cls._by_name: names} | own
    return cls(**facts)


def _facts(cls: type[Result], table: Mapping[str, Any]) -> dict[str, Any]:
    readers = _readers(cls)
    found = {}
    for key, value in table.items():
        if (read := readers.get(key)) is not None:
            try:
                found[key] = read(value)
            except ValueError:
                continue
    return found


_known_readers: dict[str, dict[str, Callable[[Any], Any]]] = {}


def _readers(cls: type[Result]) -> dict[str, Callable[[Any], Any]]:
    if cls.__name__ not in _known_readers:
        hints = get_type_hints(cls)
        _known_readers[cls.__name__] = {name: _reader(hints[name]) for name in cls._fields}
    return _known_readers[cls.__name__]


def _reader(kind: Any) -> Callable[[Any], Any]:
    """What reads a field of this type. It raises ValueError for a value that is none."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin is UnionType:
        (only,) = (one for one in inner if one is not NoneType)
        read = _reader(only)
        return lambda value: None if value is None else read(value)
    if origin is tuple:
        each = _reader(inner[0])
        return lambda value: tuple(each(one) for one in _checked(value, list))
    if origin is Mapping:
        each = _reader(inner[1])
        return lambda value: {str(key): each(one) for key, one in _checked(value, dict).items()}
    return next(read for simple, read in _SIMPLE if issubclass(kind, simple))


def _checked(value: Any, kind: type) -> Any:
    if not isinstance(value, kind):
        raise ValueError(f"{value!r} is no {kind.__name__}")  # noqa: TRY004  # as of any value that does not fit
    return value


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{value!r} is no number")  # noqa: TRY004  # as of any value that does not fit
    if not -_LIMIT < value < _LIMIT:  # also NaN
        raise ValueError(f"{value!r} is no number of anything")
    return value


def _whole(value: Any) -> int:
    """Also 3.0, which some writers make of 3."""
    number = _number(value)
    if number != int(number):
        raise ValueError(f"{value!r} is no whole number")
    return int(number)


def _moment(value: Any) -> datetime:
    found = moment_of(value)
    if found is None:
        raise ValueError(f"{value!r} is no moment")
    return found


_SIMPLE: tuple[tuple[type, Callable[[Any], Any]], ...] = (  # a class before what it is derived from
    (str, lambda value: _checked(value, str)),
    (bool, lambda value: _checked(value, bool)),
    (int, _whole),
    (float, _number),
    (datetime, _moment),
    (date, lambda value: date.fromisoformat(_checked(value, str))),
)
