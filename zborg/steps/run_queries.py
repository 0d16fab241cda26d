"""What earlier runs recorded, asked of their run files: the newest of it first, none of it by name of a file.

Whatever is odd in a run file is passed over, for history never stops a backup.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice

from zborg.config import Config
from zborg.model import Outcome, Report, Status
from zborg.model.results import PublishedReport, Replicated, SnapshotTaken, backup_of
from zborg.model.subjects import OnTarget, below, is_of
from zborg.state.recorded.moment import Moment
from zborg.state.runs import Runs, ended

_FAR = 60  # replications that are looked through for the last good one of each dataset
_FAR_OF_EACH = 1000  # runs that are looked through for a host that the newest ones did not have
_LOOKED = 3  # replications; where none of them found a report the target has no zborg of its own

Found = tuple[Report, list[Outcome]]


def newest_about(runs: Runs, command: str, about: Callable[[Outcome], bool] = lambda _: True) -> Found | None:
    """The newest report that has something about a subject, and that part of it.

    One that only found another run at work does not count: that other run's report does.
    """
    for report in runs.newest_first(command):
        relevant = [one for one in report.outcomes if about(one) and one.status is not Status.BUSY]
        if relevant or not report.outcomes:
            return report, relevant
    return None


@dataclass(frozen=True)
class OfEach:
    """Of a step that may be given some hosts only: its newest report with what was not busy in it.

    `earlier`: of each host of which that knows nothing the last outcome before, and when that ended.
    """

    report: Report
    outcomes: Sequence[Outcome]
    earlier: Mapping[str, tuple[datetime, Outcome]]


def newest_of_each(
    runs: Runs, command: str, hosts: Collection[str], first: Callable[[str], datetime | None]
) -> OfEach | None:
    """One that was busy or interrupted says nothing of a host. `first`: since when a host may have any."""
    found = newest_about(runs, command)
    if found is None:
        return None
    known = {one.subject for one in found[1] if _tells(command, one)}
    missed = {name: first(name) for name in hosts if name not in known}
    earlier: dict[str, tuple[datetime, Outcome]] = {}
    for report in islice(runs.newest_first(command), _FAR_OF_EACH) if missed else ():
        for one in report.outcomes:
            if one.subject in missed and _tells(command, one):
                earlier.setdefault(one.subject, (report.finished, one))
        rest = (at for name, at in missed.items() if name not in earlier)
        if all(at and at > report.started for at in rest):
            break
    return OfEach(*found, earlier)


def _tells(command: str, outcome: Outcome) -> bool:
    return outcome.kind == command and outcome.status not in (Status.BUSY, Status.INTERRUPTED)


# --- backups ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class LastBackups:
    """By host. `good`: its newest good outcome with its end; `newest`: its newest outcome of any kind."""

    good: Mapping[str, tuple[datetime, Outcome]]
    newest: Mapping[str, Outcome]


def last_backups(config: Config, runs: Moment) -> LastBackups:
    """Of all hosts that zborg.toml names and a run file has."""
    good: dict[str, tuple[datetime, Outcome]] = {}
    newest: dict[str, Outcome] = {}
    for name, some in runs.hosts_to_good("backup", _names(config)).items():
        for at, outcome in some:
            if outcome.status not in (Status.SKIPPED, Status.BUSY):  # those say nothing of the host itself
                newest.setdefault(name, outcome)
            if outcome.status.good:
                good[name] = at, outcome
    return LastBackups(good, newest)


def _names(config: Config) -> list[str]:
    return [host.name for host in config.hosts]


def good_ends(runs: Runs) -> Iterator[tuple[str, datetime]]:
    """Every good backup there was: the host and when it ended."""
    for report in runs.newest_first("backup"):
        for one in report.outcomes:
            if one.kind == "host" and one.status.good:
                yield one.subject, ended(report, one)


def removals(runs: Runs) -> Iterator[tuple[str, datetime]]:
    """Every host that was removed, and when."""
    for report in runs.newest_first("host remove"):
        for one in report.outcomes:
            if one.kind == "host" and one.status is Status.OK:
                yield one.subject, report.finished


def last_walls(config: Config, runs: Moment) -> dict[str, str]:
    """By host what stood around its last `borg serve`, in the words of its backup; without those of which it
    is not known."""
    found = {
        # A failed one may not have come to serving. A good one without it is of an older zborg, and so is all
        # that came before it.
        name: next((words for _, one in some if (words := backup_of(one.result).wall)), "")
        for name, some in runs.hosts_to_good("backup", _names(config)).items()
    }
    return {name: words for name, words in found.items() if words}


def last_rotation(runs: Runs) -> datetime | None:
    """The start of the last rotation that looked at all: it was not busy, its pool not away."""
    for report in runs.newest_first("rotate"):
        if not any(one.kind == "step" and one.status.bad for one in report.outcomes):
            return report.started
    return None


# --- snapshots and their copies -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Taken:
    """A run of `snapshot`, and by a dataset's name below the root the snapshot that was taken of it."""

    report: Report
    names: Mapping[str, str]


def last_taken(runs: Runs, root: str) -> Taken | None:
    """The newest run that took any. `root` is that of the datasets on the storage."""
    for report in runs.newest_first("snapshot"):
        names = {
            name: one.result.snapshot.partition("@")[2]
            for one in report.outcomes
            if isinstance(one.result, SnapshotTaken)
            and one.result.snapshot
            and (name := below(root, one.subject))
        }
        if names:
            return Taken(report, names)
    return None


@dataclass(frozen=True)
class Sent:
    """A replication of one dataset that went well."""

    report: Report
    result: Replicated


def last_sent(runs: Runs, target: str, root: str, wanted: Sequence[str]) -> dict[str, Sent]:
    """By a dataset's name below the target's root the last replication that went well, at least of those
    `wanted` that have one."""
    found: dict[str, Sent] = {}
    for report in islice(runs.newest_first("replicate"), _FAR):
        for one in report.outcomes:
            copy = OnTarget.parse(one.subject)
            if one.status.good and isinstance(one.result, Replicated) and copy.target == target:
                found.setdefault(below(root, copy.name), Sent(report, one.result))
        if found.keys() >= set(wanted):
            break
    return found


def up_to_date(runs: Runs, since: datetime) -> dict[str, datetime]:
    """By copy when it was last seen up to date, in replications that began after `since`."""
    found: dict[str, datetime] = {}
    for report in runs.newest_first("replicate"):
        if report.started < since:
            break
        for outcome in report.outcomes:
            if outcome.kind == "replica" and outcome.status.good:
                found.setdefault(outcome.subject, ended(report, outcome))
    return found


@dataclass(frozen=True)
class LastReplication:
    """`good`: the end of the last of which nothing was bad; `sent`: the bytes of the last of all."""

    good: datetime | None
    sent: int | None


def last_replication(runs: Runs, target: str) -> LastReplication:
    """Of one target."""
    sent = None
    for report in runs.newest_first("replicate"):
        mine = [one for one in report.outcomes if is_of(target, one.subject)]
        if mine and sent is None:
            sent = sum(one.result.bytes for one in mine if isinstance(one.result, Replicated))
        if any(one.status.good for one in mine) and not any(one.status.bad for one in mine):
            return LastReplication(report.finished, sent)
    return LastReplication(None, sent)


def last_published(runs: Runs, target: str) -> PublishedReport | None:
    """What the target's own zborg had published, as the last replication that found it read it."""
    for report in islice(runs.newest_first("replicate"), _LOOKED):
        for one in report.outcomes:
            if one.subject == target and isinstance(one.result, PublishedReport):
                return one.result
    return None
