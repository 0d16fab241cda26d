"""Which snapshots stay, and why.

The choice is that of `borg prune` (borg 1.4) for the same instants, except that a day begins at
midnight UTC and not at the machine's: a snapshot's name must mean the same on every machine.
Borg's manual, "borg prune", describes the rules; the tests compare with the installed borg.

Around that choice stand guards that no policy can overrule (`rotate`). Nothing here reads a clock,
logs or destroys: a snapshot's reasons are returned, and one without any reason may be destroyed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import chain, groupby, islice

from zborg.model import Policy, Snapshot, State, Verdict
from zborg.model.text.units import counted, duration, moment

Instant = Callable[[Snapshot], datetime | None]
"""When a snapshot was taken, for retention's purposes; None where that cannot be known."""


def by_name(snapshot: Snapshot) -> datetime | None:
    """The instant in a name that zborg wrote. An off-site trusts its own record of arrival instead."""
    return snapshot.name.at if snapshot.name else None


def by_arrival(snapshot: Snapshot) -> datetime | None:
    """When it came, by the off-site's own clock: names and dates of what is received are its sender's."""
    return snapshot.arrived


UNTOUCHABLE = timedelta(days=30)
"""How long every arrival stays: an attacker who took over a sender is noticed in that time, or not at all."""


def recent(
    snapshots: Iterable[Snapshot], first_seen: Mapping[str, datetime], now: datetime
) -> dict[str, str]:
    """Vetoes for what arrived within `UNTOUCHABLE`, whatever came after it and however much.

    `first_seen`, by guid, is the off-site's own: the later of the two counts.
    """
    came = ((one.guid, one.arrived, first_seen.get(one.guid)) for one in snapshots)
    reason = f"arrived within {duration(UNTOUCHABLE.total_seconds())}"
    return {guid: reason for guid, *times in came if any(at and now - at < UNTOUCHABLE for at in times)}


@dataclass(frozen=True, slots=True)
class Rule:
    """Keep the newest snapshot of each period, for `count(policy)` periods; below zero: for all."""

    name: str
    count: Callable[[Policy], int]
    period: Callable[[datetime], tuple[int, ...]]


RULES = (
    Rule("last", lambda policy: policy.last, lambda at: (*at.timetuple()[:6],)),
    Rule("hourly", lambda policy: policy.hourly, lambda at: (at.year, at.month, at.day, at.hour)),
    Rule("daily", lambda policy: policy.daily, lambda at: (at.year, at.month, at.day)),
    Rule("weekly", lambda policy: policy.weekly, lambda at: at.isocalendar()[:2]),
    Rule("monthly", lambda policy: policy.monthly, lambda at: (at.year, at.month)),
    Rule("yearly", lambda policy: policy.yearly, lambda at: (at.year,)),
)
"""In borg's order, which matters: what one rule keeps, later rules neither keep again nor count."""


@dataclass(frozen=True, slots=True)
class _Dated:
    guid: str
    at: datetime


def keep_reasons(
    snapshots: Sequence[Snapshot], policy: Policy, now: datetime, when: Instant = by_name
) -> Mapping[str, tuple[str, ...]]:
    """The reason per guid for each snapshot of one dataset that the policy keeps.

    Borg gives the first matching rule alone, so every tuple holds one reason. Snapshots without an
    instant take no part.
    """
    return _kept([_Entry.of(snapshot, when) for snapshot in snapshots], policy, now)


@dataclass(frozen=True, slots=True)
class _Entry:
    """A snapshot whose name was parsed once: with many thousands, parsing is what takes the time."""

    snapshot: Snapshot
    ours: bool
    at: datetime | None

    @classmethod
    def of(cls, snapshot: Snapshot, when: Instant) -> _Entry:
        return cls(snapshot, snapshot.name is not None, when(snapshot))


def _kept(entries: Iterable[_Entry], policy: Policy, now: datetime) -> Mapping[str, tuple[str, ...]]:
    newest_first = _newest_first(entries)
    retained = _within(newest_first, policy.within, now)
    for rule in RULES:
        retained |= _chosen(rule, rule.count(policy), newest_first, retained)
    return {guid: (reason,) for guid, reason in retained.items()}


