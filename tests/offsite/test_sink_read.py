"""`zborg sink --read` behind a real sshd: a restore through it, and what its key cannot do.

The off-site's `zfs` writes down what it is asked, and lists and sends what the in-memory off-site has; the
server's is the in-memory one. Real ZFS is in test_sink_lab.py.
"""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from tests.harness.builders.begin import golden
from tests.harness.builders.sink import ATTACKS, NAME, ROOT, WEB
from tests.harness.fake_zfs.child import FakeChild
from tests.harness.machines.reader import Away, Offsite
from tests.harness.restore.repository import backed_up, content
from tests.harness.steps import list_snapshots, restore_repo
from tests.harness.worlds.local import LocalVault
from tests.harness.worlds.steps import Hours, dataset_only, snapnames, world
from zborg.errors import Exit, KeyRefused, UsageError, ZborgError
from zborg.model import P_STATE, Child, Machine, Report, SnapshotName, Status, Stream
from zborg.process import LocalRunner
from zborg.steps.context import Context
from zborg.steps.restore.source import Source
from zborg.zfs import argv
from zborg.zfs.sink import Give, Show, parse, parse_reading

WEB_HERE = "tank/borg/web1"


# --- what a reader may ask --------------------------------------------------------------------------


def test_listings_and_one_whole_snapshot_are_all_that_a_reader_gets() -> None:
    whole = argv.send(Stream(f"{WEB}@{NAME}"))
    raw = argv.send(Stream(f"{WEB}@{NAME}", raw=True))
    assert [parse_reading(shlex.join(one), ROOT) for one in (whole, raw)] == [Give(whole), Give(raw)]
    for listing in (argv.list_snapshots(WEB), argv.snapshot_properties(WEB), argv.list_datasets(ROOT)):
        assert parse_reading(shlex.join(listing), ROOT) == Show(listing)
    with pytest.raises(ZborgError, match="refused by the sink"):
        parse(shlex.join(whole), ROOT)  # not with the everyday key


@pytest.mark.parametrize("name", ATTACKS)
def test_every_other_command_is_refused_to_a_reader(name: str) -> None:
    with pytest.raises(ZborgError, match="refused by the sink"):
        parse_reading(ATTACKS[name], ROOT)


# --- behind a real sshd -----------------------------------------------------------------------------


@dataclass
class World:
    """A server whose two nights are off-site, and the way there."""

    context: Context
    vault: LocalVault
    offsite: Offsite

    def restore(self, at: str = "", identity: str = "reader") -> Report:
        source = Source("offsite", str(self.offsite.directory / identity) if identity else "")
        return restore_repo(self.context, "web1", self.vault.directory / "copy", at, source)

    @property
    def scratch(self) -> list[str]:
        return [one.name for one in self.vault.zfs.datasets("tank/zborg-scratch")]


def world_of(away: Away, context: Context, vault: LocalVault) -> World:
    return World(away(context), vault, away.offsite)


@pytest.fixture
def plain(away: Away, vault: LocalVault, clock: Hours) -> World:
    """Without borg: two good snapshots of a dataset with a file."""
    dataset_only(vault, "web1")
    for text in ("first", "second"):
        (vault.zfs.directory(WEB_HERE) / "config").write_text(text)
        vault.zfs.snapshot("tank/borg", str(SnapshotName.of(clock.now)), {P_STATE: "ok"})
        clock.tick()
    return world_of(away, world(vault, clock), vault)


def test_the_readers_key_brings_a_repository_back(away: Away, vault: LocalVault, clock: Hours) -> None:
    host, context = backed_up(vault, clock)
    there = world_of(away, context, vault)
    first, second = snapnames(vault, WEB_HERE)
    listed = list_snapshots(there.context, "web1", Source("offsite", str(there.offsite.reader)))
    assert [one.subject for one in listed.outcomes] == [first, second]
    report = there.restore(at=first)
    assert report.exit is Exit.OK, report.outcomes
    assert content(host, vault.directory / "copy") == "of web1"
    assert there.offsite.done == [list(argv.send(Stream(f"{WEB}@{first}"))[1:])], "it only sent"
    assert there.scratch == ["tank/zborg-scratch"], "nothing fetched stays"


def test_the_everyday_key_does_not(plain: World) -> None:
    """By itself it stops at the first thing that it would make there; as --identity at the send."""
    for identity, words in (("", "zborg's everyday key"), ("everyday", "the key of --identity")):
        report = plain.restore(identity=identity)
        (outcome,) = report.outcomes
        assert report.exit is Exit.FAILED and "--identity" in outcome.remedy
        assert outcome.message == f"offsite lets {words} restore nothing: a sink is in front of it"
    assert plain.offsite.done == [] and not (plain.vault.directory / "copy").exists()
    assert plain.scratch == ["tank/zborg-scratch"]


def test_attacks_with_the_readers_key_reach_no_zfs(plain: World) -> None:
    for name in ("receive", "destroy a snapshot", "rollback", "all below", "and a destroy", "a token"):
        done = plain.offsite.ask(ATTACKS[name])
        assert done.returncode == 4 and b"refused by the sink: " in done.stderr, name
        assert done.stdout == b""
    assert plain.offsite.done == []


