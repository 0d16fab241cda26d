"""What every adapter of model.Zfs promises: one suite for the fake and for real OpenZFS in the lab.

The libzfs adapter speaks to its own machine only: tests/zfs/test_libzfs_lab.py runs this file inside a guest.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path

import pytest

from tests.harness.fake_zfs.zfs import FakeZfs
from tests.lab import Guest
from zborg.errors import CommandFailed, Conflict, ZborgError
from zborg.hosts.ssh.connection import SshRunner
from zborg.hosts.ssh.host_keys import write_known_hosts
from zborg.model import P_RUN, P_STATE, P_TARGET, P_TRANSACTION, Child, Endpoint, Scrub, Stream, Zfs, utc_now
from zborg.model.storage.mounting import Mounting
from zborg.process import LocalRunner
from zborg.zfs.commands import CommandZfs
from zborg.zfs.output.parse import progress

KIB = 1024


@dataclass
class Pair:
    """One Zfs with two parents: `root` is mounted, `away` (mountpoint none) is for receiving."""

    zfs: Zfs
    root: str
    away_name: str
    write: Callable[[str, str, int], None]  # (dataset, file, KiB): random bytes
    exists: Callable[[str], bool]  # a path on that machine
    pause: float = 0  # seconds until a blocked `zfs send` has told its progress
    _made: set[str] = field(default_factory=set)

    @property
    def pool(self) -> str:
        return self.root.split("/")[0]

    @property
    def away(self) -> str:
        """Made when a test first asks: every command in the lab has its price."""
        if self.away_name not in self._made:
            self.zfs.create(self.away_name, {})
            self._made.add(self.away_name)
        return self.away_name

    def child(self, name: str, size: int = 0) -> str:
        """A new dataset below root with one file of `size` KiB."""
        dataset = f"{self.root}/{name}"
        self.zfs.create(dataset, {})
        if size:
            self.write(dataset, "data", size)
        return dataset

    def snap(self, dataset: str, raw: str) -> str:
        self.zfs.snapshot(dataset, raw, {})
        return f"{dataset}@{raw}"

    def names(self, dataset: str) -> list[str]:
        return [snapshot.raw for snapshot in self.zfs.snapshots(dataset)]

    def guid(self, full: str) -> str:
        return next(s.guid for s in self.zfs.snapshots(full.partition("@")[0]) if s.full == full)

    def destroy(self, dataset: str, *raws: str) -> tuple[str, ...]:
        """Those of these that are there, whatever their guid."""
        guids = {s.raw: s.guid for s in self.zfs.snapshots(dataset) if s.dataset == dataset}
        return self.zfs.destroy(dataset, {raw: guids.get(raw, "1") for raw in raws})

    def token(self, dataset: str) -> str | None:
        return self.zfs.datasets(dataset)[0].resume_token

    def transfer(self, stream: Stream, target: str) -> tuple[int, int, str]:
        """Send and receive by one pipe: both statuses, and what was said on stderr."""
        reading, writing = os.pipe()
        sender = self.zfs.send(stream, writing)
        receiver = self.zfs.receive(target, reading)
        os.close(reading)
        os.close(writing)
        words = [_drain(sender), _drain(receiver)]
        # mypy does not count what a generator yields: two statuses.
        return (*(_ended(child) for child in (sender, receiver)), "".join(w() for w in words))  # type: ignore[return-value]  # two, and a text

    def cut(self, stream: Stream, target: str, after: int) -> None:
        """Send, but let only `after` bytes arrive."""
        of_sender, to_receiver = os.pipe(), os.pipe()
        sender = self.zfs.send(stream, of_sender[1])
        receiver = self.zfs.receive(target, to_receiver[0])
        os.close(of_sender[1])
        os.close(to_receiver[0])
        words = [_drain(sender), _drain(receiver)]
        while after > 0 and (chunk := os.read(of_sender[0], min(after, 65536))):
            after -= len(chunk)
            os.write(to_receiver[1], chunk)
        os.close(to_receiver[1])
        os.close(of_sender[0])
        assert _ended(receiver) != 0
        sender.stop()
        assert all(isinstance(word(), str) for word in words)


def _drain(child: Child) -> Callable[[], str]:
    """Read a child's stderr to its end, in a thread; returns a function that waits for the text."""
    parts: list[bytes] = []

    def read() -> None:
        while chunk := os.read(child.stderr, 65536):
            parts.append(chunk)

    thread = threading.Thread(target=read, daemon=True)
    thread.start()

    def text() -> str:
        thread.join(30)
        return b"".join(parts).decode()

    return text


def _ended(child: Child) -> int:
    for _ in range(1200):
        status = child.poll()
        if status is not None:
            return status
        threading.Event().wait(0.025)
    raise AssertionError(f"{child.argv} did not end in 30 s")


