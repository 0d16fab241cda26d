"""snapshot, rotate, replicate, restore, scrub, status and run on the in-memory ZFS and real borg."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.fake_zfs_child import FakeChild
from tests.harness.host import BackedUpHost, find_borg
from tests.harness.local import LocalVault
from zborg.errors import Exit, UsageError, ZborgError
from zborg.interrupt import cancelled
from zborg.model import (
    P_RUN,
    P_STATE,
    P_TRANSACTION,
    Child,
    Outcome,
    Report,
    Scrub,
    State,
    Status,
    Stream,
)
from zborg.process import LocalRunner
from zborg.reporting.text import render
from zborg.steps.backup import Options, backup
from zborg.steps.context import Context
from zborg.steps.init import init
from zborg.steps.night import night
from zborg.steps.replicate import replicate
from zborg.steps.restore import _newest_archive, _outermost, list_snapshots, restore_files
from zborg.steps.rotate import rotate
from zborg.steps.scrub import scrub
from zborg.steps.snapshot import snapshot
from zborg.steps.status import saved


@pytest.fixture
def vault(tmp_path: Path) -> Iterator[LocalVault]:
    made = LocalVault(tmp_path)
    yield made
    made.close()


class Hours:
    """A clock that goes on by an hour with each step, so that no test waits for the next second."""

    def __init__(self) -> None:
        self.now = datetime(2026, 2, 12, 14, 49, 33, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def tick(self, hours: float = 1) -> None:
        self.now += timedelta(hours=hours)


@pytest.fixture
def clock() -> Hours:
    return Hours()


def world(vault: LocalVault, clock: Hours) -> Context:
    vault.zfs.clock = vault.far.clock = clock
    return replace(vault.context(), clock=clock)


def dataset_only(vault: LocalVault, *names: str) -> None:
    """Datasets of hosts that are never reached: enough for everything but backup and restore."""
    for name in names:
        vault.zfs.create(f"tank/borg/{name}", {})
        vault.endpoints[name] = vault.endpoint(1, "ssh-ed25519 AAAA")


def raws(vault: LocalVault, dataset: str) -> list[str]:
    return [s.raw for s in vault.zfs.snapshots(dataset) if s.dataset == dataset]


def guids(zfs: object, dataset: str) -> list[str]:
    return [s.guid for s in zfs.snapshots(dataset)]  # type: ignore[attr-defined]  # either FakeZfs


def of(report: Report, subject: str) -> Outcome:
    return next(outcome for outcome in report.outcomes if outcome.subject == subject)


# --- init -------------------------------------------------------------------------------------------


def test_init_makes_what_is_missing_and_tries_borg_serve(vault: LocalVault, clock: Hours) -> None:
    vault.add("web1", dataset=False)
    vault.add("db1", dataset=False)
    made = init(world(vault, clock), LocalRunner())
    assert made.exit is Exit.OK, made.outcomes
    assert of(made, "tank/borg/db1").message == "created"
    assert of(made, "borg serve").message == "can be started for web1"
    again = init(world(vault, clock), LocalRunner(), ["db1"])
    assert of(again, "tank/borg/db1").message == "is there"


def test_init_gives_away_what_a_killed_one_left_with_root(vault: LocalVault, clock: Hours) -> None:
    vault.add("web1")
    vault.add("db1")
    left = vault.zfs.directory("tank/borg/db1")
    left.chmod(0o755)
    os.chown(left, 65534, -1)
    found = init(world(vault, clock), LocalRunner())
    assert of(found, "tank/borg/db1").message == "is there, now belongs to root"
    assert of(found, "tank/borg/web1").message == "is there"
    assert (left.stat().st_uid, left.stat().st_mode & 0o777) == (0, 0o700)


def test_init_says_when_nobody_could_be_served(vault: LocalVault, clock: Hours) -> None:
    """At init somebody looks; at half past two in the night nobody does."""
    vault.add("web1", dataset=False)
    context = replace(world(vault, clock), tunnel=vault.tunnel(borg="/nonexistent/borg"))
    report = init(context, LocalRunner())
    assert report.exit is Exit.PARTIAL
    assert "/nonexistent/borg" in of(report, "borg serve").message
    assert "install borg" in of(report, "borg serve").remedy


# --- snapshot ---------------------------------------------------------------------------------------


def test_snapshot_is_one_instant_and_marks_each_dataset(vault: LocalVault, clock: Hours) -> None:
    vault.add("web1")
    dataset_only(vault, "dead")
    context = world(vault, clock)
    backup(context, Options())
    clock.tick()
    report = snapshot(context)
    found = {s.dataset: s for s in vault.zfs.snapshots("tank/borg")}
    assert {s.raw for s in found.values()} == {"zborg_2026-02-12T154933Z"}
    assert {s.properties[P_RUN] for s in found.values()} == {report.run}
    assert found["tank/borg/web1"].properties[P_STATE] == "ok"
    assert int(found["tank/borg/web1"].properties[P_TRANSACTION]) > 0
    assert found["tank/borg/dead"].properties[P_STATE] == "failed"
    assert P_STATE not in found["tank/borg"].properties


def test_a_snapshot_without_a_backup_before_it_is_never_called_good(vault: LocalVault, clock: Hours) -> None:
    vault.add("web1")
    context = world(vault, clock)
    backup(context, Options())
    clock.tick()
    snapshot(context)
    clock.tick()
    snapshot(context)
    assert [s.state for s in vault.zfs.snapshots("tank/borg/web1")] == [State.OK, None]


def test_a_backup_whose_commit_is_gone_is_not_called_good(vault: LocalVault, clock: Hours) -> None:
    """Between backup and snapshot somebody set the dataset aside and made a new one, or rolled it back."""
    vault.add("web1")
    backup(world(vault, clock), Options())
    (vault.zfs.directory("tank/borg/web1") / "transactions").unlink()
    clock.tick()
    snapshot(world(vault, clock))
    assert [s.state for s in vault.zfs.snapshots("tank/borg/web1")] == [State.FAILED]


def test_what_was_snapshotted_is_old_although_the_roots_snapshots_are_gone(
    vault: LocalVault, clock: Hours
) -> None:
    vault.add("web1")
    backup(world(vault, clock), Options())
    clock.tick()
    snapshot(world(vault, clock))
    vault.zfs.destroy("tank/borg", raws(vault, "tank/borg"))
    clock.tick()
    snapshot(world(vault, clock))
    assert [s.state for s in vault.zfs.snapshots("tank/borg/web1")] == [State.OK, None]


def test_a_restore_meanwhile_costs_no_good_mark(vault: LocalVault, clock: Hours) -> None:
    vault.add("web1")
    context = world(vault, clock)
    backup(context, Options())
    clock.tick()
    with context.locks.hold("restore-web1"):
        snapshot(world(vault, clock))
    assert [s.state for s in vault.zfs.snapshots("tank/borg/web1")] == [State.OK]


def test_a_host_without_a_dataset_is_said(vault: LocalVault, clock: Hours) -> None:
    dataset_only(vault, "web1")
    vault.endpoints["new"] = vault.endpoints["web1"]
    report = snapshot(world(vault, clock))
    assert report.exit is Exit.OK
    assert (of(report, "tank/borg/new").status, of(report, "tank/borg/new").remedy) == (
        Status.WARNING,
        "zborg init new",
    )


def test_a_host_at_work_is_marked_busy(vault: LocalVault, clock: Hours) -> None:
    dataset_only(vault, "web1")
    context = world(vault, clock)
    with context.locks.hold("host-web1"):
        snapshot(context)
    (taken,) = vault.zfs.snapshots("tank/borg/web1")
    assert taken.state is State.BUSY


def test_snapshot_refuses_a_clock_behind_the_newest(vault: LocalVault, clock: Hours) -> None:
    dataset_only(vault, "web1")
    snapshot(world(vault, clock))
    clock.tick(-2)
    report = snapshot(world(vault, clock))
    assert (report.exit, len(raws(vault, "tank/borg/web1"))) == (Exit.CONFLICT, 1)
    assert "is already there" in report.outcomes[0].message


def test_two_snapshots_at_once_the_second_is_busy(vault: LocalVault, clock: Hours) -> None:
    dataset_only(vault, "web1")
    context = world(vault, clock)
    with context.locks.hold("snapshot"):
        report = snapshot(context)
    assert report.exit is Exit.LOCKED
    assert f"pid {os.getpid()}" in report.outcomes[0].message


# --- rotate -----------------------------------------------------------------------------------------


def nights(vault: LocalVault, clock: Hours, count: int) -> None:
    for _ in range(count):
        snapshot(world(vault, clock))
        clock.tick(24)


def test_rotate_destroys_what_no_rule_keeps_and_says_why_the_rest_stays(
    vault: LocalVault, clock: Hours
) -> None:
    dataset_only(vault, "web1", "web2")
    nights(vault, clock, 5)
    before = raws(vault, "tank/borg/web1")
    vault.zfs.hold("mine", f"tank/borg/web2@{before[0]}")
    dry = rotate(world(vault, clock), dry_run=True)
    assert raws(vault, "tank/borg/web1") == before
    assert any("1 hold" in line for line in dry.plan)
    report = rotate(world(vault, clock))
    assert report.exit is Exit.OK
    assert raws(vault, "tank/borg/web1") == before[-2:]
    assert raws(vault, "tank/borg/web2") == [before[0], *before[-2:]]
    assert of(report, "tank/borg/web1").data["destroyed"] == before[:3]


def test_rotate_leaves_foreign_names_and_the_empty_policy_alone(vault: LocalVault, clock: Hours) -> None:
    dataset_only(vault, "web1")
    vault.zfs.snapshot("tank/borg/web1", "manual", {})
    nights(vault, clock, 4)
    rotate(world(vault, clock))
    assert "manual" in raws(vault, "tank/borg/web1")
    vault.keep = replace(vault.keep, last=0)
    kept = raws(vault, "tank/borg/web1")
    report = rotate(world(vault, clock))
    assert raws(vault, "tank/borg/web1") == kept
    (outcome,) = report.outcomes
    assert (report.exit, outcome.status) == (Exit.OK, Status.WARNING)
    assert "no retention rule is set" in outcome.message and "[snapshots.keep]" in outcome.remedy


def test_rotate_under_a_clock_that_went_back_is_a_conflict(vault: LocalVault, clock: Hours) -> None:
    """Or an ok would hide for years that nothing is destroyed any more."""
    dataset_only(vault, "web1")
    nights(vault, clock, 5)
    kept = raws(vault, "tank/borg/web1")
    clock.tick(-48)
    assert any("the clock (" in line for line in rotate(world(vault, clock), dry_run=True).plan)
    report = rotate(world(vault, clock))
    assert (report.exit, raws(vault, "tank/borg/web1")) == (Exit.CONFLICT, kept)
    (outcome,) = report.outcomes
    assert kept[-1] in outcome.message and "2026-02-15T144933Z" in outcome.message.replace(":", "")
    assert "set the clock" in outcome.remedy and report.plan


def test_a_stranger_s_snapshot_from_the_future_stops_no_rotation(vault: LocalVault, clock: Hours) -> None:
    dataset_only(vault, "web1", "web2")
    nights(vault, clock, 5)
    clock.tick(24 * 3650)
    vault.zfs.snapshot("tank/borg/web1", "autosnap", {})
    clock.tick(-24 * 3650)
    assert rotate(world(vault, clock)).exit is Exit.OK
    assert [len(raws(vault, f"tank/borg/{host}")) for host in ("web1", "web2")] == [3, 2]


def test_the_word_to_stop_is_heeded_between_two_datasets(
    vault: LocalVault, clock: Hours, request: pytest.FixtureRequest
) -> None:
    request.addfinalizer(cancelled.clear)
    dataset_only(vault, "web1", "web2", "web3")
    nights(vault, clock, 5)
    subjects = ["tank/borg", "tank/borg/web1", "tank/borg/web2", "tank/borg/web3"]

    def stop(method: str, arguments: tuple[object, ...]) -> None:
        if method == "destroy" and arguments[0] == "tank/borg/web1":
            cancelled.set()

    vault.zfs.fail = stop
    report = rotate(world(vault, clock))
    assert report.exit is Exit.INTERRUPTED
    assert [of(report, one).message for one in subjects[2:]] == ["not started: interrupted"] * 2
    assert [len(raws(vault, one)) for one in subjects] == [2, 2, 5, 5]
    assert rotate(world(vault, clock)).exit is Exit.INTERRUPTED
    cancelled.clear()
    assert rotate(world(vault, clock)).exit is Exit.OK
    assert [len(raws(vault, one)) for one in subjects] == [2, 2, 2, 2]


def test_a_record_that_cannot_be_read_stops_its_own_dataset_only(vault: LocalVault, clock: Hours) -> None:
    dataset_only(vault, "web1", "web2")
    nights(vault, clock, 5)
    kept = raws(vault, "tank/borg/web1")
    vault.zfs.set(["tank/borg/web1"], {"zborg:target.old": "guid=1"})
    dry = rotate(world(vault, clock), dry_run=True)
    assert sum("zborg:target.old cannot be read" in line for line in dry.plan) == len(kept)
    report = rotate(world(vault, clock))
    assert (report.exit, raws(vault, "tank/borg/web1")) == (Exit.PARTIAL, kept)
    assert raws(vault, "tank/borg/web2") == kept[-2:]
    outcome = of(report, "tank/borg/web1")
    assert outcome.status is Status.FAILED and "'guid=1'" in outcome.message
    assert outcome.remedy == "zfs inherit zborg:target.old tank/borg/web1, then zborg replicate"


def test_a_clone_keeps_its_snapshot_and_no_other(vault: LocalVault, clock: Hours) -> None:
    """README's own `zfs clone tank/borg/web1@... tank/rescue`, and what a killed restore leaves."""
    dataset_only(vault, "web1")
    nights(vault, clock, 6)
    before = raws(vault, "tank/borg/web1")
    vault.zfs.clone(f"tank/borg/web1@{before[1]}", "tank/rescue")
    dry = rotate(world(vault, clock), dry_run=True)
    assert any(before[1] in line and "cloned as tank/rescue" in line for line in dry.plan)
    assert rotate(world(vault, clock)).exit is Exit.OK
    assert raws(vault, "tank/borg/web1") == [before[1], *before[-2:]]