def test_a_key_that_is_not_there_and_a_key_without_a_target_are_refused(plain: World) -> None:
    for source in (Source("offsite", "/nonexistent/key"), Source("", str(plain.offsite.reader))):
        with pytest.raises(UsageError, match="--identity"):
            restore_repo(plain.context, "web1", plain.vault.directory / "copy", source=source)


def test_a_key_that_others_can_read_is_refused_before_anything_is_asked(plain: World) -> None:
    """As files on a FAT stick are; OpenSSH, which carries the stream, would not take it."""
    plain.offsite.reader.chmod(0o644)
    try:
        with pytest.raises(UsageError, match="reader: others can read it") as caught:
            plain.restore()
    finally:
        plain.offsite.reader.chmod(0o600)  # the next test's as well
    assert f"\ninstall -m 0600 {plain.offsite.reader} /root/" in caught.value.remedy
    assert plain.scratch == [], "nothing was begun"


def test_a_key_with_a_passphrase_is_told_as_such(plain: World, tmp_path: Path) -> None:
    locked = tmp_path / "locked"
    words = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "secret", "-f", str(locked)]
    subprocess.run(words, check=True, stdin=subprocess.DEVNULL)
    with pytest.raises(KeyRefused, match="has a passphrase"):
        plain.restore(identity=str(locked))


# --- an off-site that lies, and runs that were killed ------------------------------------------------


def _sending(data: bytes) -> Callable[[Stream, int], Child]:
    """A `send` that sends this, whatever it is asked for."""

    def send(stream: Stream, stdout: int) -> Child:
        target = os.dup(stdout)

        def work(child: FakeChild) -> int:
            try:
                child.write(target, data)
            finally:
                os.close(target)
            return 0

        return FakeChild(("zfs", "send"), work)

    return send


def test_what_was_not_asked_for_is_not_received(plain: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The off-site is another machine: a stream with children and mountpoints must not get in."""
    *_, newest = plain.vault.far.snapshots(f"{ROOT}/web1")
    streams = {kind: golden()[kind] for kind in ("props", "replicate", "volume", "clone", "increment")}
    # They say the guid that was asked for.
    streams = {
        k: data[:40] + int(newest.guid).to_bytes(8, "little") + data[48:] for k, data in streams.items()
    }
    streams |= {"another": golden()["full"], "garbage": b"x" * 400}
    got = []

    def take(*_: object) -> int:
        got.append(1)
        return 0

    monkeypatch.setattr(plain.vault.zfs, "_take", take)
    plain = replace(
        plain,
        context=replace(plain.context, target=lambda _: Machine(LocalRunner(), plain.vault.far)),
    )
    for kind, data in streams.items():
        monkeypatch.setattr(plain.vault.far, "send", _sending(data + bytes(5000)))
        (outcome,) = plain.restore().outcomes
        assert outcome.status is Status.FAILED and "sends something else than" in outcome.message, kind
        assert not got and plain.scratch == ["tank/zborg-scratch"]


def test_what_zfs_encrypts_there_is_told_and_not_fetched(plain: World) -> None:
    plain.vault.far._all[WEB].properties["encryption"] = "aes-256-gcm"
    plain = replace(
        plain,
        context=replace(plain.context, target=lambda _: Machine(LocalRunner(), plain.vault.far)),
    )
    (outcome,) = plain.restore().outcomes
    assert "is encrypted by ZFS" in outcome.message and f"-w -L -e -c {WEB}@" in outcome.remedy
    assert plain.scratch == []


def test_what_a_killed_run_had_fetched_goes_with_the_next(plain: World) -> None:
    left = "tank/zborg-scratch/from-20260101T000000Z-dead"
    for dataset in ("tank/zborg-scratch", left):
        plain.vault.zfs.create(dataset, {})
    first, second = plain.vault.far.snapshots(f"{ROOT}/web1")
    with (plain.vault.directory / "stream").open("wb+") as file:
        assert plain.vault.far.send(Stream(first.full), file.fileno()).wait() == 0  # type: ignore[attr-defined]  # the fake's
        file.seek(0)
        assert plain.vault.zfs.receive(f"{left}/web1", file.fileno()).wait() == 0  # type: ignore[attr-defined]  # the same
    plain.vault.zfs.clone(f"{left}/web1@{first.snapname}", "tank/zborg-scratch/20260101T000000Z-dead/web1")
    empty = ("20260101T000000Z-beef", "from-20260101T000000Z-beef", "20991231T000000Z-beef", "of-somebody")
    for name in empty:
        plain.vault.zfs.create(f"tank/zborg-scratch/{name}", {})
    there: list[str] = []

    def look(method: str, _: object) -> None:
        if method == "receive" and not there:
            there.extend(plain.scratch)

    plain.vault.zfs.fail = look
    assert plain.restore().exit is Exit.OK
    assert f"{left}/web1" not in there, "the pool need not hold both"
    staying = [f"tank/zborg-scratch/{name}" for name in empty[2:]]
    assert plain.scratch == ["tank/zborg-scratch", *staying], "what has just begun, and what is not ours"