def _until(done: Callable[[], bool]) -> None:
    """ZFS counts what is written with the next transaction group, five seconds later at most."""
    for _ in range(300):
        if done():
            return
        threading.Event().wait(0.1)
    raise AssertionError("not in 30 s")


def _fake(base: Path) -> Pair:
    zfs = FakeZfs(base)

    def write(dataset: str, name: str, size: int) -> None:
        (zfs.directory(dataset) / name).write_bytes(os.urandom(size * KIB))

    return Pair(zfs, "tank/borg", "tank/away", write, lambda path: Path(path).exists())


class _LabRunner(SshRunner):
    """Streams over the lab's open connection: a new one costs a second, and each test needs several."""

    opened: Callable[[Sequence[str]], list[str]]

    def start(self, argv: Sequence[str], *, stdin: int, stdout: int) -> Child:
        return LocalRunner().start(self.opened(argv), stdin=stdin, stdout=stdout)


def _lab(base: Path, guest: Guest) -> Pair:
    """A pool of its own, on a file: others scrub the guest's disk, and these tests look at scrubs."""
    guest.sh("mkdir -p /vdev && truncate -s 2G /vdev/contract && zpool create contract /vdev/contract")
    endpoint = Endpoint("root", guest.address, guest.port, guest.host_key, str(guest.key_file))
    known_hosts = base / "known_hosts"
    write_known_hosts(known_hosts, {"vault": endpoint})
    runner = _LabRunner("vault", endpoint, known_hosts, LocalRunner())
    runner.opened = guest.remote().argv
    guest.remote().connect(30)

    def write(dataset: str, name: str, size: int) -> None:
        runner.run(["dd", "if=/dev/urandom", f"of=/{dataset}/{name}", "bs=1024", f"count={size}"])

    def exists(path: str) -> bool:
        return runner.run(["sh", "-c", 'test -e "$1" && echo yes || echo no', "-", path]).stdout == "yes\n"

    return Pair(CommandZfs(runner), "contract/borg", "contract/away", write, exists, 2.5)


def _inside(base: Path) -> Pair:
    """Inside a guest that has python3-libzfs, as root."""
    from zborg.zfs.libzfs import LibZfs

    del base
    runner = LocalRunner()
    runner.run(["truncate", "-s", "2G", "/vdev/contract"])
    runner.run(["zpool", "create", "contract", "/vdev/contract"])

    def write(dataset: str, name: str, size: int) -> None:
        Path(f"/{dataset}/{name}").write_bytes(os.urandom(size * KIB))

    adapter = LibZfs(CommandZfs(runner))
    return Pair(adapter, "contract/borg", "contract/away", write, lambda path: Path(path).exists(), 2.5)


_HERE = ["libzfs"] if os.environ.get("ZBORG_INSIDE") else ["fake", pytest.param("lab", marks=pytest.mark.lab)]


@pytest.fixture(scope="module", params=_HERE)
def machine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    base = tmp_path_factory.mktemp("zfs")
    if request.param == "lab":
        pair = _lab(base, request.getfixturevalue("lab").vault)
    else:
        pair = _inside(base) if request.param == "libzfs" else _fake(base)
    pair.zfs.create(pair.root, {"compression": "lz4"})
    pair.zfs.create(pair.away_name, {"mountpoint": "none", "readonly": "on", "canmount": "off"})
    return pair


_counter = count()


@pytest.fixture
def zfs_pair(machine: Pair) -> Pair:
    """Roots of one test's own: the pool is shared, because making one takes seconds in the lab."""
    number = next(_counter)
    root, away = f"{machine.root}/{number}", f"{machine.away_name}/{number}"
    machine.zfs.create(root, {})
    return replace(machine, root=root, away_name=away)


def test_its_clock_is_read(zfs_pair: Pair) -> None:
    """Machines of one test run share their clock, but for the seconds that asking takes."""
    assert abs((zfs_pair.zfs.clock() - utc_now()).total_seconds()) < 30


# --- listing ----------------------------------------------------------------------------------------


def test_a_missing_root_lists_as_nothing(zfs_pair: Pair) -> None:
    for root in (f"{zfs_pair.root}/nowhere", "nopool/nowhere"):
        assert zfs_pair.zfs.datasets(root) == ()
        assert zfs_pair.zfs.snapshots(root) == ()
        assert zfs_pair.zfs.bookmarks(root) == ()
    assert zfs_pair.zfs.snapshots(zfs_pair.root) == ()


