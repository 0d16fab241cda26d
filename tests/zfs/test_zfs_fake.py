"""What FakeZfs has beyond the contract: hooks for tests, and children that zborg.process can join."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.harness.fake_zfs.child import FakeChild
from tests.harness.fake_zfs.zfs import FakeZfs
from zborg.errors import CommandFailed
from zborg.model import Scrub, Stream
from zborg.streams import chain, pump
from zborg.zfs.output.parse import progress

pytestmark = pytest.mark.unit


def test_failures_can_be_injected_before_any_effect(tmp_path: Path) -> None:
    def fail(method: str, arguments: tuple[object, ...]) -> None:
        if method == "snapshot" and arguments[1] == "b":
            raise CommandFailed(("zfs",), 1, "out of space")

    zfs = FakeZfs(tmp_path, fail=fail)
    zfs.snapshot("tank", "a", {})
    with pytest.raises(CommandFailed, match="out of space"):
        zfs.snapshot("tank", "b", {})
    assert [s.snapname for s in zfs.snapshots("tank")] == ["a"]


def test_two_machines_joined_by_a_pipe(tmp_path: Path) -> None:
    here, there = FakeZfs(tmp_path / "here"), FakeZfs(tmp_path / "there", pools=["vault"])
    here.create("tank/web1", {})
    (here.directory("tank/web1") / "file").write_bytes(os.urandom(3 << 20))
    here.snapshot("tank/web1", "a", {})
    lines: list[str] = []
    sender, receiver = chain(
        lambda out: here.send(Stream("tank/web1@a"), out), lambda source: there.receive("vault/web1", source)
    )
    statuses = pump({"send": sender, "receive": receiver}, lambda _, came: lines.extend(came), timeout=120)
    assert statuses == {"send": 0, "receive": 0}
    assert [n for n in map(progress, lines) if n is not None][-1] > 3 << 20
    assert there.snapshots("vault/web1")[0].guid == here.snapshots("tank/web1")[0].guid
    file = Path("file")
    assert (there.directory("vault/web1") / file).read_bytes() == (
        here.directory("tank/web1") / file
    ).read_bytes()


def test_a_stopped_child_keeps_what_arrived(tmp_path: Path) -> None:
    zfs = FakeZfs(tmp_path)
    zfs.create("tank/web1", {})
    (zfs.directory("tank/web1") / "file").write_bytes(os.urandom(1 << 20))
    zfs.snapshot("tank/web1", "a", {})
    reading, writing = os.pipe()
    sender = zfs.send(Stream("tank/web1@a"), writing)
    assert os.read(reading, 1) and sender.poll() is None
    assert sender.stop() == -15 and sender.pid > 1 << 22
    for end in (reading, writing):
        os.close(end)
    assert zfs.destroy("tank/web1", {"a": zfs.snapshots("tank/web1")[0].guid})  # no longer busy


def test_snapshots_keep_the_files_as_they_were(tmp_path: Path) -> None:
    zfs = FakeZfs(tmp_path)
    zfs.create("tank/borg", {})
    zfs.create("tank/borg/web1", {})
    file = zfs.directory("tank/borg/web1") / "file"
    file.write_text("old")
    zfs.snapshot("tank/borg", "a", {})
    file.write_text("new")
    clone = Path(zfs.clone("tank/borg/web1@a", "tank/zborg-scratch/run/web1"))
    assert (clone / "file").read_text() == "old"
    parent = Path(zfs.clone("tank/borg@a", "tank/zborg-scratch/run/borg"))
    assert list(parent.iterdir()) == []  # a child dataset is no part of its parent's snapshot


def test_a_scrub_runs_until_the_test_ends_it(tmp_path: Path) -> None:
    zfs = FakeZfs(tmp_path)
    zfs.scrub("tank")
    assert zfs.pool("tank").scrub is Scrub.RUNNING
    with pytest.raises(CommandFailed, match="currently scrubbing"):
        zfs.scrub("tank")
    zfs.finish_scrub("tank", errors=2)
    assert (zfs.pool("tank").scrub, zfs.pool("tank").errors) == (Scrub.FINISHED, 2)


def test_a_child_that_breaks_ends_with_a_status(capfd: pytest.CaptureFixture[str]) -> None:
    def work(child: FakeChild) -> int:
        raise BrokenPipeError

    assert FakeChild(("zfs",), work).wait() == -13
