"""replicate between two in-memory ZFS: streams that fail or are cut, targets that refuse, interruptions."""

from __future__ import annotations

import os

import pytest

from tests.harness.fake_zfs.child import FakeChild
from tests.harness.steps import replicate
from tests.harness.worlds.local import LocalVault
from tests.harness.worlds.replicas import cut_next_stream, marks_are_refused, sink_refuses, slow_receiver
from tests.harness.worlds.steps import Hours, dataset_only, destroy, guids, nights, of, snapnames, world
from zborg.errors import Exit
from zborg.interrupt import cancelled
from zborg.model import P_RUN, Status
from zborg.model.text.remedy import parse

pytestmark = pytest.mark.usefixtures("one_after_another")


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


def test_what_a_sink_will_not_give_up_keeps_no_other_dataset(vault: LocalVault, clock: Hours) -> None:
    dataset_only(vault, "web1", "web2")
    (vault.zfs.directory("tank/borg/web1") / "data").write_bytes(os.urandom(400_000))
    nights(vault, clock, 1)
    cut_next_stream(vault, after=100_000)
    replicate(world(vault, clock), ["offsite"])
    (lost,) = snapnames(vault, "tank/borg/web1")
    vault.zfs.release("zborg:to:offsite", f"tank/borg/web1@{lost}")
    destroy(vault.zfs, "tank/borg/web1", lost)
    nights(vault, clock, 1)
    vault.far.fail = sink_refuses
    report = replicate(world(vault, clock))
    left, done = (of(report, f"offsite:vault/zborg/{name}") for name in ("web1", "web2"))
    assert (report.exit, left.status, done.status) == (Exit.PARTIAL, Status.FAILED, Status.OK)
    assert f"@{lost} is gone from the source" in left.message and "lets no sender give one up" in left.message
    assert "zborg rotate" in left.remedy


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


def test_a_target_that_was_written_to_is_a_conflict(vault: LocalVault, clock: Hours) -> None:
    dataset_only(vault, "web1", "web2")
    nights(vault, clock, 1)
    replicate(world(vault, clock))
    (last,) = snapnames(vault, "tank/borg/web1")
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
    (gone,) = snapnames(vault, "tank/borg/web1")
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
    destroy(vault.zfs, "tank/borg/web1", *snapnames(vault, "tank/borg/web1"))
    nights(vault, clock, 1)
    parent = of(replicate(world(vault, clock)), "offsite:vault/zborg/web1")
    assert "cannot be given up" in parent.message
    assert "zfs rename" in parent.remedy


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