def test_datasets_show_what_they_are_and_only_their_own_properties(zfs_pair: Pair) -> None:
    zfs, root = zfs_pair.zfs, zfs_pair.root
    zfs.set([root], {f"{P_TARGET}offsite": "123 Lec"})
    name = zfs_pair.child("we b", 1)
    top, below = zfs.datasets(root)
    assert (top.name, below.name) == (root, name)
    assert top.properties == {f"{P_TARGET}offsite": "123 Lec"} and below.properties == {}
    assert below.mounted and below.mountpoint is not None and zfs_pair.exists(f"{below.mountpoint}/data")
    assert below.guid.isdigit() and below.guid != top.guid
    assert below.used > 0 and below.available > 0 and below.resume_token is None
    (away,) = zfs.datasets(zfs_pair.away)
    assert away.mountpoint is None and not away.mounted


def test_create_and_mount(zfs_pair: Pair) -> None:
    zfs, name = zfs_pair.zfs, f"{zfs_pair.root}/new"
    zfs.create(name, {"canmount": "noauto", P_RUN: "r1"})
    assert not zfs.datasets(name)[0].mounted and zfs.datasets(name)[0].properties == {P_RUN: "r1"}
    zfs.mount(name)
    zfs.mount(name)
    assert zfs.datasets(name)[0].mounted
    with pytest.raises(CommandFailed, match="already exists"):
        zfs.create(name, {})
    with pytest.raises(CommandFailed, match="parent does not exist"):
        zfs.create(f"{zfs_pair.root}/no/parent", {})


def test_what_decides_a_mount_is_read_of_each_state(zfs_pair: Pair) -> None:
    zfs, root = zfs_pair.zfs, zfs_pair.root
    place = zfs.datasets(root)[0].mountpoint
    zfs.create(f"{root}/on", {"snapdir": "visible"})
    zfs.create(f"{root}/auto", {"canmount": "noauto", "overlay": "off"})
    zfs.create(f"{root}/off", {"canmount": "off"})
    zfs.create(f"{root}/none", {"mountpoint": "none"})
    assert [zfs.mounting(f"{root}/{name}") for name in ("on", "auto", "off", "none")] == [
        Mounting(f"{root}/on", True, f"{place}/on", "on", True),
        Mounting(f"{root}/auto", False, f"{place}/auto", "noauto", False),
        Mounting(f"{root}/off", False, f"{place}/off", "off", True),
        Mounting(f"{root}/none", False, None, "on", True),
    ]
    with pytest.raises(CommandFailed, match="does not exist"):
        zfs.mounting(f"{root}/gone")
    for _ in range(2):
        zfs.hide_snapshots(root, f"{root}/on")
    with pytest.raises(CommandFailed, match="does not exist"):
        zfs.hide_snapshots(f"{root}/gone")


def test_quota_and_reservations_show_in_what_is_available(zfs_pair: Pair) -> None:
    """What is kept back for one is gone for all others, and no dataset has more than its quota leaves it."""
    zfs, root, mib = zfs_pair.zfs, zfs_pair.root, 1 << 20
    before = zfs.datasets(root)[0].available
    zfs.create(f"{root}/small", {"quota": str(64 * mib)})
    assert 60 * mib < zfs.datasets(f"{root}/small")[0].available <= 64 * mib
    slack = {"mountpoint": "none", "canmount": "off", "refreservation": str(256 * mib)}
    zfs.create(f"{root}/slack", slack)
    assert 250 * mib < before - zfs.datasets(root)[0].available < 262 * mib
    assert zfs.datasets(f"{root}/slack")[0].available > 255 * mib


def test_remove_takes_one_new_dataset_and_nothing_that_is_kept(zfs_pair: Pair) -> None:
    zfs, name = zfs_pair.zfs, zfs_pair.child("made", 1)
    guid = zfs.datasets(name)[0].guid
    with pytest.raises(ZborgError, match="its guid is"):
        zfs.remove(name, "1")
    zfs.create(f"{name}/below", {})
    with pytest.raises(CommandFailed, match="has children"):
        zfs.remove(name, guid)
    zfs.remove(f"{name}/below", zfs.datasets(f"{name}/below")[0].guid)
    zfs_pair.snap(name, "a")
    with pytest.raises(CommandFailed, match="has children"):
        zfs.remove(name, guid)
    zfs_pair.destroy(name, "a")
    for _ in range(2):
        zfs.remove(name, guid)
    assert zfs.datasets(name) == ()


# --- snapshots --------------------------------------------------------------------------------------


def test_snapshot_takes_all_below_at_once_with_properties(zfs_pair: Pair) -> None:
    zfs, root = zfs_pair.zfs, zfs_pair.root
    one, two = zfs_pair.child("one"), zfs_pair.child("t wo")
    zfs.snapshot(root, "zborg_2026-02-12T144933Z", {P_RUN: "run one", P_STATE: "ok"})
    found = zfs.snapshots(root)
    assert [s.dataset for s in found] == [root, one, two]
    assert len({s.createtxg for s in found}) == 1 and len({s.guid for s in found}) == 3
    assert all(s.properties == {P_RUN: "run one", P_STATE: "ok"} and s.holds == 0 for s in found)
    assert all(s.name is not None and str(s.name) == s.raw for s in found)
    zfs.snapshot(root, "second", {})
    assert zfs_pair.names(one) == ["zborg_2026-02-12T144933Z", "second"]


