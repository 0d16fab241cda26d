"""ZFS of this machine through py-libzfs (Debian's python3-libzfs, the module `libzfs`).

Frozen: fixes only. py-libzfs is deprecated, and the commands' adapter is the reference; what is new goes
there, and this adapter hands it on (docs/decisions/zfs.md).

What the library has a good word for goes through it, without a process: listing, holds, making, mounting,
snapshots, properties, destroying snapshots, bookmarks. The rest is done by the commands' adapter it is given:

    send, receive             must be processes: no byte of a stream goes through Python
    estimate                  the library's estimate knows no -L -e -c and no resume token
    freed, abort_receive      it has no word for them
    decode                    needs no ZFS
    remove, clone, destroy_clone
                              to whatever stands in the way libzfs says "dataset is busy", where `zfs destroy`
                              names it; and clone and destroy there neither make parents, mount nor unmount
    mounting, hide_snapshots
                              asked of one dataset, and only when something is wrong with it
    pool, scrub               error scrubs, dRAID rebuilds and damaged files are not in its scan; and a second
                              scrub it calls "currently resilvering"

Tried with 0.0+git20230207 on OpenZFS 2.1.11; read in its libzfs.pyx as well:

* Without /dev/zfs it does not raise but ends the process (SIGSEGV): `missing` looks first.
* get_dataset and get_snapshot say NOENT to every failure; the real one is in the handle's errno.
* A listing leaves out what it cannot read, say a property that is no UTF-8, and all that is below. Python
  calls sys.unraisablehook then, and `_nothing_swallowed` makes an error of it. An I/O error in the middle
  of a listing is not reported at all.
* A handle has one errno: one call at a time, hence the lock.
* A call cannot be interrupted and has no timeout; on a pool that hangs, so does zborg until it is killed.

What changes something is in `zpool history`, with "zborg:" before it.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from zborg.errors import CommandFailed, ZborgError
from zborg.model import Bookmark, Child, Dataset, Hold, Pool, ResumeToken, Snapshot, Stream, Zfs
from zborg.model.storage.mounting import Mounting
from zborg.zfs import argv, serialized
from zborg.zfs.output import messages, parse

_DEVICE = "/dev/zfs"
# Not every release has these; 0.0+git20230207, Debian 12's, has.
_NEEDED = (
    "ZFS.datasets_serialized",
    "ZFS.snapshots_serialized",
    "ZFSDataset.bookmarks",
    "ZFSDataset.delete_snapshots",
    "ZFSDataset.update_properties",
    "ZFSSnapshot.update_properties",
)


def missing(pool: str) -> str:
    """What libzfs wants here to open `pool`, in words; "" for nothing."""
    try:  # as the library will: a sandbox may refuse what the file's mode allows
        os.close(os.open(_DEVICE, os.O_RDWR))
    except OSError as error:
        return f"{_DEVICE} cannot be opened: {error.strerror}"
    try:
        import libzfs
    except ImportError as error:
        return f"this Python has no python3-libzfs ({error})"
    unknown = [name for name in _NEEDED if not _has(libzfs, name)]
    if unknown:
        return f"its python3-libzfs is not of a kind that zborg knows: it has no {unknown[0]}"
    zfs = libzfs.ZFS()
    try:
        zfs.get(pool)
    except libzfs.ZFSException:
        return f"it cannot open the pool {pool}: {zfs.errstr}"
    return ""


def _has(module: object, name: str) -> bool:
    kind, attribute = name.split(".")
    return hasattr(getattr(module, kind, None), attribute)


class LibZfs:
    """model.Zfs of this machine; `commands` are its zfs commands. Build it only where `missing` is empty."""

    def __init__(self, commands: Zfs) -> None:
        import libzfs

        self._commands = commands
        self._failure, self._gone = libzfs.ZFSException, libzfs.Error.NOENT
        self._zfs: Any = libzfs.ZFS(history=True, history_prefix="zborg:")
        self._lock = threading.Lock()

    def clock(self) -> datetime:
        return datetime.now(UTC).replace(microsecond=0)

    # --- listing ---------------------------------------------------------------------------------

    def datasets(self, root: str) -> tuple[Dataset, ...]:
        with self._library(argv.list_datasets(root)) as zfs:
            if self._missing(root):
                return ()
            trees = list(zfs.datasets_serialized(props=serialized.DATASET, datasets=[root]))
        return serialized.datasets(trees)

    def snapshots(self, root: str) -> tuple[Snapshot, ...]:
        with self._library(argv.list_snapshots(root)):
            return () if self._missing(root) else serialized.snapshots(self._listed([root], recursive=True))

    def _listed(self, subjects: Sequence[str], *, recursive: bool = False, holds: bool = False) -> list[Any]:
        """Of snapshots those that are there; of a dataset, `recursive`, all snapshots of it and below."""
        if not subjects:  # the library takes that for all pools
            return []
        props = ["name"] if holds else serialized.SNAPSHOT
        found = self._zfs.snapshots_serialized(
            props=props, holds=holds, datasets=subjects, recursive=recursive
        )
        return list(found)

    def bookmarks(self, root: str) -> tuple[Bookmark, ...]:
        with self._library(argv.list_bookmarks(root)) as zfs:
            if self._missing(root):
                return ()
            top = zfs.get_dataset(root)
            found = [_bookmark(mark) for one in (top, *top.children_recursive) for mark in one.bookmarks]
        return tuple(sorted(found, key=lambda mark: (mark.dataset, mark.createtxg)))

    def holds(self, snapshots: Sequence[str]) -> tuple[Hold, ...]:
        with self._library(argv.holds(snapshots)):
            return tuple(self._holds(snapshots))

    def _holds(self, snapshots: Sequence[str]) -> list[Hold]:
        """Raises the library's failure for one that is not there."""
        found = {one["name"]: one["holds"] for one in self._listed(snapshots, holds=True)}
        for full in snapshots:
            if full not in found:
                self._zfs.get_snapshot(full)  # raises, and knows why
        return [
            Hold(full, tag, datetime.fromtimestamp(since, UTC))
            for full in snapshots
            for tag, since in sorted(found.get(full, {}).items())
        ]

    # --- making and marking ----------------------------------------------------------------------

    def create(self, dataset: str, properties: Mapping[str, str]) -> None:
        with self._library(argv.create(dataset, properties)) as zfs:
            zfs.get(dataset.split("/")[0]).create(dataset, dict(properties))
            if properties.get("canmount") != "noauto":  # `off` and no mountpoint are known to the library
                zfs.get_dataset(dataset).mount()

    def mount(self, dataset: str) -> None:
        command = argv.mount(dataset)
        with self._library(command) as zfs:
            found = zfs.get_dataset(dataset)
            if found.mountpoint is None:
                found.mount()
            if found.mountpoint is None:
                raise _failed(command, f"cannot mount '{dataset}': no mountpoint set, or canmount=off")

    def mounting(self, dataset: str) -> Mounting:
        return self._commands.mounting(dataset)

    def hide_snapshots(self, *datasets: str) -> None:
        self._commands.hide_snapshots(*datasets)

    def snapshot(self, root: str, snapname: str, properties: Mapping[str, str]) -> None:
        with self._library(argv.snapshot(root, snapname, properties)) as zfs:
            zfs.get_dataset(root).snapshot(f"{root}@{snapname}", fsopts=dict(properties), recursive=True)

    def set(self, names: Sequence[str], properties: Mapping[str, str]) -> None:
        """All of one name at once, name after name."""
        if not (names and properties):
            return
        values = {name: {"value": value} for name, value in properties.items()}
        with self._library(argv.set_properties(names, properties)) as zfs:
            for one in [zfs.get_snapshot(n) if "@" in n else zfs.get_dataset(n) for n in names]:
                one.update_properties(values)

    def guid(self, snapshot: str) -> str:
        with messages.unless("does not exist"), self._library(argv.guid(snapshot)) as zfs:
            return str(zfs.get_snapshot(snapshot).properties["guid"].rawvalue)
        return ""

    def hold(self, tag: str, *snapshots: str) -> None:
        failed = []
        for full in snapshots:
            try:
                with messages.unless("tag already exists"), self._library(argv.hold(tag, [full])) as zfs:
                    zfs.get_snapshot(full).hold(tag)
            except CommandFailed as error:
                failed.append(error)
        if failed:
            raise failed[0]

    def release(self, tag: str, *snapshots: str) -> None:
        for full in snapshots:
            done = messages.unless("no such tag on this dataset", "does not exist")
            with done, self._library(argv.release(tag, [full])) as zfs:
                zfs.get_snapshot(full).release(tag)

    def bookmark(self, snapshot: str, bookname: str) -> None:
        command = argv.bookmark(snapshot, bookname)
        with self._library(command) as zfs:
            found = zfs.get_snapshot(snapshot)
            try:
                found.bookmark(bookname)
            except FileExistsError as error:
                guids = {
                    one.guid for one in map(_bookmark, found.parent.bookmarks) if one.bookname == bookname
                }
                if guids != {found.properties["guid"].rawvalue}:
                    output = f"cannot create bookmark '{command[-1]}': bookmark exists"
                    raise _failed(command, output) from error

    # --- destroying ------------------------------------------------------------------------------

    def destroy(self, dataset: str, doomed: Mapping[str, str]) -> tuple[str, ...]:
        """A look, and one destroy of all or none, whatever their number."""
        command = argv.destroy_snapshots(dataset, doomed)
        with self._library(command):
            standing = self._standing(dataset, doomed)
            free = {
                s.snapname for s in standing if s.guid == doomed[s.snapname] and not s.holds and not s.clones
            }
            snapnames = tuple(name for name in doomed if name in free)
            if snapnames:
                self._destroy(command, dataset, snapnames)
        return snapnames

    def _standing(self, dataset: str, snapnames: Iterable[str]) -> tuple[Snapshot, ...]:
        """Those that are there, looked up by their names."""
        return serialized.snapshots(self._listed([f"{dataset}@{name}" for name in snapnames]))

    def _destroy(self, command: argv.Argv, dataset: str, snapnames: Sequence[str]) -> None:
        found = self._zfs.get_dataset(dataset)
        try:
            found.delete_snapshots({"all": False, "snapshots": list(snapnames), "defer": False})
        except self._failure as error:
            # OpenZFS 2.1 calls a held snapshot just as busy as one that is being sent.
            fulls = [one.full for one in self._standing(dataset, snapnames) if one.holds]
            if holders := ", ".join(f"{hold.tag} on {hold.snapshot}" for hold in self._holds(fulls)):
                raise _failed(command, str(error), f"held by {holders}") from error
            raise

    def destroy_bookmark(self, bookmark: str) -> None:
        dataset = bookmark.partition("#")[0]
        with self._library(argv.destroy_bookmark(bookmark)) as zfs:
            for mark in () if self._missing(dataset) else zfs.get_dataset(dataset).bookmarks:
                if mark.name == bookmark:
                    mark.delete()

    # --- what the commands do ----------------------------------------------------------------------

    def remove(self, dataset: str, guid: str) -> None:
        self._commands.remove(dataset, guid)

    def freed(self, dataset: str, snapnames: Sequence[str]) -> int:
        return self._commands.freed(dataset, snapnames)

    def clone(self, snapshot: str, dataset: str) -> str:
        return self._commands.clone(snapshot, dataset)

    def destroy_clone(self, dataset: str) -> None:
        self._commands.destroy_clone(dataset)

    def contents(self, snapshot: Snapshot, mountpoint: str) -> str:
        return f"{mountpoint}/.zfs/snapshot/{snapshot.snapname}"

    def estimate(self, stream: Stream) -> int:
        return self._commands.estimate(stream)

    def decode(self, token: str) -> ResumeToken:
        return self._commands.decode(token)

    def abort_receive(self, dataset: str) -> None:
        self._commands.abort_receive(dataset)

    def send(self, stream: Stream, stdout: int) -> Child:
        return self._commands.send(stream, stdout)

    def receive(self, dataset: str, stdin: int) -> Child:
        return self._commands.receive(dataset, stdin)

    def pool(self, name: str) -> Pool:
        return self._commands.pool(name)

    def scrub(self, pool: str) -> None:
        self._commands.scrub(pool)

    # --- the library -------------------------------------------------------------------------------

    @contextmanager
    def _library(self, command: argv.Argv) -> Iterator[Any]:
        """The handle, for one caller at a time. `command` does the same: its words name what failed."""
        with self._lock, _nothing_swallowed():
            try:
                yield self._zfs
            except self._failure as error:
                why = self._zfs.errstr
                output = str(error) if why in str(error) else f"{error}: {why}"
                raise _failed(command, output) from error
            except OSError as error:  # of libzfs_core
                raise _failed(command, error.strerror or str(error)) from error
            except UnicodeError as error:
                raise ZborgError(f"libzfs cannot read an answer of ZFS: {error}") from error

    def _missing(self, dataset: str) -> bool:
        try:
            self._zfs.get_dataset(dataset)
        except self._failure:
            if self._zfs.errno != self._gone:
                raise
            return True
        return False


