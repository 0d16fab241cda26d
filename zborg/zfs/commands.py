"""ZFS through the zfs and zpool commands, on whatever machine the Runner reaches."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import datetime

from zborg.errors import CommandFailed, Conflict, ZborgError
from zborg.model import Bookmark, Child, Dataset, Hold, Pool, ResumeToken, Runner, Snapshot, Stream
from zborg.model.storage.mounting import Mounting
from zborg.model.text import remedy
from zborg.zfs import argv, names
from zborg.zfs.output import messages, parse, status, tokens

# One object: waits for a transaction group or two, which a pool under load may take half a minute for.
QUICK = 120.0
# Everything below a root: 2,100 snapshots took 26 s in the lab's slow guest; cold disks read for each.
LISTING = 600.0
# Many transaction groups: 2,000 snapshots of 100 datasets took 142 s there. `receive -A` is one too.
DESTROYING = 1800.0
# Names per command. 100 of at most 255 bytes are 25 KiB; one argument may have 128.
_CHUNK = 100
# The same for what may be thousands, by their length: some 1,500 of zborg's own names.
_LONGEST = 60_000


class CommandZfs:
    """model.Zfs by command lines; `prefix` comes before each of them, e.g. ("sudo", "-n").

    Besides what the protocol says: a name ZFS does not allow, and output that cannot be read, raise
    ZborgError before and after the command respectively.
    """

    def __init__(self, runner: Runner, prefix: Sequence[str] = ()) -> None:
        self._runner = runner
        self._prefix = tuple(prefix)

    def clock(self) -> datetime:
        return parse.instant(self._run(argv.clock(), bare=True).strip())

    # --- listing ---------------------------------------------------------------------------------

    def datasets(self, root: str) -> tuple[Dataset, ...]:
        listed = self._listing(argv.list_datasets(root), root)
        subjects = [line.partition("\t")[0] for line in parse.lines(listed)]
        properties = self._properties(argv.dataset_properties(root), root, subjects)
        return parse.datasets(listed, properties)

    def snapshots(self, root: str) -> tuple[Snapshot, ...]:
        found = parse.snapshots(self._listing(argv.list_snapshots(root), root))
        subjects = [one.full for one in found]
        return parse.with_properties(found, self._properties(argv.snapshot_properties(root), root, subjects))

    def bookmarks(self, root: str) -> tuple[Bookmark, ...]:
        return parse.bookmarks(self._listing(argv.list_bookmarks(root), root))

    def holds(self, snapshots: Sequence[str]) -> tuple[Hold, ...]:
        """One command per 100 snapshots; `since` is to the minute."""
        texts = [
            self._run(argv.holds(chunk, self._prefix), timeout=LISTING, bare=True)
            for chunk in _chunks(snapshots)
        ]
        return parse.holds("".join(texts))

    def _listing(self, command: argv.Argv, root: str) -> str:
        try:
            return self._run(command, timeout=LISTING)
        except CommandFailed as error:
            if messages.says(error, f"cannot open '{root}': dataset does not exist"):
                return ""
            raise

    def _properties(self, command: argv.Argv, root: str, subjects: Sequence[str]) -> parse.Properties:
        return parse.user_properties(self._listing(command, root), subjects) if subjects else {}

    def _values(self, which: str, *subjects: str) -> list[str]:
        text = self._run(argv.values(which, *subjects))
        return parse.values(text, len(subjects) * len(which.split(",")))

    # --- making and marking ----------------------------------------------------------------------

    def create(self, dataset: str, properties: Mapping[str, str]) -> None:
        self._run(argv.create(dataset, properties))

    def remove(self, dataset: str, guid: str) -> None:
        command = argv.remove(dataset)
        with messages.unless("dataset does not exist"):
            (found,) = self._values("guid", dataset)
            if found != guid:
                raise ZborgError(f"refused to destroy {dataset}: its guid is {found}, not {guid}")
            self._run(command, timeout=DESTROYING)

    def mount(self, dataset: str) -> None:
        with messages.unless("filesystem already mounted"):
            self._run(argv.mount(dataset))

    def mounting(self, dataset: str) -> Mounting:
        return parse.mounting(dataset, self._values(argv.MOUNTING, names.dataset(dataset)))

    def hide_snapshots(self, *datasets: str) -> None:
        for chunk in _chunks(datasets):
            self._run(argv.hide_snapshots(chunk))

    def snapshot(self, root: str, snapname: str, properties: Mapping[str, str]) -> None:
        self._run(argv.snapshot(root, snapname, properties), timeout=LISTING)

    def set(self, names: Sequence[str], properties: Mapping[str, str]) -> None:
        """One command per 100 names."""
        for chunk in _chunks(names) if properties else ():
            self._run(argv.set_properties(chunk, properties), timeout=LISTING)

    def guid(self, snapshot: str) -> str:
        with messages.unless("does not exist"):
            return parse.values(self._run(argv.guid(snapshot)), 1)[0]
        return ""

    def hold(self, tag: str, *snapshots: str) -> None:
        """One command per 100 snapshots, each of which ZFS tries."""
        failed = []
        for chunk in _chunks(snapshots):
            try:
                with messages.unless("tag already exists on this dataset", only=True):
                    self._run(argv.hold(tag, chunk))
            except CommandFailed as error:
                failed.append(error)
        if failed:
            raise failed[0]

    def release(self, tag: str, *snapshots: str) -> None:
        for chunk in _chunks(snapshots):
            with messages.unless("no such tag on this dataset", "does not exist", only=True):
                self._run(argv.release(tag, chunk))

    def bookmark(self, snapshot: str, bookname: str) -> None:
        try:
            self._run(argv.bookmark(snapshot, bookname))
        except CommandFailed as error:
            standing = f"{snapshot.partition('@')[0]}#{bookname}"
            if not messages.says(error, "bookmark exists") or not self._same_guid(snapshot, standing):
                raise

    def _same_guid(self, *subjects: str) -> bool:
        return len(set(self._values("guid", *subjects))) == 1

    # --- destroying ------------------------------------------------------------------------------

    def destroy(self, dataset: str, doomed: Mapping[str, str]) -> tuple[str, ...]:
        """Two commands for some 1,500 snapshots: a look, and the destroy, which is of all or none of them."""
        destroyed: list[str] = []
        for batch in _batches(dataset, doomed):
            free = [s for s in self._standing(dataset, batch) if not s.holds and not s.clones]
            same = {s.snapname for s in free if s.guid == doomed[s.snapname]}
            if snapnames := [name for name in batch if name in same]:
                self._destroy(dataset, snapnames)
                destroyed += snapnames
        return tuple(destroyed)

    def _standing(self, dataset: str, snapnames: Sequence[str]) -> list[Snapshot]:
        """Those that are there, without zborg's properties. Only when one is gone all are listed."""
        fulls = [f"{dataset}@{name}" for name in snapnames]
        try:
            return list(parse.snapshots(self._run(argv.list_these(fulls), timeout=LISTING)))
        except CommandFailed as error:
            if not messages.says(error, "does not exist"):
                raise
        listed = parse.snapshots(self._listing(argv.list_snapshots(dataset), dataset))
        wanted = set(fulls)
        return [one for one in listed if one.full in wanted]

    def _destroy(self, dataset: str, snapnames: Sequence[str]) -> None:
        command = argv.destroy_snapshots(dataset, snapnames)
        try:
            self._run(command, timeout=DESTROYING)
        except CommandFailed as error:
            # OpenZFS 2.1 calls a held snapshot just as busy as one that is being sent.
            held = messages.says(error, "it's being held", "dataset is busy")
            if held and (holders := self._holders(dataset, snapnames)):
                raise messages.explain(error, command, f"held by {holders}") from error
            raise

    def _holders(self, dataset: str, snapnames: Sequence[str]) -> str:
        with suppress(ZborgError):  # the failure itself matters more than who caused it
            held = [one.full for one in self._standing(dataset, snapnames) if one.holds]
            return ", ".join(f"{hold.tag} on {hold.snapshot}" for hold in self.holds(held))
        return ""

    def freed(self, dataset: str, snapnames: Sequence[str]) -> int:
        commands = [argv.freed(dataset, batch) for batch in _batches(dataset, snapnames)]
        return sum(parse.reclaim(self._run(command, timeout=LISTING)) for command in commands)

    def destroy_bookmark(self, bookmark: str) -> None:
        with messages.unless(f"bookmark '{bookmark}' does not exist"):
            self._run(argv.destroy_bookmark(bookmark))

    # --- clones ----------------------------------------------------------------------------------

    def clone(self, snapshot: str, dataset: str) -> str:
        command = argv.clone(snapshot, dataset)
        parent = dataset.rpartition("/")[0]
        self._run(argv.create_parents(parent))
        try:
            self._run(command)
        except CommandFailed:
            with suppress(ZborgError):
                self._drop_parent(names.scratch(dataset))
            raise
        found = self.mounting(dataset)
        if found.mounted and found.mountpoint is not None:
            return found.mountpoint
        with suppress(ZborgError):
            self.destroy_clone(dataset)
        raise _unmounted(found)

    def destroy_clone(self, dataset: str) -> None:
        """Also refuses what is no clone; the RUN parent goes with its last clone."""
        parent = names.scratch(dataset)
        with messages.unless("dataset does not exist"):
            (origin,) = self._values("origin", dataset)
            if origin == "-":
                raise ZborgError(f"refused to destroy {dataset}: it is not a clone")
            self._run(argv.destroy_scratch(dataset), timeout=DESTROYING)
        self._drop_parent(parent)

    def _drop_parent(self, parent: str) -> None:
        with messages.unless("filesystem has children", "dataset does not exist"):
            self._run(argv.destroy_scratch(parent))

    # --- streams ---------------------------------------------------------------------------------

    def contents(self, snapshot: Snapshot, mountpoint: str) -> str:
        return f"{mountpoint}/.zfs/snapshot/{snapshot.snapname}"

    def estimate(self, stream: Stream) -> int:
        return parse.size(self._run(argv.estimate(stream), timeout=LISTING))

    def decode(self, token: str) -> ResumeToken:
        return tokens.decode(token)

    def abort_receive(self, dataset: str) -> None:
        with messages.unless("does not have any resumable receive state", "dataset does not exist"):
            self._run(argv.abort_receive(dataset), timeout=DESTROYING)

    def send(self, stream: Stream, stdout: int) -> Child:
        if stream.token is not None:
            self._check_token(stream, stream.token)
        with _null(os.O_RDONLY) as stdin:
            return self._start(argv.send(stream), stdin=stdin, stdout=stdout)

    def _check_token(self, stream: Stream, token: str) -> None:
        """ZFS sends whatever in the pool has the token's guid, raw or in the clear, as the token says; and
        the token is the target's word."""
        named, snapshot = tokens.decode(token), stream.snapshot
        if named.raw != stream.raw:
            asks = "raw" if named.raw else "in the clear"
            raise Conflict(
                f"the target's resume token asks for {snapshot} {asks}, which is not how it is sent; "
                "nothing was sent",
            )
        (guid,) = self._values("guid", names.snapshot(snapshot))
        if named.to_guid != guid:
            raise Conflict(
                f"the target's resume token asks for {named.to_name} (guid {named.to_guid}), "
                f"but {snapshot} has guid {guid}; nothing was sent",
            )

    def receive(self, dataset: str, stdin: int) -> Child:
        with _null(os.O_WRONLY) as stdout:
            return self._start(argv.receive(dataset), stdin=stdin, stdout=stdout)

    # --- pools -----------------------------------------------------------------------------------

    def pool(self, name: str) -> Pool:
        text = self._run(argv.pool_status(name, self._prefix), bare=True)
        found = status.pool(self._run(argv.pool_list(name)), text)
        return replace(found, damaged=self._damaged(name)) if found.errors else found

    def _damaged(self, pool: str) -> tuple[str, ...]:
        """A command of its own: with many errors the list takes long, and mostly there are none."""
        with suppress(ZborgError):  # that there is damage matters more than where
            command = argv.damaged_files(pool, self._prefix)
            return status.damaged_files(self._run(command, timeout=LISTING, bare=True))
        return ()

    def scrub(self, pool: str) -> None:
        self._run(argv.scrub(pool))

    # --- running ---------------------------------------------------------------------------------

    def _run(self, command: argv.Argv, *, timeout: float = QUICK, bare: bool = False) -> str:
        """stdout. `bare`: the prefix is already where it belongs."""
        whole = command if bare else (*self._prefix, *command)
        try:
            return self._runner.run(whole, timeout=timeout).stdout
        except CommandFailed as error:
            raise messages.explain(error, command) from error

    def _start(self, command: argv.Argv, *, stdin: int, stdout: int) -> Child:
        return self._runner.start((*self._prefix, *command), stdin=stdin, stdout=stdout)