@pytest.mark.parametrize("act", ["hold", "clone"])
def test_what_was_taken_into_use_since_the_plan_is_left_alone(
    vault: LocalVault, clock: Hours, act: str
) -> None:
    dataset_only(vault, "web1")
    nights(vault, clock, 6)
    before = raws(vault, "tank/borg/web1")
    used = f"tank/borg/web1@{before[1]}"

    def use(method: str, arguments: tuple[object, ...]) -> None:
        if (method, arguments) == ("snapshots", ("tank/borg/web1",)):  # the second look
            vault.zfs.fail = None
            vault.zfs.hold("mine", used) if act == "hold" else vault.zfs.clone(used, "tank/rescue")

    vault.zfs.fail = use
    assert rotate(world(vault, clock)).exit is Exit.OK
    assert raws(vault, "tank/borg/web1") == [before[1], *before[-2:]]


def test_rotate_keeps_the_last_good_one_however_old(vault: LocalVault, clock: Hours) -> None:
    vault.add("web1")
    backup(world(vault, clock), Options())
    clock.tick()
    nights(vault, clock, 6)
    good = next(s.raw for s in vault.zfs.snapshots("tank/borg/web1") if s.state is State.OK)
    rotate(world(vault, clock))
    assert good in raws(vault, "tank/borg/web1")