def test_snapshot_is_all_or_nothing(zfs_pair: Pair) -> None:
    one, two = zfs_pair.child("one"), zfs_pair.child("two")
    zfs_pair.snap(one, "same")
    with pytest.raises(CommandFailed, match="already exists"):
        zfs_pair.zfs.snapshot(zfs_pair.root, "same", {})
    assert zfs_pair.names(two) == []
    with pytest.raises(CommandFailed, match="does not exist"):
        zfs_pair.zfs.snapshot(f"{zfs_pair.root}/nowhere", "same", {})


def test_snapshots_do_not_show_what_they_inherit(zfs_pair: Pair) -> None:
    name = zfs_pair.child("web1")
    zfs_pair.zfs.set([name], {P_STATE: "ok", P_TRANSACTION: "7"})
    zfs_pair.zfs.snapshot(name, "a", {P_RUN: "r1"})
    assert zfs_pair.zfs.snapshots(name)[0].properties == {P_RUN: "r1"}


def test_set_on_many(zfs_pair: Pair) -> None:
    zfs, root = zfs_pair.zfs, zfs_pair.root
    name = zfs_pair.child("we b")
    zfs.snapshot(root, "a", {P_STATE: "busy"})
    zfs.set([f"{root}@a", f"{name}@a", name], {P_STATE: "ok", P_TRANSACTION: "12=3"})
    expected = {P_STATE: "ok", P_TRANSACTION: "12=3"}
    assert [s.properties for s in zfs.snapshots(root)] == [expected, expected]
    assert zfs.datasets(name)[0].properties == expected
    with pytest.raises(CommandFailed, match="does not exist"):
        zfs.set([f"{root}@nowhere"], expected)
    with pytest.raises(ZborgError, match="not a user property"):
        zfs.set([name], {"mountpoint": "/etc"})
    with pytest.raises(ZborgError, match="not a value"):
        zfs.set([name], {P_STATE: "ok\nforged"})


def test_destroy_only_what_is_named(zfs_pair: Pair) -> None:
    zfs, root = zfs_pair.zfs, zfs_pair.root
    name, other = zfs_pair.child("web1"), zfs_pair.child("web10")
    for raw in ("a", "b", "c d", "by-hand"):
        zfs.snapshot(root, raw, {})
    assert zfs_pair.destroy(name, "c d", "a") == ("c d", "a")
    assert zfs_pair.names(name) == ["b", "by-hand"]
    assert zfs_pair.names(other) == ["a", "b", "c d", "by-hand"]
    assert zfs.destroy(name, {}) == ()
    assert zfs_pair.destroy(name, "a", "b") == ("b",)  # one is gone: passed over
    assert zfs_pair.names(name) == ["by-hand"]
    assert zfs_pair.destroy(name, "a", "b") == ()
    assert zfs.destroy(f"{name}/gone", {"a": "1"}) == ()


def test_destroy_leaves_alone_what_is_another_snapshot_or_in_use(zfs_pair: Pair) -> None:
    """Identity is the guid; one that is in use keeps none of the others."""
    zfs, name = zfs_pair.zfs, zfs_pair.child("web1")
    fulls = [zfs_pair.snap(name, raw) for raw in ("a", "b", "c", "d", "e")]
    doomed = {raw: zfs_pair.guid(full) for raw, full in zip("abcde", fulls, strict=True)}
    zfs.hold("zborg:offsite", fulls[1])
    run = f"{zfs_pair.pool}/zborg-scratch/{zfs_pair.root.rpartition('/')[2]}"
    zfs.clone(fulls[2], f"{run}/web1")
    assert zfs.destroy(name, doomed | {"d": doomed["e"]}) == ("a", "e")
    assert zfs_pair.names(name) == ["b", "c", "d"]
    zfs.release("zborg:offsite", fulls[1])
    zfs.destroy_clone(f"{run}/web1")
    assert zfs.destroy(name, doomed) == ("b", "c", "d")


def test_freed_is_what_destroying_them_together_frees(zfs_pair: Pair) -> None:
    """What two snapshots share is in neither's `used`, and is freed by destroying both."""
    zfs, name = zfs_pair.zfs, zfs_pair.child("web1", 600)
    zfs_pair.snap(name, "a")
    zfs_pair.snap(name, "b")
    zfs_pair.write(name, "data", 1)
    zfs_pair.snap(name, "c")
    assert zfs.freed(name, []) == 0
    assert zfs.freed(name, ["a"]) < 200 * KIB
    assert 600 * KIB <= zfs.freed(name, ["a", "b", "gone"]) < 900 * KIB
    assert zfs_pair.names(name) == ["a", "b", "c"]
    with pytest.raises(CommandFailed, match="could not find any snapshots"):
        zfs.freed(name, ["gone"])
    for raw in ("a%c", "%", "a,b"):
        with pytest.raises(ZborgError, match="not a name"):
            zfs.freed(name, [raw])


