"""sink: one command of a sender or of a reader, carried out below one dataset or refused.

They reach this step by the forced command of their key, and choose every byte of the command, a sender
also of the stream. What they may ask for is zborg.zfs.sink; here is how it is done.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from zborg.errors import CommandFailed, TimedOut
from zborg.model import Clock, Completed, Runner, Snapshot, Zfs
from zborg.model.words import moment
from zborg.model.zfs import P_ABANDON, P_ARRIVED
from zborg.streams import fed, first_bytes, pour, pump
from zborg.zfs.argv import receive_as
from zborg.zfs.begin import SIZE
from zborg.zfs.begin import parse as parse_begin
from zborg.zfs.sink import (
    HERE,
    Give,
    GiveUp,
    Hello,
    Mark,
    Show,
    Take,
    check_mark,
    check_stream,
    name_of,
    parse,
    parse_reading,
    refuse,
)

_LISTING = 600.0  # seconds, as long as the sender's own adapter waits
_FIRST_BYTES = 900.0  # a `zfs send` on a busy pool may take minutes to begin
_LONGEST = 14 * 86400.0  # a first full stream over a slow line takes days


@dataclass(frozen=True)
class Sink:
    """Where a sender may put its streams, and what that is done with."""

    root: str
    zfs: Zfs
    runner: Runner
    clock: Clock
    raw: bool = False  # encrypted streams are received as well


def serve(sink: Sink, command: str, stdin: int) -> Completed:
    """What the command came to, for the sender. Raises ZborgError for what is refused; it did nothing."""
    request = parse(command, sink.root)
    if isinstance(request, Hello):
        return Completed(0, HERE, "")
    if isinstance(request, Show):
        return _show(sink, request)
    if isinstance(request, Take):
        return _take(sink, request.dataset, stdin)
    if isinstance(request, Mark):
        return _mark(sink, request)
    return _give_up(sink, request)


def serve_reader(sink: Sink, command: str, stdout: int, say: Callable[[str], None]) -> Completed:
    """The same for a reader: a stream goes to `stdout`, and what ZFS says of it meanwhile to `say`."""
    request = parse_reading(command, sink.root)
    return _show(sink, request) if isinstance(request, Show) else _give(sink, request, stdout, say)


def _give(sink: Sink, request: Give, stdout: int, say: Callable[[str], None]) -> Completed:
    with open(os.devnull, "rb") as nothing:
        child = sink.runner.start(request.argv, stdin=nothing.fileno(), stdout=stdout)
    statuses = pump({"send": child}, lambda _, line: say(line), timeout=_LONGEST)
    return Completed(statuses["send"], "", "")


def _show(sink: Sink, request: Show) -> Completed:
    """ZFS's own words in either case: the sender's adapter reads them."""
    try:
        return sink.runner.run(request.argv, timeout=_LISTING)
    except TimedOut:
        raise
    except CommandFailed as error:
        return Completed(error.status, "", error.stderr)


def _held(sink: Sink, dataset: str) -> list[Snapshot]:
    return [one for one in sink.zfs.snapshots(dataset) if one.dataset == dataset]


def _mark(sink: Sink, mark: Mark) -> Completed:
    check_mark(mark, _held(sink, mark.snapshot.partition("@")[0]))
    sink.zfs.set([mark.snapshot], mark.properties)
    return Completed(0, "", "")


def _give_up(sink: Sink, request: GiveUp) -> Completed:
    """Noted with the guid that was to come: by the time somebody acts on it another stream may have begun."""
    found = [one for one in sink.zfs.datasets(request.dataset) if one.name == request.dataset]
    if not found or not found[0].resume_token:
        return Completed(0, "", "")
    guid = sink.zfs.decode(found[0].resume_token).to_guid
    sink.zfs.set([request.dataset], {P_ABANDON: guid})
    raise refuse("a sender gives nothing up; it is noted, and the off-site's own zborg rotate will")


# --- receiving --------------------------------------------------------------------------------------


def _take(sink: Sink, dataset: str, stdin: int) -> Completed:
    header = first_bytes(stdin, SIZE, _FIRST_BYTES)
    begin = parse_begin(header)
    check_stream(begin, raw=sink.raw)
    held = _held(sink, dataset)
    name = f"{dataset}@{name_of(begin, held, sink.clock())}"
    done = _receive(sink, name, header, stdin)
    if done.status == 0:
        _note_arrival(sink, name, held)
    return done


def _receive(sink: Sink, name: str, header: bytes, stdin: int) -> Completed:
    said: list[str] = []
    with open(os.devnull, "wb") as nothing:
        out = nothing.fileno()

        def write(target: int) -> None:
            os.write(target, header)
            pour(stdin, target)

        child = fed(lambda into: sink.runner.start(receive_as(name), stdin=into, stdout=out), write)
    statuses = pump({"receive": child}, lambda _, line: said.append(line), timeout=_LONGEST)
    return Completed(statuses["receive"], "", "".join(f"{line}\n" for line in said[-20:]))


def _note_arrival(sink: Sink, name: str, held: Sequence[Snapshot]) -> None:
    """By our clock, on the new snapshot and on each where an earlier run was cut before it wrote it down."""
    unknown = [one.full for one in held if one.arrived is None]
    sink.zfs.set([*unknown, name], {P_ARRIVED: moment(sink.clock())})
