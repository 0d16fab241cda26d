"""What a sender may ask of an off-site host, which streams it may bring, and what a reader may ask. Pure.

There is no protocol of the sink's own: a command is allowed when it is word for word what zborg's own
adapter (argv.py) would have written for something below the root, and quoted as it would have been.
So what a command line could mean beyond that never needs to be thought of. Everything else is refused.
A reader's key has the listings in common with a sender's, and nothing else.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from zborg.errors import Refused, ZborgError
from zborg.model import Snapshot, SnapshotName, Stream
from zborg.model.codes import Sink
from zborg.model.storage.zfs import MARKS
from zborg.model.text.units import moment
from zborg.zfs import argv, names
from zborg.zfs.argv import Argv
from zborg.zfs.begin import CLONE, FILESYSTEM, HARMLESS, PLAIN, RAW, Begin

AHEAD = timedelta(hours=1)  # a name may be that far in our future: two clocks never agree
MOST_A_DAY = 500
"""Arrivals per dataset in 24 hours. A first filling with more goes on the next day."""

OTHER_ROOT = "the forced command of this key is for"
_ONE_ROOT = "`dataset` of the target in the sender's zborg.toml has to be ROOT of the forced command here"

_LISTINGS = (
    argv.list_datasets,
    argv.dataset_properties,
    argv.list_snapshots,
    argv.snapshot_properties,
    argv.guid,
)


@dataclass(frozen=True, slots=True)
class Show:
    """A listing of the root, of something below it, or of its pool, or the time: run as it stands."""

    argv: Argv


@dataclass(frozen=True, slots=True)
class Take:
    """Receive the stream on stdin into this dataset."""

    dataset: str


@dataclass(frozen=True, slots=True)
class Mark:
    """Write what the source knows of this snapshot."""

    snapshot: str
    properties: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Abort a partial receive. Only asked for: it takes the right to destroy, which a sender has not."""

    dataset: str


@dataclass(frozen=True, slots=True)
class Give:
    """Send this snapshot, whole, on stdout: run as it stands."""

    argv: Argv


HELLO = ("echo", "zborg")
"""Asks whether there is a sink, by what a shell does as well; the sink answers in other words, `HERE`."""
HERE = "zborg sink\n"


@dataclass(frozen=True, slots=True)
class Hello:
    """Nothing is done. A refusal would stand in the off-site's log, where it means somebody's bad will."""


Request = Show | Take | Mark | GiveUp | Hello


def refuse(why: str, remedy: str = "", code: Sink = Sink.REFUSED) -> Refused:
    """The error to raise; its text begins as docs/sink.md promises."""
    return Refused(f"refused by the sink: {why}", remedy, code=code)


# --- commands ---------------------------------------------------------------------------------------


def parse(command: str, root: str) -> Request:
    """SSH_ORIGINAL_COMMAND as a request below `root`. Raises ZborgError for every other text."""
    words = _words(command)
    if words == HELLO:
        return Hello()
    if request := _shown(words, root) or _done(words, root) or _marked(words, root):
        return request
    raise _refusal(words, root, f"it does not do {command[:200]!r}", Sink.COMMAND)


def parse_reading(command: str, root: str) -> Show | Give:
    """The same of a reader. Raises ZborgError for every other text, a sender's included."""
    words = _words(command)
    if request := _shown(words, root) or _given(words, root):
        return request
    raise _refusal(words, root, f"this key only reads; it does not do {command[:200]!r}")


def _refusal(words: Argv, root: str, why: str, code: Sink = Sink.REFUSED) -> Refused:
    """A command of zborg's own for another place is a mistake in a configuration, and no other version."""
    last = words[-1]
    own = (*_LISTINGS, argv.receive, argv.abort_receive, argv.pool_status, argv.pool_list)
    if last != root and not _is_below(last, root) and any(_wrote(one, last) == words for one in own):
        return refuse(f"{OTHER_ROOT} {root}, and {last} is not below it", _ONE_ROOT, Sink.ROOT)
    return refuse(why, "what it does is in docs/sink.md", code)


def _given(words: Argv, root: str) -> Give | None:
    """One snapshot in full, raw or not. An increment or a resumed stream names another one, which need not
    be below the root: ZFS finds what a token means in the whole pool."""
    last = words[-1]

    def sent(*, raw: bool) -> Argv | None:
        return _wrote(lambda name: argv.send(Stream(name, raw=raw)), last)

    return Give(words) if _is_below(last, root) and words in (sent(raw=False), sent(raw=True)) else None


def _shown(words: Argv, root: str) -> Show | None:
    pool, last = root.split("/")[0], words[-1]
    if words in (argv.pool_status(pool), argv.pool_list(pool), argv.clock()):
        return Show(words)
    inside = last == root or _is_below(last, root)
    return Show(words) if inside and any(_wrote(build, last) == words for build in _LISTINGS) else None


def _done(words: Argv, root: str) -> Take | GiveUp | None:
    last = words[-1]
    if _is_below(last, root) and _wrote(argv.receive, last) == words:
        return Take(last)
    if _is_below(last, root) and _wrote(argv.abort_receive, last) == words:
        return GiveUp(last)
    return None