def test_what_was_written_since_the_newest_snapshot_is_told(zfs_pair: Pair) -> None:
    zfs, name = zfs_pair.zfs, zfs_pair.child("web1", 100)
    zfs_pair.snap(name, "a")
    assert zfs.datasets(name)[0].written == 0
    zfs_pair.write(name, "more", 200)
    zfs_pair.child("new")  # in a transaction group of its own, after that file
    _until(lambda: zfs.datasets(name)[0].written > 150 * KIB)
    assert all(one.written > 0 for one in zfs.datasets(zfs_pair.root))
    zfs_pair.snap(name, "b")
    assert zfs.datasets(name)[0].written == 0


def test_destroy_refuses_names_that_mean_more(zfs_pair: Pair) -> None:
    name = zfs_pair.child("web1")
    for real in ("a", "b"):
        zfs_pair.snap(name, real)
    for raw in ("a%b", "a%", "%", "a,b", "x@a", "x/a", "a#b", "", "a\nb"):
        with pytest.raises(ZborgError, match="not a name"):
            zfs_pair.zfs.destroy(name, {raw: "1"})
    assert zfs_pair.names(name) == ["a", "b"]


# --- holds and bookmarks ----------------------------------------------------------------------------


def test_hold_and_release_are_idempotent(zfs_pair: Pair) -> None:
    zfs, name = zfs_pair.zfs, zfs_pair.child("we b")
    full, other = zfs_pair.snap(name, "a"), zfs_pair.snap(name, "b")
    for _ in range(2):
        zfs.hold("zborg:offsite:2026-02-12", full)
    zfs.hold("mine", other)
    assert [(h.snapshot, h.tag) for h in zfs.holds([full, other])] == [
        (full, "zborg:offsite:2026-02-12"),
        (other, "mine"),
    ]
    assert [s.holds for s in zfs.snapshots(name)] == [1, 1]
    created = zfs.snapshots(name)[0].created
    assert abs((zfs.holds([full])[0].since - created).total_seconds()) < 120
    for _ in range(2):
        zfs.release("zborg:offsite:2026-02-12", full)
    assert zfs.holds([full]) == () and zfs.holds([]) == ()
    zfs.release("mine", f"{name}@gone")
    zfs.release("mine", f"{name}/gone@gone")
    with pytest.raises(CommandFailed, match="does not exist"):
        zfs.hold("mine", f"{name}@gone")


def test_bookmarks_are_idempotent_for_the_same_snapshot_only(zfs_pair: Pair) -> None:
    zfs, name = zfs_pair.zfs, zfs_pair.child("we b")
    one, two = zfs_pair.snap(name, "a"), zfs_pair.snap(name, "b")
    for _ in range(2):
        zfs.bookmark(one, "zborg_offsite")
    with pytest.raises(CommandFailed, match="bookmark exists"):
        zfs.bookmark(two, "zborg_offsite")
    with pytest.raises(CommandFailed, match="does not exist"):
        zfs.bookmark(f"{name}@gone", "other")
    (mark,) = zfs.bookmarks(zfs_pair.root)
    snapshot = zfs.snapshots(name)[0]
    assert (mark.full, mark.guid, mark.createtxg) == (
        f"{name}#zborg_offsite",
        snapshot.guid,
        snapshot.createtxg,
    )
    for _ in range(2):
        zfs.destroy_bookmark(mark.full)
    assert zfs.bookmarks(name) == ()


# --- clones -----------------------------------------------------------------------------------------


def test_clone_is_mounted_and_goes_with_its_run(zfs_pair: Pair) -> None:
    zfs, name = zfs_pair.zfs, zfs_pair.child("we b", 1)
    full = zfs_pair.snap(name, "a")
    run = f"{zfs_pair.pool}/zborg-scratch/{zfs_pair.root.rpartition('/')[2]}"
    place = zfs.clone(full, f"{run}/web1")
    assert zfs_pair.exists(f"{place}/data") and zfs.datasets(f"{run}/web1")[0].mounted
    assert zfs.snapshots(name)[0].clones == (f"{run}/web1",)
    other = zfs.clone(full, f"{run}/web2")
    assert sorted(zfs.snapshots(name)[0].clones) == [f"{run}/web1", f"{run}/web2"]
    with pytest.raises(CommandFailed, match="already exists"):
        zfs.clone(full, f"{run}/web2")
    assert zfs_pair.destroy(name, "a") == ()
    for _ in range(2):
        zfs.destroy_clone(f"{run}/web1")
    assert not zfs_pair.exists(place) and zfs_pair.exists(f"{other}/data")
    zfs.destroy_clone(f"{run}/web2")
    assert zfs.datasets(run) == () and len(zfs.datasets(f"{zfs_pair.pool}/zborg-scratch")) == 1
    zfs.destroy_clone(f"{run}/web2")
    assert zfs_pair.names(name) == ["a"] and zfs.snapshots(name)[0].clones == ()


