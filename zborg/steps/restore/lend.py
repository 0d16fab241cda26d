"""restore serve: a snapshot, lent to its host, for the host's owner to run borg by hand.

A target's copy is fetched to the storage first, and served from there. The key stays where it is. Each of
the owner's commands takes one connection; the server lends the next as soon as one has ended, until it is
stopped. The clone goes with it, whatever happens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from zborg.borg.log import BorgLog
from zborg.borg.verdict import judge
from zborg.errors import Interrupted, UsageError, ZborgError
from zborg.interrupt import cancelled
from zborg.model import Host, Outcome, Report, Snapshot, Speaker, Status
from zborg.model.events import Started, Warned
from zborg.model.results import LentSnapshot
from zborg.model.text.remedy import command, remedy
from zborg.model.text.units import counted
from zborg.state.locks import Lock
from zborg.steps.context import StepRun, select_hosts
from zborg.steps.restore.fetch import at_hand, failed
from zborg.steps.restore.interrupted import restore_lock
from zborg.steps.restore.source import STORAGE, Place, Source, chosen, clone, place_of

_LONGEST = 7 * 86400  # seconds of one command: `borg mount` stays as long as it is looked at
_BY_HAND = 'eval "$(/usr/local/libexec/zborg-agent --borg-env)"'


@dataclass(frozen=True)
class Request:
    """The newest good snapshot not later than `at`."""

    host: str
    at: str = ""
    source: Source = STORAGE


def restore_serve(run: StepRun, request: Request) -> Report:
    """Lend a snapshot until zborg is stopped, which is a good end.

    Raises UsageError before anything is made.
    """
    context, name = run.context, request.host
    (host,) = select_hosts(context.config, [name])
    if host.reverse:
        raise UsageError(
            f"{name} has no agent: it is backed up by its own borgmatic",
            remedy(
                command("zborg", "restore", "repo", name, "--to", f"/srv/{name}"),
                first="copy its repository, and read that with borg and its key:",
            ),
        )
    place = place_of(context, host.name, request.source)
    snapshot = chosen(run, place.snapshots(), request.at)
    if run.dry_run:
        first = [f"fetch {snapshot.full}{place.where}"] if place.target else []
        return run.planned([*first, f"clone {snapshot.full} and lend it to {name}", *_words(host)])
    return run.recorded([_served(run, host, place, snapshot)])


def _words(host: Host) -> list[str]:
    """What to do on the host. A fresh memory of borg's serves to read; what it would write is not safe."""
    return [
        f"on {host.name}, as root, in a shell of its own:",
        _BY_HAND,  # alone on its line, to be copied whole
        "then: borg list, borg extract ::ARCHIVE PATH, borg mount; what writes is refused",
    ]


def _served(run: StepRun, host: Host, place: Place, snapshot: Snapshot) -> Outcome:
    try:
        with (
            run.context.locks.hold(restore_lock(host.name)) as lock,
            at_hand(run, place, snapshot, lock, serve=True) as (near, copy),
            clone(run, near, copy, served=True),
        ):
            return _Lending(run, host, snapshot, lock).execute()
    except ZborgError as error:
        return failed(place, error)


@dataclass
class _Lending:
    """One connection after the other."""

    run: StepRun
    host: Host
    snapshot: Snapshot
    lock: Lock
    count: int = 0

    def execute(self) -> Outcome:
        emit = self.run.context.emit
        emit(Started(self.host.name))
        for words in (f"{self.snapshot.full} is lent until Ctrl-C", *_words(self.host)):
            emit(Warned(self.host.name, words))
        try:
            while not cancelled.is_set():
                if (outcome := self._once()).status.bad:
                    return outcome
                self.count += 1
        except Interrupted:  # how it is meant to end
            pass
        message = f"{self.snapshot.snapname} was lent for {counted(self.count, 'command')}"
        result = LentSnapshot(snapshot=self.snapshot.full, commands_served=self.count)
        return Outcome("host", self.host.name, Status.OK, message, result=result)

    def _once(self) -> Outcome:
        log = BorgLog(self.host.name)
        tunnel, lasting = self.run.context.tunnel, replace(self.host, timeout=_LONGEST)
        words = ("lend", self.host.name)

        def listen(speaker: Speaker, lines: Sequence[str]) -> None:
            log.feed_lines(lines, speaker)

        status = tunnel.verb(lasting, words, listen, scratch=self.run.id, adopt=self.lock.adopt)
        judged, message, remedy = judge(status, log)
        return Outcome("host", self.host.name, judged, message, remedy)