def _newest_first(entries: Iterable[_Entry]) -> list[_Dated]:
    dated = [(e.at, e.snapshot.createtxg, e.snapshot.guid) for e in entries if e.at is not None]
    return [_Dated(guid, at) for at, _, guid in sorted(dated, reverse=True)]


def _within(newest_first: Iterable[_Dated], seconds: int, now: datetime) -> dict[str, str]:
    if seconds <= 0:
        return {}
    reason = f"within {duration(seconds)}"
    return {one.guid: reason for one in newest_first if (now - one.at).total_seconds() < seconds}


def _chosen(
    rule: Rule, count: int, newest_first: Sequence[_Dated], retained: Container[str]
) -> dict[str, str]:
    """What one rule adds to `retained`.

    A rule that runs out of periods before it reaches its count keeps the very oldest snapshot as
    well, so that a young series does not lose its beginning.
    """
    candidates = (one.guid for one in _firsts(rule, newest_first) if one.guid not in retained)
    chosen = list(islice(candidates, count if count >= 0 else None))
    reasons = {guid: f"{rule.name} #{number}" for number, guid in enumerate(chosen, 1)}
    if newest_first and len(chosen) < count:
        oldest = newest_first[-1].guid
        if oldest not in retained and oldest not in reasons:
            reasons[oldest] = f"{rule.name} #{len(chosen) + 1} (oldest)"
    return reasons


def _firsts(rule: Rule, newest_first: Iterable[_Dated]) -> Iterator[_Dated]:
    """The newest of each period, newest period first."""
    for _, group in groupby(newest_first, key=lambda one: rule.period(one.at)):
        yield next(group)


def rotate(
    snapshots: Sequence[Snapshot],
    policy: Policy,
    now: datetime,
    vetoes: Mapping[str, str],
    when: Instant = by_name,
) -> tuple[Verdict, ...]:
    """One verdict with all reasons per snapshot of one dataset, oldest first (by createtxg).

    `vetoes` maps guids to why they must stay, in words: the last common base of each target.
    """
    entries = [_Entry.of(snapshot, when) for snapshot in snapshots]
    standstill = _standstill(policy, now, _ahead(entries, now))
    return _judge(entries, _Terms(policy, now, vetoes, standstill))


@dataclass(frozen=True, slots=True)
class _Terms:
    """What all datasets of a rotation share; `standstill` says why nothing at all may be destroyed."""

    policy: Policy
    now: datetime
    vetoes: Mapping[str, str]
    standstill: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Ahead:
    at: datetime
    snapshot: Snapshot


def _ahead(entries: Iterable[_Entry], now: datetime) -> _Ahead | None:
    """The newest snapshot that zborg named, if it is still to come: the clock is wrong, and so is every age.

    Others prove nothing: a received snapshot was created when its sender's clock says.
    """
    ours = (_Ahead(e.at, e.snapshot) for e in entries if e.ours and e.at is not None)
    newest = max(ours, key=lambda one: one.at, default=None)
    return newest if newest and now < newest.at else None


def _standstill(policy: Policy, now: datetime, ahead: _Ahead | None) -> tuple[str, ...]:
    reasons = ["no retention rule is set"] if policy.empty else []
    if ahead:
        reasons.append(f"the clock ({moment(now)}) is behind the newest snapshot ({moment(ahead.at)})")
    return tuple(reasons)


def _judge(entries: Iterable[_Entry], terms: _Terms) -> tuple[Verdict, ...]:
    ordered = sorted(entries, key=lambda e: (e.snapshot.createtxg, e.snapshot.guid))
    ours = [entry for entry in ordered if entry.ours]
    among = (_kept(ours, terms.policy, terms.now), _special([entry.snapshot for entry in ours]))
    return tuple(
        Verdict(
            entry.snapshot,
            (*_earned(entry.snapshot.guid, among), *_own(entry, terms.vetoes), *terms.standstill),
        )
        for entry in ordered
    )


