"""replicate between two in-memory ZFS: streams, bases, cuts and conflicts."""

from __future__ import annotations

import os
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from tests.harness.fake_zfs.child import FakeChild
from tests.harness.fake_zfs.zfs import FakeZfs
from tests.harness.worlds.local import LocalVault
from tests.harness.worlds.steps import Hours, dataset_only, destroy, guids, nights, of, raws, world
from zborg.errors import CommandFailed, Exit, UsageError, ZborgError
from zborg.interrupt import cancelled
from zborg.model import P_RUN, P_STATE, P_TRANSACTION, Child, Dataset, Status, Stream
from zborg.model.storage.zfs import P_LABEL
from zborg.model.text.remedy import parse
from zborg.steps.context import Context
from zborg.steps.replicate.step import replicate
from zborg.steps.restore.listing import list_snapshots
from zborg.steps.rotate.step import rotate


@pytest.fixture(autouse=True)
def one_after_another(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a test knows whose turn it is; several at once are in test_replicate_targets."""
    monkeypatch.setattr("zborg.steps.replicate.step._AT_ONCE", 1)


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


def test_what_zfs_encrypts_is_sent_raw_and_never_otherwise(vault: LocalVault, clock: Hours) -> None:
    vault.zfs.create("tank/borg/web1", {"encryption": "on"})
    nights(vault, clock, 2)
    assert replicate(world(vault, clock)).exit is Exit.OK
    (source,), (copy,) = vault.zfs.datasets("tank/borg/web1"), vault.far.datasets("vault/zborg/web1")
    record = source.properties["zborg:target.offsite"]
    assert copy.encrypted and record.endswith("flags=raw-lec")
    nights(vault, clock, 1)
    vault.zfs.set([source.name], {"zborg:target.offsite": record.replace("raw-lec", "lec")})
    report = replicate(world(vault, clock))
    assert (report.exit, report.outcomes[0].data["conflict"]) == (Exit.CONFLICT, "flags-changed")
    assert len(guids(vault.far, copy.name)) == 2


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
    destroy(vault.zfs, "tank/borg/web1", base)
    assert replicate(world(vault, clock)).exit is Exit.OK
    assert len(guids(vault.far, "vault/zborg/web1")) == 2


def test_bookmarks_that_no_target_needs_are_forgotten(
    vault: LocalVault, clock: Hours, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("zborg.steps.replicate.dataset._BOOKMARKS", 2)
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


@pytest.mark.parametrize("kind", ["foreign-snapshots", "no-common-base", "source-recreated"])
def test_contradictions_are_conflicts_and_touch_nothing(vault: LocalVault, clock: Hours, kind: str) -> None:
    dataset_only(vault, "web1", "web2")
    nights(vault, clock, 1)
    replicate(world(vault, clock))
    if kind == "foreign-snapshots":
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
        vault.zfs.send = real  # type: ignore[method-assign]  # for this test
        reading, writing = os.pipe()
        out = os.dup(stdout)
        child = real(stream, writing)
        os.close(writing)
        threading.Thread(target=copy, args=(reading, out, after)).start()
        return child

    vault.zfs.send = send  # type: ignore[method-assign]  # for this test


def copy(reading: int, out: int, count: int) -> None:
    while count > 0 and (data := os.read(reading, min(count, 65536))):
        os.write(out, data)
        count -= len(data)
    os.close(out)
    os.close(reading)


def test_each_copy_is_marked_as_its_source_is(vault: LocalVault, clock: Hours) -> None:
    """No stream brings properties, and whoever restores from the copy asks which one was good."""
    dataset_only(vault, "web1")
    nights(vault, clock, 2)
    old, new = raws(vault, "tank/borg/web1")
    marks = {P_RUN: "20260212T144933Z-4f3a", P_STATE: "ok", P_TRANSACTION: "17"}
    vault.zfs.set([f"tank/borg/web1@{old}"], marks | {"zborg:mine": "not theirs"})
    replicate(world(vault, clock))
    first, second = vault.far.snapshots("vault/zborg/web1")
    assert first.properties == marks
    assert second.properties == vault.zfs.snapshots("tank/borg/web1")[1].properties and new == second.raw


def test_the_next_run_sets_the_marks_that_a_killed_one_did_not(vault: LocalVault, clock: Hours) -> None:
    dataset_only(vault, "web1")
    nights(vault, clock, 1)
    (source,) = vault.zfs.snapshots("tank/borg/web1")
    vault.far.fail = marks_are_refused
    replicate(world(vault, clock))
    nights(vault, clock, 1)
    report = replicate(world(vault, clock))
    assert report.exit is Exit.FAILED and "permission denied" in report.outcomes[0].message
    assert len(guids(vault.far, "vault/zborg/web1")) == 2, "they keep no stream from coming"
    vault.far.fail = None
    assert replicate(world(vault, clock)).exit is Exit.OK
    first, second = vault.far.snapshots("vault/zborg/web1")
    assert first.properties == {} and second.properties[P_RUN] != source.properties[P_RUN]
    asked: list[str] = []
    vault.far.fail = lambda method, _: asked.append(method)
    assert replicate(world(vault, clock)).exit is Exit.OK
    assert "set" not in asked, "nothing is missing, and nothing is asked"


def marks_are_refused(method: str, _: object) -> None:
    if method == "set":
        raise CommandFailed(("zfs", "set"), 1, "cannot set property: permission denied")


def test_what_a_sink_will_not_give_up_keeps_no_other_dataset(vault: LocalVault, clock: Hours) -> None:
    dataset_only(vault, "web1", "web2")
    (vault.zfs.directory("tank/borg/web1") / "data").write_bytes(os.urandom(400_000))
    nights(vault, clock, 1)
    cut_next_stream(vault, after=100_000)
    replicate(world(vault, clock), ["offsite"])
    (lost,) = raws(vault, "tank/borg/web1")
    vault.zfs.release("zborg:to:offsite", f"tank/borg/web1@{lost}")
    destroy(vault.zfs, "tank/borg/web1", lost)
    nights(vault, clock, 1)
    vault.far.fail = sink_refuses
    report = replicate(world(vault, clock))
    left, done = (of(report, f"offsite:vault/zborg/{name}") for name in ("web1", "web2"))
    assert (report.exit, left.status, done.status) == (Exit.PARTIAL, Status.FAILED, Status.OK)
    assert f"@{lost} is gone from the source" in left.message and "lets no sender give one up" in left.message
    assert "zborg rotate" in left.remedy


def sink_refuses(method: str, _: object) -> None:
    if method == "abort_receive":
        words = "zborg: refused by the sink: a sender gives nothing up"
        raise CommandFailed(("zfs", "receive", "-A"), 4, words)


@pytest.mark.parametrize("patience", [60, 0])
def test_a_receiver_has_time_after_the_senders_end(
    vault: LocalVault, clock: Hours, monkeypatch: pytest.MonkeyPatch, patience: float
) -> None:
    """A slow line, a full queue, a pool whose last transaction group takes its time."""
    monkeypatch.setattr("zborg.streams._LAST_WORDS", 0)
    monkeypatch.setattr("zborg.steps.replicate.stream._ARRIVING", patience)
    dataset_only(vault, "web1")
    nights(vault, clock, 1)
    slow_receiver(vault, seconds=1.5)
    report = replicate(world(vault, clock))
    if patience:
        assert report.exit is Exit.OK, report.outcomes
    else:
        (outcome,) = report.outcomes
        assert "zfs receive was stopped" in outcome.message
        assert parse(outcome.remedy)[1] == ("zborg replicate",)


def slow_receiver(vault: LocalVault, seconds: float) -> None:
    """Begins to read long after the sender is done: what it sent is still in the pipe."""

    def receive(dataset: str, stdin: int) -> Child:
        vault.far._begin("receive", dataset)
        source = os.dup(stdin)

        def work(child: FakeChild) -> int:
            child.pause(seconds)
            return vault.far._receive(child, dataset, source)

        return FakeChild(("zfs", "receive", dataset), work)

    vault.far.receive = receive  # type: ignore[method-assign]  # for this test


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
AGAIN = "zborg replicate"


@pytest.mark.parametrize(
    ("send", "receive", "message", "remedy"),
    [
        (("ssh", 255, ""), ("ssh", 1, FULL), "offsite did not take", "zfs get -r -s local quota,"),
        (("zfs", -13, ""), ("ssh", 1, "x: out of space"), "offsite did not take", "zpool list vault"),
        (
            ("zfs", -13, ""),
            ("ssh", 1, "x: permission denied"),
            "offsite did not take",
            "zfs allow vault/zborg",
        ),
        (("zfs", -13, ""), ("ssh", 1, STALE), "offsite did not take", "zborg replicate offsite"),
        (("zfs", -13, ""), ("ssh", 1, "never seen"), "zfs receive failed (on the target): never seen", AGAIN),
        (("zfs", -13, ""), ("ssh", 255, "Timeout"), "lost the connection to the target: Timeout", AGAIN),
        (("ssh", 255, "reset"), ("ssh", 1, PARTIAL), "lost the connection to the storage: reset", AGAIN),
        (("zfs", 1, GONE), ("ssh", 1, PARTIAL), "zfs send failed", "zfs list"),
        (("zfs", 1, GONE), ("ssh", -15, ""), "zfs send failed", "zfs list"),
        (("zfs", -13, ""), ("ssh", -15, ""), "zfs receive was stopped", AGAIN),
        (("zfs", 0, ""), ("ssh", 1, PARTIAL), "offsite did not take", AGAIN),
    ],
)
def test_a_failed_stream_names_the_end_that_is_to_blame_and_the_mend(
    vault: LocalVault, clock: Hours, send: Ending, receive: Ending, message: str, remedy: str
) -> None:
    dataset_only(vault, "web1")
    nights(vault, clock, 1)
    vault.zfs.send = lambda stream, stdout: ending(*send)  # type: ignore[method-assign]  # for this test
    vault.far.receive = lambda dataset, stdin: ending(*receive)  # type: ignore[method-assign]  # for this test
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
    assert any("CONFLICT foreign-snapshots" in line for line in dry.plan)


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


def test_a_target_that_lists_thousands_of_datasets_fills_no_report(vault: LocalVault, clock: Hours) -> None:
    """Its word is all there is for them, and each report is kept: in files, the history and the mail."""
    dataset_only(vault, "web1")
    nights(vault, clock, 1)
    real = vault.far.datasets

    def flood(root: str) -> tuple[Dataset, ...]:
        made = (Dataset(f"vault/zborg/{n} $(x)", str(9**9 + n), False, None, 0, 0) for n in range(3000))
        return (*real(root), *made)

    vault.far.datasets = flood  # type: ignore[method-assign]  # for this test
    report = replicate(world(vault, clock))
    assert (report.exit, report.status) == (Exit.OK, Status.WARNING)
    kept = [one for one in report.outcomes if one.status is Status.WARNING]
    assert len(kept) == 101 and len(report.plan) < 110
    assert "2900 more" in kept[-1].message and "2900 more" in report.plan[-1]
    assert "zfs destroy -r 'vault/zborg/0 $(x)'" in kept[0].remedy


def test_a_mark_that_somebody_has_spoilt_keeps_no_copy_back(vault: LocalVault, clock: Hours) -> None:
    """A sink refuses what no zborg writes, and the good marks in the same command with it."""
    dataset_only(vault, "web1")
    nights(vault, clock, 4)
    for one in vault.zfs.snapshots("tank/borg/web1"):
        vault.zfs.set([one.full], {P_LABEL: "two words"})

    def sink(method: str, what: object) -> None:
        if method == "set" and "two words" in str(what):
            raise CommandFailed(("zfs", "set"), 4, "refused by the sink: is no mark of a snapshot")

    vault.far.fail = sink
    assert replicate(world(vault, clock)).exit is Exit.OK
    copies = vault.far.snapshots("vault/zborg/web1")
    assert len(copies) == 4 and all(P_RUN in one.properties for one in copies)


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
    destroy(vault.zfs, "tank/borg/web1", gone)
    nights(vault, clock, 1)
    mended = replicate(world(vault, clock))
    assert mended.exit is Exit.OK, mended.outcomes
    assert guids(vault.far, "vault/zborg/web1/sub") == guids(vault.zfs, "tank/borg/web1/sub")


def test_a_cut_first_stream_above_other_datasets_says_the_way_out(vault: LocalVault, clock: Hours) -> None:
    nested(vault, clock)
    replicate(world(vault, clock))
    vault.far.create("vault/zborg/web1/sub", {})
    vault.zfs.release("zborg:to:offsite", vault.zfs.snapshots("tank/borg/web1")[0].full)
    destroy(vault.zfs, "tank/borg/web1", *raws(vault, "tank/borg/web1"))
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
    assert of(report, "offsite:vault/zborg/web2").data["conflict"] == "foreign-snapshots"
    assert "is gone since" in of(report, "offsite:vault/zborg/web3").message


@pytest.mark.parametrize("fresh", [True, False])
def test_only_a_dataset_with_work_whose_turn_comes_late_is_listed_again(
    vault: LocalVault, clock: Hours, monkeypatch: pytest.MonkeyPatch, fresh: bool
) -> None:
    dataset_only(vault, "web1", "web2")
    nights(vault, clock, 1)
    replicate(world(vault, clock))
    vault.zfs.snapshot("tank/borg/web2", "zborg_2026-03-01T000000Z", {})
    listed: list[object] = []
    vault.zfs.fail = lambda method, given: listed.append(given[0]) if method == "datasets" else None
    if not fresh:
        monkeypatch.setattr("zborg.steps.replicate.endpoints._FRESH", 0)
    assert replicate(world(vault, clock)).exit is Exit.OK
    assert listed == ["tank/borg", *([] if fresh else ["tank/borg/web2"])]


def calls(zfs: FakeZfs) -> Counter[str]:
    """From now on counts the calls of each method."""
    made: Counter[str] = Counter()
    zfs.fail = lambda method, _: made.update([method])
    return made


@pytest.mark.parametrize("count", [2, 7])
def test_what_a_replication_asks_of_both_sides(vault: LocalVault, clock: Hours, count: int) -> None:
    """Without news always the same; with news one list of each kind per pool, and holds in one go."""
    dataset_only(vault, *(f"web{number}" for number in range(count)))
    nights(vault, clock, 1)
    replicate(world(vault, clock))
    near, far = calls(vault.zfs), calls(vault.far)
    replicate(world(vault, clock))
    listings = {"datasets": 1, "snapshots": 1}
    assert near == listings | {"bookmarks": 1} and far == listings
    vault.zfs.fail = vault.far.fail = None
    nights(vault, clock, 1)
    near, far = calls(vault.zfs), calls(vault.far)
    assert replicate(world(vault, clock)).exit is Exit.OK
    each = {"send": count, "bookmark": count, "set": count}
    assert near == listings | {"bookmarks": 1, "hold": 1, "release": 1} | each
    assert far == listings | {"receive": count, "guid": count, "set": count}


def test_holds_are_placed_before_the_first_stream_and_the_replaced_ones_let_go(
    vault: LocalVault, clock: Hours
) -> None:
    dataset_only(vault, "web1", "web2")
    nights(vault, clock, 1)
    replicate(world(vault, clock))
    nights(vault, clock, 1)
    newest = [f"tank/borg/{name}@{raws(vault, f'tank/borg/{name}')[-1]}" for name in ("web1", "web2")]
    seen: list[set[str]] = []
    during_the_first_stream(vault, lambda: seen.append(held(vault)))
    replicate(world(vault, clock))
    assert set(newest) < seen[0]
    assert held(vault) == set(newest)


def held(vault: LocalVault) -> set[str]:
    return {one.full for one in vault.zfs.snapshots("tank/borg") if one.holds}


@pytest.fixture
def sent(vault: LocalVault) -> Iterator[list[str]]:
    """The snapshots whose stream was started."""
    started: list[str] = []
    real = vault.zfs.send

    def send(stream: Stream, stdout: int) -> Child:
        started.append(stream.snapshot)
        return real(stream, stdout)

    vault.zfs.send = send  # type: ignore[method-assign]  # for this test
    yield started
    cancelled.clear()


def test_an_interrupted_replication_begins_nothing_more(
    vault: LocalVault, clock: Hours, sent: list[str]
) -> None:
    dataset_only(vault, "web1", "web2")
    nights(vault, clock, 1)
    slow_receiver(vault, seconds=60)
    vault.far.fail = lambda method, _: cancelled.set() if method == "receive" else None
    report = replicate(world(vault, clock))
    assert report.exit is Exit.INTERRUPTED
    assert {one.subject: one.message for one in report.outcomes} == {
        "offsite:vault/zborg/web1": "interrupted",
        "offsite:vault/zborg/web2": "not started: interrupted",
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
    assert "the target shows no such snapshot" in report.outcomes[0].message
    record = vault.zfs.datasets("tank/borg/web1")[0].properties["zborg:target.offsite"]
    assert "base=-" in record


class Blind:
    """A target whose snapshots are gone the moment they arrived."""

    def __init__(self, context: Context) -> None:
        (target,) = context.config.targets
        self.far = context.zfs_of(target)
        self.far.guid = lambda snapshot: ""  # type: ignore[method-assign]  # for this test
