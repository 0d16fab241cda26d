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
from zborg.model.storage.zfs import P_ABANDON, P_ARRIVED
from zborg.model.text.units import moment
from zborg.streams import Pace, fed, first_bytes, pour, pump
from zborg.zfs.argv import receive_as
from zborg.zfs.begin import SIZE
from zborg.zfs.begin import parse as parse_begin
from zborg.zfs.output.parse import progress
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
_FIRST_BYTES = 300.0  # a `zfs send` on a busy pool may take minutes to begin
_STALLED = 900.0  # of waiting for a sender that brought less than _LEAST meanwhile
_LEAST = 1 << 16  # bytes
_LONGEST = 14 * 86400.0  # a first full stream over a slow line takes days


@dataclass(frozen=True)
class Sink:
    """Where a sender may put its streams, and what that is done with."""

    root: str
    zfs: Zfs
    runner: Runner
    clock: Clock
    patience: Callable[[int], None]  # give up in so many seconds from now; 0: no more
    raw: bool = False  # encrypted streams are received as well
    first: bytes = b""  # of a stream: what was read of it before


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
    sent = 0

    def listen(_: str, lines: Sequence[str]) -> None:
        nonlocal sent
        for line in lines:
            now = progress(line)
            if now is not None and now >= sent + _LEAST:
                sent = now
                sink.patience(int(_STALLED))
            say(line)

    with open(os.devnull, "rb") as nothing:
        child = sink.runner.start(request.argv, stdin=nothing.fileno(), stdout=stdout)
    statuses = pump({"send": child}, listen, timeout=_LONGEST)
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
    header = _header(sink, stdin)
    begin = parse_begin(header)
    check_stream(begin, raw=sink.raw)
    held = _held(sink, dataset)
    name = f"{dataset}@{name_of(begin, held, sink.clock())}"
    done = _receive(sink, name, header, stdin)
    if done.status == 0:
        _note_arrival(sink, name, held)
    return done


def _header(sink: Sink, stdin: int) -> bytes:
    try:
        return sink.first + first_bytes(stdin, SIZE - len(sink.first), _FIRST_BYTES)
    except TimedOut as error:
        raise refuse(f"no first record of a stream: {error.message}") from error


def _receive(sink: Sink, name: str, header: bytes, stdin: int) -> Completed:
    """Raises ZborgError for a sender that stalled: what arrived stays, as of any cut stream."""
    output: list[str] = []
    stalled: list[TimedOut] = []
    with open(os.devnull, "wb") as nothing:
        out = nothing.fileno()

        def write(target: int) -> None:
            os.write(target, header)
            try:
                pour(stdin, target, Pace(_STALLED, _LEAST))
            except TimedOut as error:
                stalled.append(error)

        child = fed(lambda into: sink.runner.start(receive_as(name), stdin=into, stdout=out), write)
    sink.patience(0)  # the pool may take its time
    statuses = pump({"receive": child}, lambda _, lines: output.extend(lines), timeout=_LONGEST)
    sink.patience(int(_LISTING))
    if stalled:
        raise refuse(f"the stream of {name} stalled: {stalled[0].message}", "what arrived of it is kept")
    return Completed(statuses["receive"], "", "".join(f"{line}\n" for line in output[-20:]))


def _note_arrival(sink: Sink, name: str, held: Sequence[Snapshot]) -> None:
    """By our clock, on the new snapshot and on each where an earlier run was cut before it wrote it down."""
    unknown = [one.full for one in held if one.arrived is None]
    sink.zfs.set([*unknown, name], {P_ARRIVED: moment(sink.clock())})