def _earned(guid: str, among: Iterable[Mapping[str, tuple[str, ...]]]) -> Iterator[str]:
    """Reasons that come from a snapshot's place among the others."""
    for reasons in among:
        yield from reasons.get(guid, ())


def _special(ours: Sequence[Snapshot]) -> Mapping[str, tuple[str, ...]]:
    """The newest snapshot and the last good one, which may be the same."""
    reasons: defaultdict[str, tuple[str, ...]] = defaultdict(tuple)
    for snapshot in ours[-1:]:
        reasons[snapshot.guid] += ("newest",)
    for snapshot in [s for s in ours if s.state is State.OK][-1:]:
        reasons[snapshot.guid] += ("last good",)
    return reasons


def _own(entry: _Entry, vetoes: Mapping[str, str]) -> Iterator[str]:
    """Reasons that lie in the snapshot itself, whatever its neighbours are."""
    if not entry.ours:
        yield "not named by zborg"
    elif entry.at is None:
        yield "its time is not known"
    if entry.snapshot.holds:
        yield counted(entry.snapshot.holds, "hold")
    if entry.snapshot.clones:
        yield f"cloned as {', '.join(entry.snapshot.clones)}"
    if entry.snapshot.guid in vetoes:
        yield vetoes[entry.snapshot.guid]


@dataclass(frozen=True, slots=True)
class RotatePlan:
    """The verdicts of many datasets, by dataset name, then oldest first.

    `ahead` is the newest snapshot when the clock is behind it; then nothing is destroyed.
    """

    verdicts: tuple[Verdict, ...]
    ahead: Snapshot | None = None

    @property
    def destroy(self) -> Mapping[str, tuple[str, ...]]:
        """Per dataset what nothing keeps (the part after @), oldest first; only datasets that lose some."""
        doomed: dict[str, tuple[str, ...]] = {}
        for dataset, verdicts in groupby(self.verdicts, key=_dataset):
            snapnames = tuple(v.snapshot.snapname for v in verdicts if not v.keep)
            if snapnames:
                doomed[dataset] = snapnames
        return doomed

    def lines(self) -> tuple[str, ...]:
        """The plan for people: every snapshot, and why it stays."""
        return tuple(
            line
            for dataset, verdicts in groupby(self.verdicts, key=_dataset)
            for line in _dataset_lines(dataset, tuple(verdicts))
        )


def plan_rotation(
    snapshots: Sequence[Snapshot],
    policy: Policy,
    now: datetime,
    vetoes: Mapping[str, str],
    when: Instant = by_name,
) -> RotatePlan:
    """Judge the snapshots of many datasets, each dataset by itself.

    Only the clock guard looks at all of them: there is one clock, and one dataset that proves it
    wrong stops the rotation of every other.
    """
    datasets: defaultdict[str, list[_Entry]] = defaultdict(list)
    for snapshot in snapshots:
        datasets[snapshot.dataset].append(_Entry.of(snapshot, when))
    ahead = _ahead(chain.from_iterable(datasets.values()), now)
    terms = _Terms(policy, now, vetoes, _standstill(policy, now, ahead))
    verdicts = tuple(v for name in sorted(datasets) for v in _judge(datasets[name], terms))
    return RotatePlan(verdicts, ahead.snapshot if ahead else None)


def _dataset(verdict: Verdict) -> str:
    return verdict.snapshot.dataset


def _dataset_lines(dataset: str, verdicts: Sequence[Verdict]) -> Iterator[str]:
    doomed = sum(not verdict.keep for verdict in verdicts)
    yield f"{dataset}: {counted(len(verdicts), 'snapshot')}, {doomed} to destroy"
    width = max(len(verdict.snapshot.snapname) for verdict in verdicts)
    for verdict in verdicts:
        word = "keep" if verdict.keep else "destroy"
        reasons = "; ".join(verdict.reasons) or "no rule keeps it"
        if verdict.snapshot.label:
            reasons += f" (labelled {verdict.snapshot.label})"
        yield f"  {word:<7}  {verdict.snapshot.snapname:<{width}}  {reasons}"
