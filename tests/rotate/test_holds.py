"""Holds: what their tags say, which are stale, and how they are placed and let go."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.harness.steps import list_holds, place_holds, release_hold, release_stale, replicate, rotate
from tests.harness.worlds.local import LocalVault
from tests.harness.worlds.steps import Hours, dataset_only, nights, snapnames, world
from zborg.errors import Exit, UsageError
from zborg.model import P_TARGET, Hold, Outcome, Snapshot, Status
from zborg.model.ledger.sealed import Living
from zborg.planning.replicate.facts import Recorded
from zborg.planning.rotate.hold_tags import OWN, Facts, Held, Tag, judge_holds, keep_tag
from zborg.state.ledger.compactions import Begun, CompactionRecords, Compactions
from zborg.steps.ledger.begun import folder_of
from zborg.steps.rotate.holds import Placing
from zborg.zfs.names import tag as checked

NOW = datetime(2026, 11, 24, 7, tzinfo=UTC)
WEB = "tank/borg/web1"


def snap(txg: int) -> Snapshot:
    return Snapshot(WEB, f"s{txg}", str(100 + txg), txg, NOW - timedelta(days=100 - txg), 0, 1)


def judged(tag: str, txg: int = 1, base: int | None = None, targets: tuple[str, ...] = ("offsite",)) -> Held:
    """One hold on one of nine snapshots; `base` is what the target was sent last."""
    records = {(WEB, "offsite"): Recorded("1", str(100 + base) if base else None)}
    facts = Facts([snap(one) for one in range(1, 10)], targets, records if base else {}, NOW)
    (held,) = judge_holds([Hold(f"{WEB}@s{txg}", tag, NOW - timedelta(days=3))], facts)
    return held


@pytest.mark.unit
@given(st.from_regex(r"[a-z0-9][a-z0-9_.-]{0,30}", fullmatch=True), st.none() | st.dates())
def test_a_tag_is_read_as_it_was_written_and_zfs_takes_it(owner: str, until: date | None) -> None:
    text = keep_tag(owner, until)
    assert Tag.parse(text) == Tag(OWN.get(owner, "kept by hand"), owner, until)
    assert checked(text) == text


@pytest.mark.unit
@given(st.text() | st.from_regex(r"zborg:(to|keep):.*"))
def test_any_other_tag_is_somebody_elses_and_never_stale(text: str) -> None:
    held = judged(text, targets=())
    if held.tag.purpose == "not zborg's":
        assert not held.stale


@pytest.mark.unit
@pytest.mark.parametrize("owner", ["", "Ops", "-a", "a:b", "a b", "x" * 32, "é"])
def test_an_owner_that_would_break_the_tag_is_refused(owner: str) -> None:
    with pytest.raises(ValueError, match="owner"):
        keep_tag(owner, None)


@pytest.mark.unit
@pytest.mark.parametrize(
    ("tag", "txg", "base", "because"),
    [
        ("zborg:to:offsite", 3, 3, ""),
        ("zborg:to:offsite", 4, 3, ""),  # on its way
        ("zborg:to:offsite", 2, 3, "has got a newer base"),
        ("zborg:to:offsite", 2, None, ""),  # no record: nothing is known
        ("zborg:to:elsewhere", 2, 3, "no target elsewhere"),
        ("zborg:keep:ops:-", 1, 3, ""),
        ("zborg:keep:ops:2026-11-24", 1, 3, ""),  # its last day
        ("zborg:keep:ops:2026-11-23", 1, 3, "until 2026-11-23"),
        ("zborg:keep:ops:2026-02-30", 1, 3, ""),
        (".send-1234-1", 1, 3, ""),
    ],
)
def test_what_is_stale(tag: str, txg: int, base: int | None, because: str) -> None:
    held = judged(tag, txg, base)
    assert because in held.stale if because else not held.stale


# --- the steps, on the in-memory ZFS ---------------------------------------------------------------------


@pytest.fixture
def kept(vault: LocalVault, clock: Hours) -> LocalVault:
    """Two hosts, three nights."""
    dataset_only(vault, "web1", "web2")
    nights(vault, clock, 3)
    return vault


def by_subject(outcomes: tuple[Outcome, ...]) -> dict[str, Outcome]:
    return {outcome.subject: outcome for outcome in outcomes}


def test_a_placed_hold_is_listed_and_keeps_its_snapshot_from_rotation(kept: LocalVault, clock: Hours) -> None:
    first = snapnames(kept, WEB)[0]
    context = world(kept, clock)
    placing = Placing(first, ["web1"], "ops", date(2026, 12, 31))
    assert place_holds(context, placing, dry_run=True).plan == (
        f"hold {WEB}@{first} as zborg:keep:ops:2026-12-31",
    )
    assert list_holds(context).outcomes[0].message == "nothing is held"
    assert place_holds(context, placing).exit is Exit.OK
    rotate(context)  # keeps the last two
    assert first in snapnames(kept, WEB)
    assert first not in snapnames(kept, "tank/borg/web2")
    (shown,) = list_holds(context).outcomes
    assert shown.subject == f"{WEB}@{first}"
    assert "until 2026-12-31" in shown.message
    assert (shown.data["purpose"], shown.data["owner"]) == ("kept by hand", "ops")


@pytest.mark.parametrize("owner", OWN)
def test_a_hold_of_zborg_s_own_has_its_purpose_and_its_command(
    kept: LocalVault, clock: Hours, owner: str
) -> None:
    context, first = world(kept, clock), f"{WEB}@{snapnames(kept, WEB)[0]}"
    kept.zfs.hold(keep_tag(owner, None), first)
    (shown,) = list_holds(context).outcomes
    assert shown.message.startswith(f"zborg:keep:{owner}:-; {OWN[owner]}, ")
    assert shown.message.endswith(f"; placed by {owner}")
    assert (shown.data["purpose"], shown.data["owner"]) == (OWN[owner], owner)
    with pytest.raises(UsageError, match="zborg's own"):
        place_holds(context, Placing(snapnames(kept, WEB)[0], ["web1"], owner))


def test_what_undoes_an_interrupted_compaction_is_not_stale(kept: LocalVault, clock: Hours) -> None:
    context, (first, *_) = world(kept, clock), snapnames(kept, WEB)
    kept.zfs.hold(keep_tag("compact", date(2026, 1, 1)), f"{WEB}@{first}")
    assert list_holds(context).outcomes[0].status is Status.WARNING
    records = CompactionRecords(folder_of(context.config))
    records.directory.mkdir()
    records.put("web1", Compactions(begun=Begun("run", first, "1", Living(0, 0, "", 0))))
    assert release_stale(context).outcomes[0].message == "nothing is stale"
    records.path("web1").write_text("{")
    assert release_stale(context).outcomes[0].message == "nothing is stale", "it is not known"
    records.put("web1", Compactions())
    assert release_stale(context).outcomes[0].subject == f"{WEB}@{first}"


@pytest.mark.parametrize("day", [date(2020, 1, 1), date(1, 1, 1), date(2026, 2, 11)])
def test_a_hold_that_would_be_over_at_once_is_refused(kept: LocalVault, clock: Hours, day: date) -> None:
    context = world(kept, clock)
    newest = snapnames(kept, WEB)[-1]
    yesterday = clock.now.date() - timedelta(days=1)
    for past in (day, yesterday):
        with pytest.raises(UsageError, match=f"{past} is past"):
            place_holds(context, Placing(newest, ["web1"], "ops", past))
    assert not kept.zfs.holds([f"{WEB}@{newest}"])
    today = Placing(newest, ["web1"], "ops", clock.now.date())
    assert place_holds(context, today).exit is Exit.OK
    assert not any(one.status is Status.WARNING for one in list_holds(context).outcomes)


def test_releasing_takes_exactly_the_hold_that_is_named(kept: LocalVault, clock: Hours) -> None:
    first, second, _ = snapnames(kept, WEB)
    context = world(kept, clock)
    for raw in (first, second):
        place_holds(context, Placing(raw, ["web1"], "ops"))
    for snapshot, tag in ((f"{WEB}@{first}", "other"), ("tank/else@s", "zborg:keep:ops:-"), ("x", "y")):
        with pytest.raises(UsageError, match="no hold"):
            release_hold(context, snapshot, tag)
    assert release_hold(context, f"{WEB}@{first}", "zborg:keep:ops:-").exit is Exit.OK
    assert [outcome.subject for outcome in list_holds(context).outcomes] == [f"{WEB}@{second}"]


def test_only_the_stale_are_released_together(kept: LocalVault, clock: Hours) -> None:
    context = world(kept, clock)
    assert replicate(context).exit is Exit.OK
    first, second, third = snapnames(kept, WEB)
    kept.zfs.hold("zborg:to:gone", f"{WEB}@{first}")
    kept.zfs.hold("zborg:to:offsite", f"{WEB}@{first}")  # a killed run's
    kept.zfs.hold("somebody", f"{WEB}@{second}")
    over = keep_tag("ops", date(2026, 1, 1))
    context.storage.zfs.hold(over, f"{WEB}@{second}")
    listed = [outcome for outcome in list_holds(context).outcomes if outcome.status is Status.WARNING]
    assert len(listed) == 3 and {outcome.remedy for outcome in listed} == {"zborg holds release --stale"}
    assert len(release_stale(context, dry_run=True).plan) == 3
    report = release_stale(context)
    assert report.exit is Exit.OK and len(report.outcomes) == 3
    left = {
        (hold.snapshot, hold.tag)
        for hold in kept.zfs.holds([f"{WEB}@{raw}" for raw in (first, second, third)])
    }
    assert left == {(f"{WEB}@{second}", "somebody"), (f"{WEB}@{third}", "zborg:to:offsite")}
    assert release_stale(context).outcomes[0].message == "nothing is stale"
    assert replicate(context).exit is Exit.OK, "its base is still there"


def test_a_record_that_cannot_be_read_makes_nothing_stale(kept: LocalVault, clock: Hours) -> None:
    context = world(kept, clock)
    kept.zfs.hold("zborg:to:offsite", f"{WEB}@{snapnames(kept, WEB)[0]}")
    kept.zfs.set([WEB], {f"{P_TARGET}offsite": "rubbish"})
    assert release_stale(context).outcomes[0].message == "nothing is stale"


def test_a_dataset_at_work_keeps_its_holds(kept: LocalVault, clock: Hours) -> None:
    context = world(kept, clock)
    kept.zfs.hold("zborg:to:gone", f"{WEB}@{snapnames(kept, WEB)[0]}")
    with context.locks.hold("dataset-tank:borg:web1"):
        report = release_stale(context)
    assert report.exit is Exit.LOCKED
    assert len(list_holds(context).outcomes) == 1