def _unmounted(clone: Mounting) -> ZborgError:
    """A clone has the key of its origin and, of its own, canmount=on; its place is its parents'."""
    scratch = clone.dataset.rsplit("/", 2)[0]
    why = f"{scratch}, which it is below, has mountpoint {clone.mountpoint or 'none or legacy'}"
    fix = remedy.command("zfs", "set", f"mountpoint=/{scratch}", scratch)
    if clone.locked:
        why = f"the key of {clone.locked} is not loaded"
        fix = remedy.command("zfs", "load-key", clone.locked)
    return ZborgError(f"the clone {clone.dataset} was not mounted and was given up: {why}", fix)


def _chunks(items: Sequence[str]) -> Iterator[Sequence[str]]:
    return (items[at : at + _CHUNK] for at in range(0, len(items), _CHUNK))


def _batches(dataset: str, snapnames: Iterable[str]) -> Iterator[list[str]]:
    """The names in parts that a command line can take, whatever their number."""
    batch: list[str] = []
    length = 0
    for name in snapnames:
        length += len(dataset) + len(name) + 2  # the @ and what divides
        if batch and length > _LONGEST:
            yield batch
            batch, length = [], len(dataset) + len(name) + 2
        batch.append(name)
    if batch:
        yield batch


@contextmanager
def _null(flags: int) -> Iterator[int]:
    """/dev/null, for the end of a process that carries no data."""
    descriptor = os.open(os.devnull, flags)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