# --- replicate --------------------------------------------------------------------------------------


def test_a_source_that_is_not_there_is_no_reason_to_call_every_copy_kept(
    vault: LocalVault, clock: Hours
) -> None:
    """As with a pool that is not imported; and whoever wants to restore then must not read "no snapshot"."""
    dataset_only(vault, "web1")
    nights(vault, clock, 1)
    replicate(world(vault, clock))
    vault.zfs.pools.clear()
    vault.zfs._all.clear()
    report = replicate(world(vault, clock))
    assert report.exit is Exit.FAILED
    assert "no such pool" in report.outcomes[0].message
    with pytest.raises(ZborgError, match="no such pool"):
        list_snapshots(world(vault, clock), "web1")


def test_replicate_sends_every_snapshot_and_then_nothing(vault: LocalVault, clock: Hours) -> None:
    dataset_only(vault, "web1", "web2")
    nights(vault, clock, 2)
    first = replicate(world(vault, clock))
    assert first.exit is Exit.OK, first.outcomes
    assert of(first, "offsite:vault/zborg/web1").data["streams"] == 2
    assert guids(vault.far, "vault/zborg/web1") == guids(vault.zfs, "tank/borg/web1")
    again = replicate(world(vault, clock))
    assert of(again, "offsite:vault/zborg/web1").message == "up to date"
    nights(vault, clock, 1)
    replicate(world(vault, clock))
    assert guids(vault.far, "vault/zborg/web2") == guids(vault.zfs, "tank/borg/web2")


def test_the_base_is_held_and_survives_rotation(vault: LocalVault, clock: Hours) -> None:
    dataset_only(vault, "web1")
    nights(vault, clock, 1)
    replicate(world(vault, clock))
    (base,) = raws(vault, "tank/borg/web1")
    nights(vault, clock, 5)
    rotate(world(vault, clock))
    assert base in raws(vault, "tank/borg/web1")
    replicate(world(vault, clock))
    newest = raws(vault, "tank/borg/web1")[-1]
    held = vault.zfs.holds([f"tank/borg/web1@{raw}" for raw in raws(vault, "tank/borg/web1")])
    assert [(hold.snapshot, hold.tag) for hold in held] == [(f"tank/borg/web1@{newest}", "zborg:to:offsite")]


def test_a_base_that_is_only_a_bookmark_still_serves(vault: LocalVault, clock: Hours) -> None:
    dataset_only(vault, "web1")
    nights(vault, clock, 1)
    replicate(world(vault, clock))
    (base,) = raws(vault, "tank/borg/web1")
    nights(vault, clock, 1)
    vault.zfs.release("zborg:to:offsite", f"tank/borg/web1@{base}")
    vault.zfs.destroy("tank/borg/web1", [base])
    assert replicate(world(vault, clock)).exit is Exit.OK
    assert len(guids(vault.far, "vault/zborg/web1")) == 2


