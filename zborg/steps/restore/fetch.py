"""A snapshot fetched from a target, for a restore: where zborg may make nothing there, or must serve here.

It is received into the storage's scratch and goes with the run, whatever happens. A target is another
machine, and need not be honest: what it sends is looked at before any of it is received.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from zborg.errors import CommandFailed, SinkRefused, ZborgError
from zborg.interrupt import cancelled
from zborg.model import Child, Outcome, Snapshot, Stream, Zfs
from zborg.model.text.remedy import command, remedy
from zborg.state.locks import Lock
from zborg.steps.context import StepRun, outcome_of
from zborg.steps.replicate.stream import LAST_LINES, Meter, reason, to_blame
from zborg.steps.restore.source import Place, clear_stale, drop_fetched, fetched_below
from zborg.streams import chain, fed, first_bytes, pour, pump
from zborg.zfs import argv
from zborg.zfs.begin import SIZE
from zborg.zfs.begin import parse as parse_begin
from zborg.zfs.output.messages import explain
from zborg.zfs.sink import faults

_FIRST_BYTES = 900.0  # seconds: a `zfs send` on a busy pool may take minutes to begin
_LONGEST = 14 * 86400.0
_ARRIVING = 6 * 3600.0  # after the sender's end: pipes, ssh's buffers, the last transaction group
_READER = "name the key that may read there with --identity (docs/restore.md)"


@contextmanager
def at_hand(
    run: StepRun, place: Place, snapshot: Snapshot, lock: Lock, *, serve: bool = False
) -> Iterator[tuple[Place, Snapshot]]:
    """The place and the snapshot to clone: those given, or on the storage what was fetched of them.

    `serve`: it will be served from the storage, so it has to be there.
    """
    if not place.reader and not (serve and place.target):
        yield place, snapshot
        return
    _check_plain(place, snapshot)
    context = run.context
    near = replace(place, machine=context.storage, dataset=context.config.storage.dataset)
    clear_stale(run, near)  # before there has to be room for both
    made = f"{fetched_below(near, run.id)}/{place.host}"
    near = replace(near, dataset=made, reader=False)
    try:
        _make_parent(near.zfs, made)
        _Fetch(run, place, snapshot, lock).into(near.zfs, made)
        yield near, replace(snapshot, dataset=made)
    finally:
        with cancelled.shielded():
            drop_fetched(near.zfs, made)


def _check_plain(place: Place, snapshot: Snapshot) -> None:
    """What ZFS encrypts off-site comes raw, and mounts only with its key, which zborg never asks for."""
    if any(one.encrypted for one in place.zfs.datasets(place.dataset) if one.name == place.dataset):
        words = f"{place.dataset}{place.where} is encrypted by ZFS: zborg does not fetch it"
        send = command(*argv.send(Stream(snapshot.full, raw=True)))
        first = f"receive it by hand into a pool that has its key; on {place.target}:"
        raise ZborgError(words, remedy(send, first=first))


def _make_parent(zfs: Zfs, made: str) -> None:
    scratch, parent = made.rsplit("/", 2)[0], made.rpartition("/")[0]
    standing = {one.name for one in zfs.datasets(scratch)}
    for dataset in (scratch, parent):
        if dataset not in standing:
            zfs.create(dataset, {})


def failed(place: Place, error: Exception) -> Outcome:
    """A restore's error as its outcome. A sink lets the key of replication add copies and nothing else."""
    outcome = outcome_of("host", place.host, error)
    if not place.target or not isinstance(error, SinkRefused):
        return outcome
    key = "the key of --identity" if place.reader else "zborg's everyday key"
    message = f"{place.target} lets {key} restore nothing: a sink is in front of it"
    return replace(outcome, message=message, remedy=_READER)


@dataclass
class _Fetch:
    """`zfs send` there, `zfs receive` here."""

    run: StepRun
    place: Place
    snapshot: Snapshot
    lock: Lock
    wrong: str = ""  # what the stream is, if it is not what was asked for

    def into(self, zfs: Zfs, made: str) -> None:
        """Raises CommandFailed of the end that is to blame, ZborgError for a stream of something else."""
        meter = Meter(self.run.context.emit, self.place.host)
        output: dict[str, list[str]] = {"send": [], "receive": []}

        def listen(who: str, lines: Sequence[str]) -> None:
            others = meter.feed_lines(lines) if who == "send" else lines
            output[who] = [*output[who], *others][-LAST_LINES:]

        pair = chain(
            lambda out: self.place.zfs.send(Stream(self.snapshot.full), out),
            lambda into: self._received(zfs, made, into),
        )
        ends, after = dict(zip(output, pair, strict=True)), {"send": _ARRIVING}
        statuses = pump(ends, listen, timeout=_LONGEST, adopt=self.lock.adopt, after=after)
        if self.wrong:
            words = f"{self.place.target} sends something else than {self.snapshot.full}: {self.wrong}"
            raise ZborgError(f"{words}; nothing was received", f"look at {self.place.target}")
        if any(statuses.values()):
            who = to_blame(statuses, output["receive"])
            words = reason(ends[who], statuses[who], output[who])
            raise self._failure(who, statuses[who], words)

    def _received(self, zfs: Zfs, made: str, source: int) -> Child:
        source = os.dup(source)

        def write(target: int) -> None:
            try:
                first = first_bytes(source, SIZE, _FIRST_BYTES)
                self.wrong = self._fault(first)
                if not self.wrong:
                    os.write(target, first)
                    pour(source, target)
            except ZborgError as error:
                self.wrong = error.message
            finally:
                os.close(source)  # the sender notices that nobody reads on

        return fed(lambda stdin: zfs.receive(made, stdin), write)

    def _fault(self, first: bytes) -> str:
        """Why this is not the one plain snapshot that was asked for; no children, properties or volumes."""
        if len(first) < SIZE:
            return ""  # the sender ended, and will say why
        begin = parse_begin(first)
        if begin.to_guid != self.snapshot.guid or begin.from_guid:
            return (
                f"guid {begin.to_guid} from {begin.from_guid or 'nothing'}, not all of {self.snapshot.guid}"
            )
        return next(faults(begin, raw=False), "")

    def _failure(self, who: str, status: int, words: str) -> CommandFailed:
        where = f"on {self.place.target}" if who == "send" else "on the storage"
        command = ("zfs", who)
        explained = explain(CommandFailed(command, status, words), command)
        message = f"zfs {who} {where} failed"
        if isinstance(explained, SinkRefused):
            return SinkRefused(
                command, status, explained.stderr, message, explained.remedy, code=explained.code
            )
        return CommandFailed(command, status, explained.stderr, message, explained.remedy)
