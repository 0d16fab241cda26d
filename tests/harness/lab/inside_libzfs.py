"""What only the libzfs adapter promises. Run inside a guest, by tests/zfs/test_libzfs_lab.py."""

from __future__ import annotations

import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from zborg.errors import CommandFailed, ZborgError
from zborg.model import P_RUN
from zborg.process import LocalRunner
from zborg.zfs.commands import CommandZfs
from zborg.zfs.libzfs import LibZfs, missing

POOL = "library"
ROOT = f"{POOL}/borg"


def sh(script: str) -> str:
    return subprocess.run(["sh", "-eu", "-c", script], check=True, stdout=subprocess.PIPE).stdout.decode(
        errors="replace"
    )


@pytest.fixture(scope="module")
def zfs() -> Iterator[LibZfs]:
    sh(f"mkdir -p /vdev; truncate -s 512M /vdev/{POOL}; zpool create {POOL} /vdev/{POOL}")
    made = LibZfs(CommandZfs(LocalRunner()))
    made.create(ROOT, {})
    yield made
    sh(f"zpool destroy -f {POOL}")


def test_what_it_lacks_here_is_nothing_or_the_pool(zfs: LibZfs) -> None:
    assert zfs.datasets(ROOT)
    assert missing(POOL) == ""
    assert missing("nopool") == "it cannot open the pool nopool: no such pool"


def test_what_cannot_be_read_is_an_error_and_no_gap(zfs: LibZfs, capfd: pytest.CaptureFixture[str]) -> None:
    """py-libzfs prints a traceback and goes on without the snapshot, or without the dataset and all below."""
    name = f"{ROOT}/odd"
    zfs.create(name, {})
    zfs.create(f"{name}/below", {})
    zfs.snapshot(name, "a", {P_RUN: "größer"})
    assert [one.properties for one in zfs.snapshots(name)] == [{P_RUN: "größer"}] * 2
    for subject, calls in ((f"{name}@a", (zfs.snapshots,)), (name, (zfs.snapshots, zfs.datasets))):
        subprocess.run(["zfs", "set", b"other:x=\xff", subject], check=True)
        for call in calls:
            with pytest.raises(ZborgError, match="libzfs left out what it could not read"):
                call(ROOT)
        sh(f"zfs inherit other:x {subject}")
    assert len(zfs.snapshots(name)) == 2 and len(zfs.datasets(name)) == 2
    assert capfd.readouterr() == ("", "")


class Counting:
    """The library's handle; `calls` counts what is asked of it."""

    def __init__(self, handle: Any) -> None:
        self.handle, self.calls = handle, Counter[str]()

    def __getattr__(self, name: str) -> Any:
        self.calls[name] += 1
        return getattr(self.handle, name)


def test_a_listing_is_as_many_calls_whatever_there_is(zfs: LibZfs) -> None:
    name = f"{ROOT}/many"
    zfs.create(name, {})
    counts = []
    for number in range(3):
        zfs.create(f"{name}/{number}", {})
        zfs.snapshot(name, f"s{number}", {})
        counting = Counting(zfs._zfs)
        zfs._zfs = counting
        try:
            listed = zfs.snapshots(name)
            assert len(zfs.datasets(name)) == 2 + number
            assert zfs.holds([one.full for one in listed]) == ()
            assert zfs.holds(()) == () and zfs.destroy(name, {}) == ()  # the library would look at all pools
            guids = {one.snapname: one.guid for one in listed if one.dataset == f"{name}/{number}"}
            assert zfs.destroy(f"{name}/{number}", guids) == (f"s{number}",)
        finally:
            zfs._zfs = counting.handle
        counts.append(counting.calls)
    assert counts[0] == counts[1] == counts[2]
    assert counts[0].total() == 7


def test_each_thread_has_the_words_of_its_own_failure(zfs: LibZfs) -> None:
    """The library keeps the last failure of all."""

    def words(call: Callable[[], object]) -> set[str]:
        found = set()
        for _ in range(60):
            with pytest.raises(CommandFailed) as caught:
                call()
            found.add(caught.value.stderr)
        return found

    calls: list[Callable[[], object]] = [
        lambda: zfs.create(ROOT, {}),
        lambda: zfs.create(f"{ROOT}/no/parent", {}),
        lambda: zfs.holds([f"{ROOT}@gone"]),
    ]
    with ThreadPoolExecutor(3) as pool:
        exists, parent, gone = pool.map(words, calls)
    assert exists == {f"cannot create '{ROOT}': dataset already exists"}
    assert parent == {f"cannot create '{ROOT}/no/parent': parent does not exist"}
    assert gone == {f"Snapshot {ROOT}@gone not found: dataset does not exist"}


def test_a_failure_is_told_as_that_of_the_command(zfs: LibZfs) -> None:
    with pytest.raises(
        CommandFailed, match=r"^libzfs create failed: cannot create .*already exists"
    ) as caught:
        zfs.create(ROOT, {"compression": "lz4"})
    assert caught.value.argv == ("libzfs", "create", "-o", "compression=lz4", ROOT)


def test_what_has_no_mountpoint_is_not_called_mounted(zfs: LibZfs) -> None:
    zfs.create(f"{ROOT}/nowhere", {"mountpoint": "none"})
    with pytest.raises(CommandFailed, match="no mountpoint set"):
        zfs.mount(f"{ROOT}/nowhere")
    assert not Path(f"/{ROOT}/nowhere").exists()


def test_the_pool_remembers_what_was_done(zfs: LibZfs) -> None:
    zfs.snapshot(ROOT, "kept", {})
    assert f"zborg: zfs snapshot -r {ROOT}@kept" in sh(f"zpool history {POOL}")
