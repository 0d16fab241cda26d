"""The exact command lines of the zfs adapter: pure functions from checked names to words.

Filters of commands on the far side (the sink's whitelist, sudoers) match what is here.
Understood by OpenZFS 2.1 to 2.3. Never -F, -R or -r on anything that destroys, receives or sends.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from zborg.model import P_RUN, P_STATE, P_TRANSACTION, Stream
from zborg.model.storage.zfs import P_ARRIVED, P_LABEL
from zborg.zfs import names
from zborg.zfs.output import tokens

Argv = tuple[str, ...]

# -L keeps blocks above 128 KiB whole, -e small blocks embedded, -c compressed blocks as they lie on
# disk, so neither side compresses again. They must stay the same from increment to increment (a
# target that was filled with -L refuses an increment without it), hence one constant; SEND_WORD is
# what a target's record keeps, to notice a change before ZFS does. -w comes before them for a dataset
# that ZFS encrypts, and RAW_WORD then stands in the record: raw and plain streams do not mix.
SEND_FLAGS = ("-L", "-e", "-c")
SEND_WORD = "lec"
RAW_WORD = "raw-lec"

# What zborg writes on snapshots. Named one by one, because `zfs get all` took six times as long
# (9.7 instead of 1.5 s for 210 snapshots in the lab's slow guest).
SNAPSHOT_PROPERTIES = (P_RUN, P_STATE, P_TRANSACTION, P_LABEL, P_ARRIVED)

SNAPSHOT_COLUMNS = "name,guid,createtxg,creation,used,userrefs,clones"
DATASET_COLUMNS = "name,guid,mounted,used,available,receive_resume_token,written,encryption,mountpoint"
MOUNTING = "mounted,mountpoint,canmount,overlay,keystatus,encryptionroot"
BOOKMARK_COLUMNS = "name,guid,createtxg"

# Dates are printed in words in the local zone and language; `holds` and `status` have no -p for
# them in 2.1.
_PLAIN = ("env", "TZ=UTC", "LC_ALL=C")


def _list(kind: str, columns: str, root: str) -> Argv:
    return ("zfs", "list", "-Hp", "-t", kind, "-r", "-o", columns, names.dataset(root))


def _properties(kind: str, which: str, root: str) -> Argv:
    # `zfs list -o zborg:run` would show what a snapshot inherits from its dataset as if it were its
    # own; `get` can leave that out. Two commands and not one `get` of everything, because a value may
    # hold a newline and forge rows: what a delegated user can write must not reach guid or createtxg.
    source = ("-s", "local,received")
    columns = "name,property,value"
    return ("zfs", "get", "-Hp", "-r", "-t", kind, *source, "-o", columns, which, names.dataset(root))


def clock() -> Argv:
    """The machine's time in seconds since 1970."""
    return ("date", "+%s")


def list_datasets(root: str) -> Argv:
    """DATASET_COLUMNS of `root` and all below it."""
    return _list("filesystem", DATASET_COLUMNS, root)


def dataset_properties(root: str) -> Argv:
    """zborg's own properties of the same."""
    # `all`: the names of zborg:target.* are not known here, and datasets are few (0.02 s each).
    return _properties("filesystem", "all", root)


def list_snapshots(root: str) -> Argv:
    """SNAPSHOT_COLUMNS of all snapshots of `root` and below it."""
    return _list("snapshot", SNAPSHOT_COLUMNS, root)


def snapshot_properties(root: str) -> Argv:
    """zborg's own properties of the same."""
    return _properties("snapshot", ",".join(SNAPSHOT_PROPERTIES), root)


def list_bookmarks(root: str) -> Argv:
    """BOOKMARK_COLUMNS of all bookmarks of `root` and below it."""
    return _list("bookmark", BOOKMARK_COLUMNS, root)


def values(which: str, *subjects: str) -> Argv:
    """One line per subject and property, in the order given."""
    return ("zfs", "get", "-Hp", "-o", "value", which, *subjects)


def holds(snapshots: Iterable[str], prefix: Sequence[str] = ()) -> Argv:
    """Holds of these snapshots, with the time each was placed."""
    return (*_PLAIN, *prefix, "zfs", "holds", "-H", *map(names.snapshot, snapshots))


def _options(properties: Mapping[str, str], *, user_only: bool = True) -> list[str]:
    words = names.properties(properties, user_only=user_only)
    return [word for pair in words for word in ("-o", pair)]


def create(dataset: str, properties: Mapping[str, str]) -> Argv:
    """A dataset whose parent is there."""
    return ("zfs", "create", *_options(properties, user_only=False), names.dataset(dataset))


def remove(dataset: str) -> Argv:
    """Without -r: ZFS refuses when there is a snapshot or anything below."""
    return ("zfs", "destroy", names.dataset(dataset))


def create_parents(dataset: str) -> Argv:
    """Makes `dataset` and what is missing above it; no error when it is there."""
    return ("zfs", "create", "-p", names.dataset(dataset))


def mount(dataset: str) -> Argv:
    """Mount one dataset."""
    return ("zfs", "mount", names.dataset(dataset))


def hide_snapshots(datasets: Iterable[str]) -> Argv:
    """Take .zfs out of directory listings."""
    return ("zfs", "set", "snapdir=hidden", *map(names.dataset, datasets))