@contextmanager
def _nothing_swallowed() -> Iterator[None]:
    """What the library passes over in this thread is an error, and not a traceback on stderr."""
    hooks, thread, passed = (sys.unraisablehook, sys.excepthook), threading.get_ident(), []

    def unraisable(found: Any) -> None:
        passed.append(found.exc_value) if threading.get_ident() == thread else hooks[0](found)

    def printed(*found: Any) -> None:
        if threading.get_ident() != thread:
            hooks[1](*found)

    sys.unraisablehook, sys.excepthook = unraisable, printed
    try:
        yield
    finally:
        sys.unraisablehook, sys.excepthook = hooks
    if passed:
        raise ZborgError(
            f"libzfs left out what it could not read: {passed[0]}",
            'a property that is no UTF-8 is one cause; the commands can read it: storage.zfs = "commands"',
        )


def _failed(command: argv.Argv, output: str, note: str = "") -> CommandFailed:
    """The library's failure, as that of the command that does the same."""
    parts = ("libzfs", *command[command.index("zfs") + 1 :])
    return messages.explain(CommandFailed(parts, 1, output), parts, note)


def _bookmark(mark: Any) -> Bookmark:
    found = mark.properties
    return Bookmark(
        *parse.split(mark.name, "#"), found["guid"].rawvalue, parse.number(found["createtxg"].rawvalue)
    )
