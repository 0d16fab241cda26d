"""Snapshots that another tool took of a copy: recognised, named, and destroyed alone by what is printed."""

from __future__ import annotations

import shlex

import pytest

from tests.harness.steps import replicate
from tests.harness.worlds.local import LocalVault
from tests.harness.worlds.steps import Hours, dataset_only, nights, snapnames, world
from zborg.errors import Exit
from zborg.model import Outcome, SnapshotName
from zborg.model.text.remedy import parse
from zborg.planning.replicate.foreign_snapshots import tool_of, tools_of
from zborg.steps.context import Context

COPY = "vault/zborg/web1"
SANOID = "autosnap_2026-02-12_14:49:33_hourly"


@pytest.mark.unit
@pytest.mark.parametrize(
    ("raw", "tool"),
    [
        (SANOID, "sanoid"),
        ("autosnap_2026-02-12_14:49:33_frequently", "sanoid"),
        ("syncoid_vault_2026-02-12:14:49:33-GMT01:00", "syncoid"),
        ("syncoid_job1_vault.example.net_2026-02-12:14:49:33", "syncoid"),
        ("zrepl_20260212_144933_000", "zrepl"),
        ("zfs-auto-snap_hourly-2026-02-12-1449", "zfs-auto-snapshot"),
        ("zfs-auto-snap_frequent-2026-02-12-14h45U", "zfs-auto-snapshot"),
        ("2026-02-12-144933", "znapzend"),
        ("pyznap_2026-02-12_14:49:33_daily", "pyznap"),
        ("bzfs_2026-02-12_14:49:33_daily", "bzfs"),
        ("auto-2026-02-12_14-49", "TrueNAS"),
        ("2026-02-12_14.49.33--2w", "zfsnap"),
        ("__replicate_100-0_1770907773__", "Proxmox VE"),
        ("offsite1-20260212144933", "zfs-autobackup"),
        ("before the upgrade", ""),
        ("autosnap", ""),
        ("zborg_2026-02-12T144933Z", ""),
    ],
)
def test_a_tool_is_known_by_the_names_it_gives(raw: str, tool: str) -> None:
    assert tool_of(raw) == tool


def test_zborg_takes_no_name_of_its_own_for_a_stranger_s(clock: Hours) -> None:
    assert not tool_of(str(SnapshotName.of(clock.now)))
    assert tools_of([SANOID, "by hand", SANOID]) == ("sanoid",)


@pytest.fixture
def sent(vault: LocalVault, clock: Hours) -> Context:
    """Two nights are on the target, a third is not."""
    dataset_only(vault, "web1")
    nights(vault, clock, 2)
    context = world(vault, clock)
    assert replicate(context).exit is Exit.OK
    nights(vault, clock, 1)
    return world(vault, clock)


def conflict(context: Context) -> Outcome:
    report = replicate(context)
    assert report.exit is Exit.CONFLICT, report.outcomes
    (found,) = (one for one in report.outcomes if one.subject == f"offsite:{COPY}")
    return found


def typed(vault: LocalVault, line: str) -> None:
    """`zfs destroy DATASET@A,B` and the loop that releases, on the in-memory target."""
    words = shlex.split(line)
    if words[:2] == ["zfs", "destroy"]:
        dataset, _, several = words[2].partition("@")
        there = {one.snapname: one.guid for one in vault.far.snapshots(dataset)}
        assert len(words) == 3 and set(several.split(",")) <= set(there), line
        vault.far.destroy(dataset, {raw: there[raw] for raw in several.split(",")})
    else:
        assert words[:3] == ["zfs", "holds", "-H"] and "release" in words, line
        for hold in vault.far.holds([words[3]]):
            vault.far.release(hold.tag, words[3])


@pytest.mark.parametrize(
    ("names", "who"),
    [
        ([SANOID], "sanoid took 1 snapshot"),
        (
            [SANOID, "zrepl_20260212_144933_000", SANOID.replace("33", "34")],
            "sanoid and zrepl took 3 snapshots",
        ),
        (["before the upgrade"], "somebody other than zborg took 1 snapshot"),
        (["a b", SANOID], "sanoid took 2 snapshots"),
    ],
)
def test_just_these_are_destroyed_by_what_is_printed(
    vault: LocalVault, sent: Context, names: list[str], who: str
) -> None:
    before = snapnames(vault, "tank/borg/web1")[:2]
    for raw in names:
        vault.far.snapshot(COPY, raw, {})
    found = conflict(sent)
    assert who in found.message and found.data["conflict"] == "foreign-snapshots"
    sentence, commands = parse(found.remedy)
    assert sentence.startswith("on offsite, as root,") and len(commands) == 1
    typed(vault, commands[0])
    assert [one.snapname for one in vault.far.snapshots(COPY)] == before, "nothing of zborg's went"
    assert replicate(sent).exit is Exit.OK


def test_a_foreign_hold_is_released_first(vault: LocalVault, sent: Context) -> None:
    vault.far.snapshot(COPY, "zrepl_20260212_144933_000", {})
    vault.far.hold("zrepl_last_received_J_pull", f"{COPY}@zrepl_20260212_144933_000")
    commands = parse(conflict(sent).remedy)[1]
    assert len(commands) == 2
    for line in commands:
        typed(vault, line)
    assert replicate(sent).exit is Exit.OK


def test_a_snapshot_of_zborg_s_is_never_among_them(vault: LocalVault, sent: Context) -> None:
    """Another zborg sends there too: its snapshots are somebody's backups."""
    vault.far.snapshot(COPY, SANOID, {})
    vault.far.snapshot(COPY, "zborg_2020-01-01T000000Z", {})
    found = conflict(sent)
    assert found.data["conflict"] == "diverged" and "zfs destroy" not in found.remedy


def test_a_name_beside_the_copy_is_free(vault: LocalVault, sent: Context) -> None:
    """What was set aside before stays where it is, and the next run sends all again."""
    vault.far.create(f"{COPY}-aside", {})
    vault.zfs.set(
        ["tank/borg/web1"], {"zborg:target.offsite": f"source_guid={guid(vault)} base=- flags=raw-lec"}
    )
    found = conflict(sent)
    assert parse(found.remedy) == ("on offsite, as root:", (f"zfs rename -u {COPY} {COPY}-aside1",))


def guid(vault: LocalVault) -> str:
    return next(one.guid for one in vault.zfs.datasets("tank/borg/web1"))