def _marked(words: Argv, root: str) -> Mark | None:
    """`zfs set` of our marks on one snapshot. Other keys and values are refused in words of their own."""
    last = words[-1]
    properties = dict(word.split("=", 1) for word in words[2:-1] if "=" in word)
    written = _wrote(lambda name: argv.set_properties([names.snapshot(name)], properties), last)
    if not properties or not _is_below(last, root) or written != words:
        return None
    for key, value in properties.items():
        if key not in MARKS or not MARKS[key].fullmatch(value):
            raise refuse(f"{key}={value[:80]} is no mark of a snapshot")
    return Mark(last, properties)


def _words(command: str) -> Argv:
    """Only what shlex.join() wrote: one way to say it, so nothing is hidden in another."""
    if not command:
        raise refuse("no command: this key opens no shell")
    try:
        words = tuple(shlex.split(command))
    except ValueError as error:
        raise refuse(f"a command that cannot be read: {error}") from None
    if not words or shlex.join(words) != command:
        raise refuse("a command quoted otherwise than zborg does")
    return words


def _is_below(name: str, root: str) -> bool:
    return name.startswith(f"{root}/")


def _wrote(build: Callable[[str], Argv], name: str) -> Argv | None:
    """What the adapter makes of a name, None for one that it would not touch."""
    try:
        return build(name)
    except ZborgError:
        return None


def check_mark(mark: Mark, held: Sequence[Snapshot]) -> None:
    """Only the newest snapshot is marked, and only once. `held` are the snapshots of its dataset."""
    newest = _newest(held)
    if newest is None or newest.full != mark.snapshot:
        raise refuse(f"{mark.snapshot} is not the newest snapshot there")
    if standing := sorted(set(mark.properties) & set(newest.properties)):
        raise refuse(f"{mark.snapshot} has {', '.join(standing)} already")


# --- streams ----------------------------------------------------------------------------------------


def check_stream(begin: Begin, *, raw: bool) -> None:
    """Refuse what brings more than one snapshot of a file system. `raw` allows encrypted streams."""
    for why in faults(begin, raw=raw):
        raise refuse(why)


def faults(begin: Begin, *, raw: bool) -> Iterator[str]:
    """Why a stream is not one plain snapshot of one file system."""
    if not begin.simple:
        yield "a package of streams (zfs send -R, -I or -p); one stream brings one snapshot and no more"
    if begin.kind != FILESYSTEM:
        yield "a stream of something else than a file system"
    if CLONE in begin.flags:
        yield "a clone: its origin could never be destroyed"
    if begin.flags - HARMLESS:
        yield f"a stream with flags it does not know: {_listed(begin.flags - HARMLESS)}"
    if RAW in begin.features and not raw:
        yield "a raw stream (zfs send -w); `zborg sink --raw` would allow it"
    if begin.features - PLAIN - {RAW}:
        yield f"a stream with features it does not know: {_listed(begin.features - PLAIN - {RAW})}"


def _listed(numbers: frozenset[int]) -> str:
    return ", ".join(map(str, sorted(numbers)))


def name_of(begin: Begin, held: Sequence[Snapshot], now: datetime) -> str:
    """The name under which a stream may be received, after what its dataset holds. Raises ZborgError.

    The name is the sender's word: it must be one that zborg gives, newer than all that are held, and
    not of the future, or one stream could keep all that follow out.
    """
    snapname = begin.to_name.partition("@")[2]
    name = SnapshotName.parse(snapname)
    if name is None:
        raise refuse(f"{snapname[:80]!r} is not a name that zborg gives")
    newest = _newest(held)
    if begin.from_guid != (newest.guid if newest else None):
        raise refuse(_not_after(begin, newest))
    latest = max((one.name.at for one in held if one.name), default=None)
    if latest is not None and name.at <= latest:
        raise refuse(f"{snapname} is not later than the newest held, {SnapshotName(latest)}")
    if name.at > now + AHEAD:
        raise refuse(f"{snapname} is of the future; here it is {moment(now)}", "set the clocks")
    if sum(_is_young(one, now) for one in held) >= MOST_A_DAY:
        raise refuse(f"{MOST_A_DAY} snapshots arrived here within a day", "the rest may come tomorrow")
    return snapname


def _not_after(begin: Begin, newest: Snapshot | None) -> str:
    comes = f"an increment on guid {begin.from_guid}" if begin.from_guid else "a full stream"
    held = f"the newest held is @{newest.snapname} (guid {newest.guid})" if newest else "nothing is held"
    return f"{comes}, and {held}"


def _newest(held: Sequence[Snapshot]) -> Snapshot | None:
    return max(held, key=lambda one: one.createtxg, default=None)


def _is_young(snapshot: Snapshot, now: datetime) -> bool:
    """Arrived within a day, or not known when."""
    return snapshot.arrived is None or now - snapshot.arrived < timedelta(days=1)