def test_bookmarks_that_no_target_needs_are_forgotten(
    vault: LocalVault, clock: Hours, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("zborg.steps.sending._BOOKMARKS", 2)
    dataset_only(vault, "web1")
    nights(vault, clock, 5)
    replicate(world(vault, clock))
    mine = raws(vault, "tank/borg/web1")
    behind = next(b for b in vault.zfs.bookmarks("tank/borg/web1") if b.raw == mine[3])
    record = f"source_guid={vault.zfs.datasets('tank/borg/web1')[0].guid} base={behind.guid} flags=lec"
    vault.zfs.set(["tank/borg/web1"], {"zborg:target.slow": record})
    nights(vault, clock, 2)
    replicate(world(vault, clock))
    left = [bookmark.raw for bookmark in vault.zfs.bookmarks("tank/borg/web1")]
    assert left == raws(vault, "tank/borg/web1")[-4:], "the slow target's base, and what is newer"


@pytest.mark.parametrize("kind", ["diverged", "no-common-base", "source-recreated"])
def test_contradictions_are_conflicts_and_touch_nothing(vault: LocalVault, clock: Hours, kind: str) -> None:
    dataset_only(vault, "web1", "web2")
    nights(vault, clock, 1)
    replicate(world(vault, clock))
    if kind == "diverged":
        vault.far.snapshot("vault/zborg/web1", "stranger", {})
    else:
        record = dict(vault.zfs.datasets("tank/borg/web1")[0].properties)
        for raw in raws(vault, "tank/borg/web1"):
            vault.zfs.release("zborg:to:offsite", f"tank/borg/web1@{raw}")
        recreate(vault, "tank/borg/web1")
        if kind == "source-recreated":
            vault.zfs.set(["tank/borg/web1"], record)
    nights(vault, clock, 1)
    before = guids(vault.far, "vault/zborg/web1")
    report = replicate(world(vault, clock))
    outcome = of(report, "offsite:vault/zborg/web1")
    assert report.exit is Exit.CONFLICT
    assert outcome.data["conflict"] == kind
    assert outcome.remedy
    assert guids(vault.far, "vault/zborg/web1") == before
    assert of(report, "offsite:vault/zborg/web2").status is Status.OK
    assert len(guids(vault.far, "vault/zborg/web2")) == 2


def recreate(vault: LocalVault, dataset: str) -> None:
    """`zfs destroy -r` and `zfs create` by somebody in a hurry."""
    vault.zfs._remove(vault.zfs._all[dataset])
    vault.zfs.create(dataset, {})


def test_a_cut_stream_is_resumed_by_the_next_run(vault: LocalVault, clock: Hours) -> None:
    dataset_only(vault, "web1")
    (vault.zfs.directory("tank/borg/web1") / "data").write_bytes(os.urandom(400_000))
    nights(vault, clock, 1)
    cut_next_stream(vault, after=100_000)
    cut = replicate(world(vault, clock))
    assert cut.exit is Exit.FAILED
    assert vault.far.datasets("vault/zborg/web1")[0].resume_token
    resumed = replicate(world(vault, clock))
    assert resumed.exit is Exit.OK, resumed.outcomes
    assert guids(vault.far, "vault/zborg/web1") == guids(vault.zfs, "tank/borg/web1")


def cut_next_stream(vault: LocalVault, after: int) -> None:
    """The network goes after so many bytes of the next stream."""
    real = vault.zfs.send

    def send(stream: Stream, stdout: int) -> Child:
        vault.zfs.send = real  # type: ignore[method-assign]
        reading, writing = os.pipe()
        out = os.dup(stdout)
        child = real(stream, writing)
        os.close(writing)
        threading.Thread(target=copy, args=(reading, out, after)).start()
        return child

    vault.zfs.send = send  # type: ignore[method-assign]


def copy(reading: int, out: int, count: int) -> None:
    while count > 0 and (data := os.read(reading, min(count, 65536))):
        os.write(out, data)
        count -= len(data)
    os.close(out)
    os.close(reading)


@pytest.mark.parametrize("patience", [60, 0])
def test_a_receiver_has_time_after_the_senders_end(
    vault: LocalVault, clock: Hours, monkeypatch: pytest.MonkeyPatch, patience: float
) -> None:
    """A slow line, a full queue, a pool whose last transaction group takes its time."""
    monkeypatch.setattr("zborg.streams._LAST_WORDS", 0)
    monkeypatch.setattr("zborg.steps.transfer._ARRIVING", patience)
    dataset_only(vault, "web1")
    nights(vault, clock, 1)
    slow_receiver(vault, seconds=1.5)
    report = replicate(world(vault, clock))
    if patience:
        assert report.exit is Exit.OK, report.outcomes
    else:
        (outcome,) = report.outcomes
        assert "zfs receive was stopped" in outcome.message
        assert "zborg replicate again" in outcome.remedy


def slow_receiver(vault: LocalVault, seconds: float) -> None:
    """Begins to read long after the sender is done: what it sent is still in the pipe."""

    def receive(dataset: str, stdin: int) -> Child:
        vault.far._begin("receive", dataset)
        source = os.dup(stdin)

        def work(child: FakeChild) -> int:
            child.pause(seconds)
            return vault.far._receive(child, dataset, source)

        return FakeChild(("zfs", "receive", dataset), work)

    vault.far.receive = receive  # type: ignore[method-assign]


def test_a_target_that_was_written_to_is_a_conflict(vault: LocalVault, clock: Hours) -> None:
    dataset_only(vault, "web1", "web2")
    nights(vault, clock, 1)
    replicate(world(vault, clock))
    (last,) = raws(vault, "tank/borg/web1")
    nights(vault, clock, 1)
    (vault.far.directory("vault/zborg/web1") / "note").write_text("by somebody who looked around")
    report = replicate(world(vault, clock))
    outcome = of(report, "offsite:vault/zborg/web1")
    assert (report.exit, outcome.data["conflict"]) == (Exit.CONFLICT, "modified")
    assert f"zfs rollback vault/zborg/web1@{last}" in outcome.remedy
    assert "2 snapshots" in outcome.data["sides"][0] and f"newest @{last}" in outcome.data["sides"][1]
    assert of(report, "offsite:vault/zborg/web2").status is Status.OK


PARTIAL = "cannot receive incremental stream: checksum mismatch or incomplete stream."
FULL = "cannot receive: destination vault/zborg/web1 space quota exceeded."
STALE = 'destination vault/zborg/web1 contains partially-complete state from "zfs receive -s".'
GONE = "cannot open 'tank/borg/web1@a': dataset does not exist"
AGAIN = "zborg replicate again"


@pytest.mark.parametrize(
    ("send", "receive", "message", "remedy"),
    [
        (("ssh", 255, ""), ("ssh", 1, FULL), "zfs receive failed", "zfs get -r quota"),
        (("zfs", -13, ""), ("ssh", 1, "x: out of space"), "zfs receive failed", "zfs list -o space"),
        (("zfs", -13, ""), ("ssh", 1, "x: permission denied"), "zfs receive failed", "delegate"),
        (("zfs", -13, ""), ("ssh", 1, STALE), "zfs receive failed", "try again later"),
        (("zfs", -13, ""), ("ssh", 1, "never seen"), "zfs receive failed: never seen", AGAIN),
        (("zfs", -13, ""), ("ssh", 255, "Timeout"), "lost the connection to the target: Timeout", AGAIN),
        (("ssh", 255, "reset"), ("ssh", 1, PARTIAL), "lost the connection to the storage: reset", AGAIN),
        (("zfs", 1, GONE), ("ssh", 1, PARTIAL), "zfs send failed", "zfs list"),
        (("zfs", 1, GONE), ("ssh", -15, ""), "zfs send failed", "zfs list"),
        (("zfs", -13, ""), ("ssh", -15, ""), "zfs receive was stopped", AGAIN),
        (("zfs", 0, ""), ("ssh", 1, PARTIAL), "zfs receive failed", AGAIN),
    ],
)
def test_a_failed_stream_names_the_end_that_is_to_blame_and_the_mend(
    vault: LocalVault, clock: Hours, send: Ending, receive: Ending, message: str, remedy: str
) -> None:
    dataset_only(vault, "web1")
    nights(vault, clock, 1)
    vault.zfs.send = lambda stream, stdout: ending(*send)  # type: ignore[method-assign]
    vault.far.receive = lambda dataset, stdin: ending(*receive)  # type: ignore[method-assign]
    (outcome,) = replicate(world(vault, clock)).outcomes
    assert outcome.status is Status.FAILED
    assert outcome.message.startswith(message)
    assert remedy in outcome.remedy


Ending = tuple[str, int, str]  # what was run, its status, its words


def ending(command: str, status: int, words: str) -> FakeChild:
    def work(child: FakeChild) -> int:
        child.say(words)
        return status

    return FakeChild((command, "..."), work)


def test_a_dry_run_ends_as_its_conflicts_would(vault: LocalVault, clock: Hours) -> None:
    dataset_only(vault, "web1", "web2")
    nights(vault, clock, 1)
    assert replicate(world(vault, clock), dry_run=True).exit is Exit.OK
    replicate(world(vault, clock))
    vault.far.snapshot("vault/zborg/web1", "stranger", {})
    nights(vault, clock, 1)
    dry = replicate(world(vault, clock), dry_run=True)
    assert (dry.exit, dry.outcomes) == (Exit.CONFLICT, ())
    assert any("CONFLICT diverged" in line for line in dry.plan)


def test_a_dataset_without_a_snapshot_is_no_good_outcome(vault: LocalVault, clock: Hours) -> None:
    dataset_only(vault, "web1")
    report = replicate(world(vault, clock))
    (outcome,) = report.outcomes
    assert (report.exit, outcome.status, outcome.message) == (Exit.OK, Status.SKIPPED, "no snapshot yet")


def test_a_copy_that_is_kept_is_shown_and_makes_nothing_partial(vault: LocalVault, clock: Hours) -> None:
    dataset_only(vault, "web1")
    vault.far.create("vault/zborg/old", {})
    nights(vault, clock, 1)
    cut_next_stream(vault, after=100)
    failed = replicate(world(vault, clock))
    assert (failed.exit, of(failed, "offsite:vault/zborg/old").status) == (Exit.FAILED, Status.WARNING)
    fine = replicate(world(vault, clock))
    assert (fine.exit, fine.status) == (Exit.OK, Status.WARNING)


def nested(vault: LocalVault, clock: Hours) -> None:
    """web1 with a child, and the first stream of web1 cut on its way."""
    dataset_only(vault, "web1")
    vault.zfs.create("tank/borg/web1/sub", {})
    (vault.zfs.directory("tank/borg/web1") / "data").write_bytes(os.urandom(400_000))
    nights(vault, clock, 1)
    cut_next_stream(vault, after=100_000)


def test_a_child_waits_for_its_parents_first_stream(vault: LocalVault, clock: Hours) -> None:
    nested(vault, clock)
    cut = replicate(world(vault, clock))
    assert cut.exit is Exit.FAILED
    child = of(cut, "offsite:vault/zborg/web1/sub")
    assert (child.status, child.message[:9]) == (Status.FAILED, "not begun"), child
    assert "zborg:target.offsite" not in vault.zfs.datasets("tank/borg/web1/sub")[0].properties
    (gone,) = raws(vault, "tank/borg/web1")
    vault.zfs.release("zborg:to:offsite", f"tank/borg/web1@{gone}")
    vault.zfs.destroy("tank/borg/web1", [gone])
    nights(vault, clock, 1)
    mended = replicate(world(vault, clock))
    assert mended.exit is Exit.OK, mended.outcomes
    assert guids(vault.far, "vault/zborg/web1/sub") == guids(vault.zfs, "tank/borg/web1/sub")


def test_a_cut_first_stream_above_other_datasets_says_the_way_out(vault: LocalVault, clock: Hours) -> None:
    nested(vault, clock)
    replicate(world(vault, clock))
    vault.far.create("vault/zborg/web1/sub", {})
    vault.zfs.release("zborg:to:offsite", vault.zfs.snapshots("tank/borg/web1")[0].full)
    vault.zfs.destroy("tank/borg/web1", raws(vault, "tank/borg/web1"))
    nights(vault, clock, 1)
    parent = of(replicate(world(vault, clock)), "offsite:vault/zborg/web1")
    assert "cannot be given up" in parent.message
    assert "zfs rename" in parent.remedy


def during_the_first_stream(vault: LocalVault, act: Callable[[], object]) -> None:
    """What others do while the first dataset is sent, which may take days."""

    def once(method: str, arguments: tuple[object, ...]) -> None:
        if method == "receive":
            vault.far.fail = None
            act()

    vault.far.fail = once


def test_a_plan_is_made_again_when_a_datasets_turn_comes(vault: LocalVault, clock: Hours) -> None:
    """Meanwhile a rotation may have destroyed what the first plan names."""
    dataset_only(vault, "web1", "web2")
    nights(vault, clock, 5)
    during_the_first_stream(vault, lambda: rotate(world(vault, clock)))
    report = replicate(world(vault, clock))
    assert report.exit is Exit.OK, report.outcomes
    assert guids(vault.far, "vault/zborg/web2") == guids(vault.zfs, "tank/borg/web2")
    assert len(guids(vault.far, "vault/zborg/web1")) == 5, "its lock kept the rotation away"


def test_a_conflict_that_appears_during_the_run_is_one(vault: LocalVault, clock: Hours) -> None:
    dataset_only(vault, "web1", "web2", "web3")
    nights(vault, clock, 1)
    replicate(world(vault, clock))
    nights(vault, clock, 1)

    def meddle() -> None:
        vault.far.snapshot("vault/zborg/web2", "stranger", {})
        vault.zfs._remove(vault.zfs._all["tank/borg/web3"])

    during_the_first_stream(vault, meddle)
    report = replicate(world(vault, clock))
    assert report.exit is Exit.CONFLICT
    assert of(report, "offsite:vault/zborg/web2").data["conflict"] == "diverged"
    assert "is gone since" in of(report, "offsite:vault/zborg/web3").message


def test_only_a_dataset_with_work_is_listed_again(vault: LocalVault, clock: Hours) -> None:
    dataset_only(vault, "web1", "web2")
    nights(vault, clock, 1)
    replicate(world(vault, clock))
    vault.zfs.snapshot("tank/borg/web2", "zborg_2026-03-01T000000Z", {})
    listed: list[object] = []
    vault.zfs.fail = lambda method, given: listed.append(given[0]) if method == "datasets" else None
    assert replicate(world(vault, clock)).exit is Exit.OK
    assert listed == ["tank/borg", "tank/borg/web2"]


@pytest.fixture
def sent(vault: LocalVault) -> Iterator[list[str]]:
    """The snapshots whose stream was started."""
    started: list[str] = []
    real = vault.zfs.send

    def send(stream: Stream, stdout: int) -> Child:
        started.append(stream.snapshot)
        return real(stream, stdout)

    vault.zfs.send = send  # type: ignore[method-assign]
    yield started
    cancelled.clear()


def test_an_interrupted_replication_begins_nothing_more(
    vault: LocalVault, clock: Hours, sent: list[str]
) -> None:
    dataset_only(vault, "web1", "web2")
    nights(vault, clock, 1)
    context = world(vault, clock)
    (target,) = context.config.targets
    two = replace(context.config, targets=(target, replace(target, name="other")))
    slow_receiver(vault, seconds=60)
    vault.far.fail = lambda method, _: cancelled.set() if method == "receive" else None
    report = replicate(replace(context, config=two))
    assert report.exit is Exit.INTERRUPTED
    assert {one.subject: one.message for one in report.outcomes} == {
        "offsite:vault/zborg/web1": "interrupted",
        "offsite:vault/zborg/web2": "not started: interrupted",
        "other": "not started: interrupted",
    }
    assert len(sent) == 1
    assert "zborg:target.offsite" not in vault.zfs.datasets("tank/borg/web2")[0].properties


def test_an_interrupted_dataset_ends_with_the_stream_that_arrived(
    vault: LocalVault, clock: Hours, sent: list[str]
) -> None:
    dataset_only(vault, "web1")
    nights(vault, clock, 3)
    vault.zfs.fail = lambda method, _: cancelled.set() if method == "bookmark" else None
    report = replicate(world(vault, clock))
    assert (report.exit, len(sent)) == (Exit.INTERRUPTED, 1)
    assert report.outcomes[0].message == "interrupted after 1 stream"


def test_a_target_that_does_not_exist_is_told_with_the_command_that_makes_it(
    vault: LocalVault, clock: Hours
) -> None:
    dataset_only(vault, "web1")
    nights(vault, clock, 1)
    context = world(vault, clock)
    (target,) = context.config.targets
    lost = replace(context.config, targets=(replace(target, dataset="vault/nowhere"),))
    report = replicate(replace(context, config=lost))
    assert report.exit is Exit.FAILED
    assert "zfs create" in report.outcomes[0].remedy
    with pytest.raises(UsageError, match="no such target"):
        replicate(context, ["nowhere"])


def test_what_the_target_says_it_has_decides(vault: LocalVault, clock: Hours) -> None:
    """A receive that ends with 0 but brought something else must not become the base."""
    dataset_only(vault, "web1")
    nights(vault, clock, 1)
    context = world(vault, clock)
    blind = Blind(context)
    report = replicate(replace(context, zfs_of=lambda _: blind.far))
    assert report.exit is Exit.FAILED
    assert "the target shows no snapshot" in report.outcomes[0].message
    record = vault.zfs.datasets("tank/borg/web1")[0].properties["zborg:target.offsite"]
    assert "base=-" in record


class Blind:
    """A target whose snapshots are gone the moment they arrived."""

    def __init__(self, context: Context) -> None:
        (target,) = context.config.targets
        self.far = context.zfs_of(target)
        self.far.snapshots = lambda root: ()  # type: ignore[method-assign]


# --- restore ----------------------------------------------------------------------------------------


def test_a_lost_file_comes_back_from_the_chosen_snapshot(vault: LocalVault, clock: Hours) -> None:
    host = vault.add("web1")
    lost = host.data / "file"
    context = world(vault, clock)
    backup(context, Options())
    clock.tick()
    snapshot(context)
    first = raws(vault, "tank/borg/web1")[0]
    clock.tick()
    lost.write_text("changed since")
    backup(context, Options())
    clock.tick()
    snapshot(context)
    lost.unlink()
    clock.tick()
    refused = restore_files(context, "web1", [str(lost)], first)
    assert refused.exit is Exit.FAILED
    allow, again = refused.outcomes[0].data["commands"]
    assert f"--allow-restore {first}" in allow
    assert again == f"zborg restore files web1 {lost} --at {first}"
    assert f"    {allow}" in [line.text for line in render(refused)], "whole, to be copied"
    host.local("--allow-restore", first, "1000000", str(lost)).check_returncode()
    clock.tick()
    report = restore_files(context, "web1", [str(lost)], first)
    assert report.exit is Exit.OK, report.outcomes
    back = Path(report.outcomes[0].data["restored"]) / str(lost).lstrip("/")
    assert back.read_text() == "of web1"
    assert not lost.exists()
    assert [d.name for d in vault.zfs.datasets("tank") if d.name.count("/") > 1 and "scratch" in d.name] == []


def test_a_path_that_is_not_in_the_archive_is_a_failed_restore(vault: LocalVault, clock: Hours) -> None:
    """The agent ends with 101 then, which among borg's own statuses would be a mere warning."""
    host = vault.add("web1")
    context = world(vault, clock)
    backup(context, Options())
    clock.tick()
    snapshot(context)
    raw = raws(vault, "tank/borg/web1")[0]
    host.local("--allow-restore", raw, "1000000", "/nope").check_returncode()
    clock.tick()
    report = restore_files(context, "web1", ["/nope"], raw)
    assert report.exit is Exit.FAILED
    assert "a path is not in the archive" in report.outcomes[0].message


def test_a_restore_that_borg_warns_of_is_partial_and_says_where(vault: LocalVault, clock: Hours) -> None:
    """A warning may be a file that could not be written: no good end, and no reason to hide the rest."""
    host = vault.add("web1")
    context = world(vault, clock)
    backup(context, Options())
    clock.tick()
    snapshot(context)
    (raw,) = raws(vault, "tank/borg/web1")
    host.setup("web1", [host.data], borg=warning_borg(host))
    host.local("--allow-restore", raw, "1000000", str(host.data)).check_returncode()
    clock.tick()
    report = restore_files(context, "web1", [str(host.data)], "")
    (outcome,) = report.outcomes
    assert (report.exit, outcome.status) == (Exit.PARTIAL, Status.PARTIAL), outcome
    assert "borg warned" in outcome.message
    back = Path(outcome.data["restored"]) / str(host.data / "file").lstrip("/")
    assert back.read_text() == "of web1"


def warning_borg(host: BackedUpHost) -> str:
    """The real borg, whose good end becomes one with a warning."""
    wrapper = host.directory / "warning-borg"
    wrapper.write_text(f'#!/bin/sh\n{find_borg()} "$@" || exit\nexit 105\n')
    wrapper.chmod(0o755)
    return str(wrapper)


def test_the_exported_key_opens_a_copy_of_the_repository_elsewhere(vault: LocalVault, clock: Hours) -> None:
    """As README, "The host is gone", has it: nothing of the host is used but its export."""
    host = vault.add("web1")
    backup(world(vault, clock), Options())
    export = host.local("--key-export").stdout
    passphrase = export.partition("# Passphrase:\n")[2].splitlines()[0]
    rescue = vault.directory / "rescue"
    rescue.mkdir()
    (rescue / "web1.export").write_text(export)
    shutil.copytree(vault.zfs.directory("tank/borg/web1"), rescue / "web1")
    script = f"""
        sed -n '/^BORG_KEY/,$p' web1.export > web1.key
        {find_borg()} key import {rescue}/web1 web1.key
        {find_borg()} extract {rescue}/web1::$({find_borg()} list --short {rescue}/web1)
    """
    env = {"PATH": os.environ["PATH"], "BORG_BASE_DIR": str(rescue / "base"), "BORG_PASSPHRASE": passphrase}
    subprocess.run(["sh", "-eu", "-c", script], cwd=rescue, env=env, check=True, stdin=subprocess.DEVNULL)
    assert (rescue / str(host.data / "file").lstrip("/")).read_text() == "of web1"


def test_a_clone_that_a_killed_restore_left_is_cleared(vault: LocalVault, clock: Hours) -> None:
    host = vault.add("web1")
    context = world(vault, clock)
    backup(context, Options())
    clock.tick()
    snapshot(context)
    raw = raws(vault, "tank/borg/web1")[0]
    vault.zfs.clone(f"tank/borg/web1@{raw}", "tank/zborg-scratch/20260101T000000Z-dead/web1")
    host.local("--allow-restore", raw, "1000000", str(host.data)).check_returncode()
    clock.tick()
    assert restore_files(context, "web1", [str(host.data)], "").exit is Exit.OK
    assert [d.name for d in vault.zfs.datasets("tank") if d.name.endswith("/web1")] == ["tank/borg/web1"]


def test_restore_list_shows_every_snapshot_with_its_state(vault: LocalVault, clock: Hours) -> None:
    dataset_only(vault, "web1")
    with pytest.raises(UsageError, match="no snapshot of web1"):
        list_snapshots(world(vault, clock), "web1")
    nights(vault, clock, 2)
    report = list_snapshots(world(vault, clock), "web1")
    assert [outcome.subject for outcome in report.outcomes] == raws(vault, "tank/borg/web1")


@pytest.mark.parametrize(
    ("typed", "utc"),
    [("2026-01-15", "22:59:59"), ("2026-07-15", "21:59:59"), ("2026-01-15T03:15", "02:15:00")],
)
def test_a_local_time_is_that_of_its_own_day(
    vault: LocalVault, clock: Hours, monkeypatch: pytest.MonkeyPatch, typed: str, utc: str
) -> None:
    """Asked in summer for a day in winter, and the other way round."""
    dataset_only(vault, "web1")
    nights(vault, clock, 1)
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    try:
        with pytest.raises(UsageError, match=f"at or before {typed[:10]}T{utc}Z"):
            restore_files(world(vault, clock), "web1", ["/etc"], typed)
    finally:
        monkeypatch.undo()
        time.tzset()


def test_relative_paths_and_unknown_hosts_are_refused(vault: LocalVault, clock: Hours) -> None:
    dataset_only(vault, "web1")
    with pytest.raises(UsageError, match="not an absolute path"):
        restore_files(world(vault, clock), "web1", ["etc/passwd"], "")
    with pytest.raises(UsageError, match="no such host"):
        restore_files(world(vault, clock), "nobody", ["/etc"], "")


# --- scrub, status, run -----------------------------------------------------------------------------


def scrubbed(vault: LocalVault, clock: Hours, scrub_state: Scrub = Scrub.FINISHED, **changes: object) -> None:
    for zfs, name in ((vault.zfs, "tank"), (vault.far, "vault")):
        fine = replace(zfs.pools[name], scrub=scrub_state, finished=clock.now, **changes)  # type: ignore[arg-type]
        zfs.pools[name] = fine


def test_scrub_tells_never_fresh_overdue_and_damaged_apart(vault: LocalVault, clock: Hours) -> None:
    never = scrub(world(vault, clock))
    assert (never.exit, never.outcomes[0].message) == (Exit.FAILED, "never scrubbed")
    scrubbed(vault, clock)
    clock.tick()
    assert scrub(world(vault, clock)).exit is Exit.OK
    clock.tick(100)
    assert scrub(world(vault, clock)).exit is Exit.FAILED
    scrubbed(vault, clock, errors=2)
    clock.tick()
    assert scrub(world(vault, clock)).exit is Exit.DAMAGE


def test_scrub_warns_of_a_failing_disk(vault: LocalVault, clock: Hours) -> None:
    scrubbed(vault, clock, device_errors=7)
    report = scrub(world(vault, clock))
    assert (report.exit, report.status) == (Exit.OK, Status.WARNING)
    assert "7 read, write or checksum errors" in of(report, "tank").message
    assert of(report, "tank").data["device_errors"] == 7
    assert "zpool clear" in of(report, "tank").remedy


def test_status_tells_overdue_hosts_from_saved_facts(vault: LocalVault, clock: Hours) -> None:
    vault.add("web1")
    dataset_only(vault, "never")
    context = world(vault, clock)
    scrubbed(vault, clock)
    night(context, allow_partial=True)
    report = saved(context.config, context.runs, context.locks, clock.now)
    assert of(report, "web1").status is Status.OK
    assert "never backed up" in of(report, "never").message
    assert report.exit is Exit.FAILED
    late = saved(context.config, context.runs, context.locks, clock.now + timedelta(hours=5))
    assert "overdue" in of(late, "web1").message


def shown(vault: LocalVault, clock: Hours, subject: str) -> Outcome:
    context = world(vault, clock)
    return of(saved(context.config, context.runs, context.locks, clock.now), subject)


def test_status_calls_nothing_good_that_has_grown_old(vault: LocalVault, clock: Hours) -> None:
    dataset_only(vault, "web1")
    for step in ("snapshot", "rotate", "replicate offsite", "scrub"):
        assert (shown(vault, clock, step).status, shown(vault, clock, step).message) == (
            Status.FAILED,
            "never run",
        )
    scrubbed(vault, clock)
    night(world(vault, clock))
    clock.tick(20)
    for step in ("snapshot", "rotate", "replicate offsite", "scrub"):
        assert shown(vault, clock, step).status is Status.OK
    clock.tick(400 * 24)
    for step in ("snapshot", "rotate", "replicate offsite"):
        assert shown(vault, clock, step).message.startswith("overdue: the limit is 24 hours; 400 days ago")
    assert "scrub overdue" in shown(vault, clock, "tank").message


def test_status_judges_a_pool_by_what_it_has_become_since(vault: LocalVault, clock: Hours) -> None:
    """Seen once a day after a scrub was canceled: a warning then, overdue when nothing followed."""
    dataset_only(vault, "web1")
    scrubbed(vault, clock, scrub_state=Scrub.CANCELED)
    clock.tick()
    assert scrub(world(vault, clock)).status is Status.WARNING
    assert shown(vault, clock, "tank").status is Status.WARNING
    assert "2 of 2 good" in shown(vault, clock, "scrub").message
    clock.tick(48)
    assert shown(vault, clock, "tank").status is Status.FAILED
    assert "no scrub followed" in shown(vault, clock, "offsite:vault").message


@pytest.mark.parametrize(("status", "code"), [(76, Exit.CONFLICT), (2, Exit.OK)])
def test_an_alarm_of_a_host_is_one_in_status_too(
    vault: LocalVault, clock: Hours, status: int, code: Exit
) -> None:
    """However young its last good backup is; a plain failure meanwhile is a warning."""
    host = vault.add("web1")
    scrubbed(vault, clock)
    night(world(vault, clock))
    clock.tick(0.5)
    host.agent.write_text(f"#!/bin/sh\necho 'zborg-agent: refused' >&2\nexit {status}\n")
    backup(world(vault, clock), Options())
    context = world(vault, clock)
    report = saved(context.config, context.runs, context.locks, clock.now)
    assert report.exit is code, report.outcomes
    assert "last good backup 30 minutes ago; the last try" in of(report, "web1").message


def test_status_tells_each_target_by_its_own_last_run(vault: LocalVault, clock: Hours) -> None:
    dataset_only(vault, "web1")
    snapshot(world(vault, clock))
    context = world(vault, clock)
    (target,) = context.config.targets
    two = replace(context.config, targets=(target, replace(target, name="other", dataset="vault/nowhere")))
    context = replace(context, config=two)
    replicate(context, ["other"])
    clock.tick()
    replicate(context, ["offsite"])
    found = saved(two, context.runs, context.locks, clock.now)
    assert of(found, "replicate other").status is Status.FAILED
    assert of(found, "replicate offsite").status is Status.OK


def test_a_run_that_was_refused_hides_nothing(vault: LocalVault, clock: Hours) -> None:
    dataset_only(vault, "web1", "web2")
    snapshot(world(vault, clock))
    backup(world(vault, clock), Options())
    clock.tick()
    with world(vault, clock).locks.hold("snapshot"):
        assert snapshot(world(vault, clock)).status is Status.BUSY
    backup(world(vault, clock), Options(exclude=["web1"]))
    assert shown(vault, clock, "snapshot").status is Status.OK
    assert "the last try failed" in shown(vault, clock, "web1").message


def test_status_tells_who_is_at_work(vault: LocalVault, clock: Hours) -> None:
    dataset_only(vault, "web1", "web2")
    context = world(vault, clock)
    with context.locks.hold("host-web1"):
        report = saved(context.config, context.runs, context.locks, clock.now)
    assert f"(pid {os.getpid()})" in of(report, "web1").message
    assert "at work" not in of(report, "web2").message
    after = saved(context.config, context.runs, context.locks, clock.now)
    assert "at work" not in of(after, "web1").message


def test_run_goes_on_after_a_partial_backup_and_ends_with_the_worst_code(
    vault: LocalVault, clock: Hours
) -> None:
    vault.add("web1")
    dataset_only(vault, "dead")
    scrubbed(vault, clock)
    report = night(world(vault, clock))
    assert report.exit is Exit.PARTIAL
    assert {outcome.data.get("step") for outcome in report.outcomes} >= {
        "backup",
        "snapshot",
        "rotate",
        "replicate",
        "scrub",
    }
    assert guids(vault.far, "vault/zborg/web1") == guids(vault.zfs, "tank/borg/web1")
    vault.far.snapshot("vault/zborg/web1", "stranger", {})
    clock.tick()
    assert night(world(vault, clock), allow_partial=True).exit is Exit.CONFLICT


@pytest.mark.parametrize("step", [snapshot, rotate, replicate, scrub])
def test_a_step_that_cannot_begin_leaves_a_report(
    vault: LocalVault, clock: Hours, step: Callable[[Context], Report]
) -> None:
    """Or status would go on showing the last good one, and older only by a night."""
    dataset_only(vault, "web1")
    context = world(vault, clock)
    scrubbed(vault, clock)
    night(context)
    for zfs in (vault.zfs, vault.far):
        zfs.pools.clear()
        zfs._all.clear()
    clock.tick()
    report = step(world(vault, clock))
    assert report.exit is Exit.FAILED
    assert all("no such pool" in one.message and one.remedy for one in report.outcomes), report.outcomes
    line = "replicate offsite" if step is replicate else report.command
    shown = of(saved(context.config, context.runs, context.locks, clock.now), line)
    assert shown.status is Status.FAILED
    step(world(vault, clock), dry_run=True)  # type: ignore[call-arg]  # they all have it
    assert context.runs.newest(report.command) == report


def test_a_backup_without_its_pool_fails_every_host(vault: LocalVault, clock: Hours) -> None:
    dataset_only(vault, "web1", "web2")
    vault.zfs.pools.clear()
    vault.zfs._all.clear()
    report = backup(world(vault, clock), Options())
    assert report.exit is Exit.FAILED
    assert {one.subject for one in report.outcomes} == {"web1", "web2"}
    assert "no such pool" in of(report, "web1").message
    shown = saved(vault.config, vault.context().runs, vault.context().locks, clock.now)
    assert "the last try failed" in of(shown, "web1").message


def test_a_bug_in_one_step_is_not_the_end_of_the_night(
    vault: LocalVault, clock: Hours, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset_only(vault, "web1")
    scrubbed(vault, clock)

    def broken(*_: object) -> None:
        raise RuntimeError("odd")

    monkeypatch.setattr("zborg.steps.rotate.plan_rotation", broken)
    report = night(world(vault, clock))
    assert report.exit is Exit.BUG
    assert guids(vault.far, "vault/zborg/web1") == guids(vault.zfs, "tank/borg/web1")
    assert shown(vault, clock, "rotate").status is Status.FAILED


def test_dry_run_changes_nothing(vault: LocalVault, clock: Hours) -> None:
    dataset_only(vault, "web1")
    nights(vault, clock, 4)
    before = (vault.zfs.snapshots("tank"), vault.zfs.datasets("tank"), vault.far.datasets("vault"))
    report = night(world(vault, clock), dry_run=True)
    assert report.plan
    assert (vault.zfs.snapshots("tank"), vault.zfs.datasets("tank"), vault.far.datasets("vault")) == before


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ([], ""),
        (["web1-2026-02-12T144933Z"], "web1-2026-02-12T144933Z"),
        (["web1-2026-02-12T144933Z", "web1-by-hand", "before-upgrade"], "web1-2026-02-12T144933Z"),
        (["web1-2026-02-12T144933Z", "web1-2026-02-13T144933Z"], "web1-2026-02-13T144933Z"),
        (["web11-2026-02-12T144933Z", "zborg_2026-02-12T144933Z", "web1-2026-02-30T144933Z"], ""),
        (["\ud800", "web1-2026-02-12T144933Z\n"], ""),
    ],
)
def test_the_newest_archive_is_the_last_that_zborg_made(names: list[str], expected: str) -> None:
    assert _newest_archive({"archives": [{"name": name} for name in names]}, "web1") == expected


def test_an_archive_list_may_be_anything() -> None:
    odd: list[dict[str, object]] = [
        {},
        {"archives": 7},
        {"archives": [None, 3, {}]},
        {"archives": {"name": "x"}},
    ]
    for listing in odd:
        assert _newest_archive(listing, "web1") == ""


def test_paths_are_asked_for_once_and_by_the_outermost() -> None:
    assert _outermost(["/etc", "/etc/nginx", "/etc", "/etcetera", "/var/"]) == ["/etc", "/etcetera", "/var"]