def snapshot(root: str, snapname: str, properties: Mapping[str, str]) -> Argv:
    """One atomic snapshot of `root` and all below it, with zborg's properties."""
    return ("zfs", "snapshot", "-r", *_options(properties), names.snapshot(f"{root}@{snapname}"))


def set_properties(subjects: Iterable[str], properties: Mapping[str, str]) -> Argv:
    """The same properties for all subjects."""
    return ("zfs", "set", *names.properties(properties), *map(names.subject, subjects))


def list_these(snapshots: Iterable[str]) -> Argv:
    """Exactly these; ends with status 1 when one is missing."""
    return ("zfs", "list", "-Hp", "-t", "snapshot", "-o", SNAPSHOT_COLUMNS, *map(names.snapshot, snapshots))


def _these(dataset: str, snapnames: Iterable[str]) -> str:
    """DATASET@A,B: each by its name. A range (A%C) would take along what came between, from any tool."""
    return f"{names.dataset(dataset)}@{','.join(map(names.component, snapnames))}"


def destroy_snapshots(dataset: str, snapnames: Iterable[str]) -> Argv:
    """Exactly these, never what is below."""
    return ("zfs", "destroy", _these(dataset, snapnames))


def freed(dataset: str, snapnames: Iterable[str]) -> Argv:
    """-n destroys nothing; -v and -p say how many bytes that would free, in one number."""
    return ("zfs", "destroy", "-n", "-v", "-p", _these(dataset, snapnames))


def destroy_bookmark(bookmark: str) -> Argv:
    """Exactly this one."""
    return ("zfs", "destroy", names.bookmark(bookmark))


def destroy_scratch(dataset: str) -> Argv:
    """For clones and their empty parents; ZFS refuses when anything is below."""
    return ("zfs", "destroy", names.dataset(dataset))


def guid(snapshot: str) -> Argv:
    """The guid of one snapshot."""
    return values("guid", names.snapshot(snapshot))


def hold(tag: str, snapshots: Iterable[str]) -> Argv:
    """Hold snapshots under a tag."""
    return ("zfs", "hold", names.tag(tag), *map(names.snapshot, snapshots))


def release(tag: str, snapshots: Iterable[str]) -> Argv:
    """Take the hold of this tag away."""
    return ("zfs", "release", names.tag(tag), *map(names.snapshot, snapshots))


def bookmark(snapshot: str, bookname: str) -> Argv:
    """DATASET#bookname of DATASET@snapname."""
    dataset = names.snapshot(snapshot).partition("@")[0]
    return ("zfs", "bookmark", snapshot, names.bookmark(f"{dataset}#{bookname}"))


def clone(snapshot: str, dataset: str) -> Argv:
    """A clone that can be mounted and written to, and runs nothing."""
    # Not `clone -p`: that says nothing and succeeds when `dataset` exists, whatever it is a clone of.
    # What came from an off-site may hold a device or a setuid program of that machine's making.
    options = ("-o", "readonly=off", "-o", "canmount=on", "-o", "setuid=off", "-o", "devices=off")
    return ("zfs", "clone", *options, names.snapshot(snapshot), names.dataset(dataset))


def _stream(stream: Stream) -> tuple[str, ...]:
    if stream.token is not None:  # which says itself whether the rest is raw
        return ("-t", tokens.checked(stream.token))
    since = ("-i", names.base(stream.base)) if stream.base is not None else ()
    raw = ("-w",) if stream.raw else ()
    return (*raw, *SEND_FLAGS, *since, names.snapshot(stream.snapshot))


def send(stream: Stream) -> Argv:
    """-v and -P: one line per second on stderr, read by parse.progress()."""
    return ("zfs", "send", "-v", "-P", *_stream(stream))


def estimate(stream: Stream) -> Argv:
    """How many bytes a stream would have; sends nothing."""
    return ("zfs", "send", "-n", "-P", *_stream(stream))


def receive(dataset: str) -> Argv:
    """-s keeps what arrived when the stream is cut, -u mounts nothing."""
    return ("zfs", "receive", "-s", "-u", names.dataset(dataset))


def receive_as(snapshot: str) -> Argv:
    """The same, under a name that the receiver gives and not the stream."""
    return ("zfs", "receive", "-s", "-u", names.snapshot(snapshot))


def abort_receive(dataset: str) -> Argv:
    """Give up what arrived of a cut stream."""
    return ("zfs", "receive", "-A", names.dataset(dataset))


def pool_status(pool: str, prefix: Sequence[str] = ()) -> Argv:
    """Health, errors and scrub of a pool, numbers in full."""
    return (*_PLAIN, *prefix, "zpool", "status", "-p", names.pool(pool))


def damaged_files(pool: str, prefix: Sequence[str] = ()) -> Argv:
    """Which files of a pool are damaged."""
    return (*_PLAIN, *prefix, "zpool", "status", "-v", names.pool(pool))


def pool_list(pool: str) -> Argv:
    """Name, health, size and free bytes of a pool."""
    return ("zpool", "list", "-Hp", "-o", "name,health,size,free", names.pool(pool))


def pool_features(pool: str) -> Argv:
    """With all other properties of the pool: no wildcard asks for features alone."""
    return ("zpool", "get", "-H", "-o", "property,value", "all", names.pool(pool))


def scrub(pool: str) -> Argv:
    """Start a scrub."""
    return ("zpool", "scrub", names.pool(pool))