def test_a_failed_clone_leaves_no_parent(zfs_pair: Pair) -> None:
    run = f"{zfs_pair.pool}/zborg-scratch/{zfs_pair.root.rpartition('/')[2]}"
    with pytest.raises(CommandFailed, match="does not exist"):
        zfs_pair.zfs.clone(f"{zfs_pair.root}@gone", f"{run}/web1")
    assert zfs_pair.zfs.datasets(run) == ()


def test_destroy_clone_refuses_everything_else(zfs_pair: Pair) -> None:
    zfs, name = zfs_pair.zfs, zfs_pair.child("web1")
    scratch = f"{zfs_pair.root}/zborg-scratch"
    for dataset in (scratch, f"{scratch}/run", f"{scratch}/run/web1"):
        zfs.create(dataset, {})
    for wrong in (name, zfs_pair.root, scratch, f"{scratch}/run", f"{scratch}/run/web1", zfs_pair.pool):
        with pytest.raises(ZborgError, match="refused"):
            zfs.destroy_clone(wrong)
    assert len(zfs.datasets(zfs_pair.root)) == 5


# --- streams ----------------------------------------------------------------------------------------


def test_send_in_full_then_increments_from_snapshot_and_bookmark(zfs_pair: Pair) -> None:
    zfs, name, target = zfs_pair.zfs, zfs_pair.child("we b", 300), f"{zfs_pair.away}/we b"
    fulls = []
    for raw in ("a", "b", "c"):
        zfs_pair.write(name, raw, 50)
        fulls.append(zfs_pair.snap(name, raw))
    a, b, c = fulls
    zfs.set([a], {P_STATE: "ok"})
    zfs.bookmark(b, "b")
    assert zfs.estimate(Stream(a)) > 300 * KIB
    assert zfs.estimate(Stream(c, base=f"{name}#b")) > 50 * KIB
    assert zfs_pair.transfer(Stream(a), target)[:2] == (0, 0)
    assert zfs_pair.transfer(Stream(b, base=a), target)[:2] == (0, 0)
    assert zfs_pair.destroy(name, "a", "b") == ("a", "b")
    assert zfs_pair.transfer(Stream(c, base=f"{name}#b"), target)[:2] == (0, 0)
    (arrived,) = zfs.datasets(target)
    assert not arrived.mounted and arrived.mountpoint is None
    received = zfs.snapshots(target)
    assert [s.raw for s in received] == ["a", "b", "c"]
    assert received[2].guid == zfs_pair.guid(c)
    assert received[2].createtxg != zfs.snapshots(name)[0].createtxg
    assert all(s.properties == {} for s in received)


def test_progress_is_told(zfs_pair: Pair) -> None:
    full = zfs_pair.snap(zfs_pair.child("web1", 6 * KIB), "a")
    reading, writing = os.pipe()
    sender = zfs_pair.zfs.send(Stream(full), writing)
    os.close(writing)
    said = _drain(sender)
    time.sleep(zfs_pair.pause)
    arrived = 0
    while chunk := os.read(reading, 1 << 16):
        arrived += len(chunk)
    os.close(reading)
    assert _ended(sender) == 0
    counts = [n for n in map(progress, said().split("\n")) if n is not None]
    assert counts and counts == sorted(counts) and KIB < counts[-1] <= arrived


def test_a_cut_stream_is_resumed(zfs_pair: Pair) -> None:
    zfs, name, target = zfs_pair.zfs, zfs_pair.child("web1", 3 * KIB), f"{zfs_pair.away}/web1"
    full = zfs_pair.snap(name, "a")
    zfs_pair.cut(Stream(full), target, 1500 * KIB)
    token = zfs_pair.token(target)
    assert token is not None and zfs_pair.names(target) == []
    known = zfs.decode(token)
    assert (known.to_name, known.to_guid, known.from_guid) == (full, zfs_pair.guid(full), None)
    assert 500 * KIB < known.received <= 1500 * KIB
    assert 0 < zfs.estimate(Stream(full, token=token)) < 2700 * KIB
    assert zfs_pair.transfer(Stream(full, token=token), target)[:2] == (0, 0)
    assert zfs_pair.token(target) is None and zfs_pair.guid(f"{target}@a") == zfs_pair.guid(full)


def test_a_cut_increment_is_resumed_from_its_bookmark(zfs_pair: Pair) -> None:
    zfs, name, target = zfs_pair.zfs, zfs_pair.child("web1", 20), f"{zfs_pair.away}/web1"
    base = zfs_pair.snap(name, "a")
    guid = zfs_pair.guid(base)
    zfs.bookmark(base, "a")
    assert zfs_pair.transfer(Stream(base), target)[:2] == (0, 0)
    zfs_pair.write(name, "more", 3 * KIB)
    full = zfs_pair.snap(name, "b")
    zfs_pair.cut(Stream(full, base=base), target, 1500 * KIB)
    zfs_pair.destroy(name, "a")
    token = zfs_pair.token(target)
    assert token is not None and zfs.decode(token).from_guid == guid
    assert zfs_pair.transfer(Stream(full, token=token), target)[:2] == (0, 0)
    assert zfs_pair.names(target) == ["a", "b"]


def test_abort_receive(zfs_pair: Pair) -> None:
    zfs, name, target = zfs_pair.zfs, zfs_pair.child("web1", 3 * KIB), f"{zfs_pair.away}/web1"
    full = zfs_pair.snap(name, "a")
    zfs_pair.cut(Stream(full), target, 1000 * KIB)
    for _ in range(2):
        zfs.abort_receive(target)
    assert zfs.datasets(target) == ()
    assert zfs_pair.transfer(Stream(full), target)[:2] == (0, 0)
    zfs.abort_receive(target)
    assert zfs_pair.names(target) == ["a"]


def test_a_cut_first_stream_with_a_child_below_cannot_be_given_up(zfs_pair: Pair) -> None:
    zfs, name, target = zfs_pair.zfs, zfs_pair.child("web1", 3 * KIB), f"{zfs_pair.away}/web1"
    child = zfs_pair.child("web1/sub")
    full = zfs_pair.snap(name, "a")
    zfs_pair.cut(Stream(full), target, 1000 * KIB)
    assert zfs_pair.transfer(Stream(f"{child}@a"), f"{target}/sub")[:2] == (0, 0)
    with pytest.raises(CommandFailed, match="dataset already exists"):
        zfs.abort_receive(target)
    assert zfs_pair.token(target)


def test_a_token_must_ask_for_the_snapshot_we_mean(zfs_pair: Pair) -> None:
    zfs, name, target = zfs_pair.zfs, zfs_pair.child("web1", 3 * KIB), f"{zfs_pair.away}/web1"
    full, other = zfs_pair.snap(name, "a"), zfs_pair.snap(zfs_pair.child("other"), "a")
    zfs_pair.cut(Stream(full), target, 1000 * KIB)
    token = zfs_pair.token(target)
    assert token is not None
    zfs_pair.destroy(name, "a")
    assert zfs.decode(token).to_name == full  # although it is gone
    with pytest.raises(Conflict, match="nothing was sent"):
        zfs.send(Stream(other, token=token), 1)
    with pytest.raises(CommandFailed, match="does not exist"):
        zfs.send(Stream(full, token=token), 1)
    with pytest.raises(ZborgError, match="cannot read the resume token"):
        zfs.decode(token[:-2] + ("00" if token[-2:] != "00" else "11"))


def test_receive_refuses_what_does_not_fit_and_leaves_the_target(zfs_pair: Pair) -> None:
    zfs, name, target = zfs_pair.zfs, zfs_pair.child("web1"), f"{zfs_pair.away}/web1"
    a, b, c = (zfs_pair.snap(name, raw) for raw in ("a", "b", "c"))
    assert zfs_pair.transfer(Stream(a), target)[:2] == (0, 0)
    before = zfs.snapshots(target), zfs.datasets(target)[0].guid
    for stream, said in (
        (Stream(c, base=b), "most recent snapshot"),
        (Stream(b), "exists"),
    ):
        status, words = zfs_pair.transfer(stream, target)[1:]
        assert status != 0 and said in words
    status, words = zfs_pair.transfer(Stream(b, base=a), f"{zfs_pair.away}/new")[1:]
    assert status != 0 and "does not exist" in words
    status, words = zfs_pair.transfer(Stream(a), f"{zfs_pair.away}/no/parent")[1:]
    assert status != 0 and "does not exist" in words
    assert (zfs.snapshots(target), zfs.datasets(target)[0].guid) == before
    assert zfs_pair.token(target) is None
    assert len(zfs.datasets(zfs_pair.away)) == 2


def test_a_target_that_was_written_to_refuses_an_increment(zfs_pair: Pair) -> None:
    zfs, name, target = zfs_pair.zfs, zfs_pair.child("web1", 10), f"{zfs_pair.root}/copy"
    a = zfs_pair.snap(name, "a")
    assert zfs_pair.transfer(Stream(a), target)[:2] == (0, 0)
    zfs.mount(target)
    zfs_pair.write(target, "more", 10)
    status, words = zfs_pair.transfer(Stream(zfs_pair.snap(name, "b"), base=a), target)[1:]
    assert status != 0 and "has been modified" in words
    assert zfs_pair.names(target) == ["a"]


def test_send_of_what_is_not_there_fails(zfs_pair: Pair) -> None:
    name = zfs_pair.child("web1")
    a, b = zfs_pair.snap(name, "a"), zfs_pair.snap(name, "b")
    for stream in (Stream(f"{name}@gone"), Stream(b, base=f"{name}#gone"), Stream(a, base=b)):
        sent, received, _ = zfs_pair.transfer(stream, f"{zfs_pair.away}/web1")
        assert sent != 0 and received != 0
        with pytest.raises(CommandFailed):
            zfs_pair.zfs.estimate(stream)
    assert zfs_pair.zfs.datasets(f"{zfs_pair.away}/web1") == ()


def test_a_snapshot_that_is_being_sent_is_busy(zfs_pair: Pair) -> None:
    name = zfs_pair.child("web1", 3 * KIB)
    full = zfs_pair.snap(name, "a")
    reading, writing = os.pipe()
    sender = zfs_pair.zfs.send(Stream(full), writing)
    os.close(writing)
    assert os.read(reading, 1)
    try:
        with pytest.raises(CommandFailed, match="busy"):
            zfs_pair.destroy(name, "a")
    finally:
        os.close(reading)
        sender.stop()


LOCKED = {
    "encryption": "on",
    "keyformat": "passphrase",
    "pbkdf2iters": "100000",
    # One line of a hundred bytes, the same for as long as the machine runs.
    "keylocation": "file:///proc/version",
}


def test_an_encrypted_dataset_is_sent_raw_and_arrives_without_its_key(zfs_pair: Pair) -> None:
    zfs, name, target = zfs_pair.zfs, f"{zfs_pair.root}/web1", f"{zfs_pair.away}/web1"
    zfs.create(name, LOCKED)
    assert zfs.datasets(name)[0].encrypted and not zfs.datasets(zfs_pair.root)[0].encrypted
    zfs_pair.write(name, "data", 3 * KIB)
    a = zfs_pair.snap(name, "a")
    zfs_pair.cut(Stream(a, raw=True), target, 1500 * KIB)
    token = zfs_pair.token(target)
    assert token is not None and zfs.decode(token).raw
    with pytest.raises(Conflict, match="nothing was sent"):
        zfs.send(Stream(a, token=token), 1)
    assert zfs_pair.transfer(Stream(a, token=token, raw=True), target)[:2] == (0, 0)
    b = zfs_pair.snap(name, "b")
    zfs.bookmark(a, "a")
    assert zfs_pair.transfer(Stream(b, base=f"{name}#a", raw=True), target)[:2] == (0, 0)
    (copy,) = zfs.datasets(target)
    assert copy.encrypted and [zfs_pair.guid(f"{target}@{raw}") for raw in "ab"] == [
        zfs_pair.guid(full) for full in (a, b)
    ]
    c = zfs_pair.snap(name, "c")
    status, words = zfs_pair.transfer(Stream(c, base=b), target)[1:]
    assert status != 0 and "key must be loaded" in words


def test_a_raw_increment_does_not_fit_on_a_plain_copy(zfs_pair: Pair) -> None:
    zfs, name, target = zfs_pair.zfs, f"{zfs_pair.root}/web1", f"{zfs_pair.away}/web1"
    zfs.create(name, LOCKED)
    a, b = zfs_pair.snap(name, "a"), zfs_pair.snap(name, "b")
    assert zfs_pair.transfer(Stream(a), target)[:2] == (0, 0)
    assert not zfs.datasets(target)[0].encrypted
    status, words = zfs_pair.transfer(Stream(b, base=a, raw=True), target)[1:]
    assert status != 0 and "raw receive on top of existing unencrypted" in words


# --- pools ------------------------------------------------------------------------------------------


def test_pool_and_scrub(zfs_pair: Pair) -> None:
    pool = zfs_pair.zfs.pool(zfs_pair.pool)
    assert (pool.name, pool.health, pool.scrub) == (zfs_pair.pool, "ONLINE", Scrub.NEVER)
    assert 0 < pool.free < pool.size and pool.errors == 0 and pool.finished is None
    zfs_pair.zfs.scrub(zfs_pair.pool)
    pool = zfs_pair.zfs.pool(zfs_pair.pool)
    assert pool.scrub in (Scrub.RUNNING, Scrub.FINISHED) and 0 <= pool.done <= 1
    for call in (zfs_pair.zfs.pool, zfs_pair.zfs.scrub):
        with pytest.raises(CommandFailed, match="no such pool"):
            call("nopool")
