"""Findings about pools and hosts: each state has its own word, level and command."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zborg.model import Dataset, Finding, Pool, Scrub, Status
from zborg.model.machines import Fullness
from zborg.model.text.remedy import parse
from zborg.model.text.units import duration, size
from zborg.planning.observe.damage import damaged_in
from zborg.planning.observe.health import (
    SKEW,
    arrival_finding,
    capacity_findings,
    host_findings,
    scrub_findings,
)

pytestmark = pytest.mark.unit

NOW = datetime(2026, 2, 12, 14, 49, 33, tzinfo=UTC)
MAX_AGE = 35 * 86_400
TANK = Pool("tank", "ONLINE", Scrub.FINISHED, NOW - timedelta(days=3), 0, 0, 0.0, 1_000, 500)


def ago(**parts: float) -> datetime:
    return NOW - timedelta(**parts)


def the_scrub(pool: Pool) -> Finding:
    (finding,) = scrub_findings([pool], MAX_AGE, NOW)
    return finding


@pytest.mark.parametrize(
    ("scrub", "finished", "level", "words"),
    [
        (Scrub.FINISHED, ago(days=3), Status.OK, "scrubbed 3 days ago"),
        (Scrub.FINISHED, ago(seconds=MAX_AGE), Status.OK, "scrubbed 35 days ago"),
        (
            Scrub.FINISHED,
            ago(days=40),
            Status.FAILED,
            "scrub overdue: the last ended 40 days ago, the limit is 35 days",
        ),
        (Scrub.FINISHED, None, Status.WARNING, "the last scrub ended at an unknown time"),
        (Scrub.NEVER, None, Status.FAILED, "never scrubbed"),
        (Scrub.RUNNING, None, Status.OK, "scrub running, 42% done"),
        *[
            row
            for scrub, words in (
                (Scrub.CANCELED, "the last scrub was canceled or paused"),
                (Scrub.HIDDEN, "the last scrub is hidden by a resilver or an error scrub"),
            )
            for row in (
                (scrub, None, Status.WARNING, words),
                (scrub, ago(days=3), Status.WARNING, f"{words} 3 days ago"),
                (scrub, ago(seconds=MAX_AGE), Status.WARNING, f"{words} 35 days ago"),
                (scrub, ago(days=40), Status.FAILED, f"{words} 40 days ago and no scrub followed"),
            )
        ],
    ],
)
def test_each_state_of_a_scrub_has_its_own_words(
    scrub: Scrub, finished: datetime | None, level: Status, words: str
) -> None:
    finding = the_scrub(replace(TANK, scrub=scrub, finished=finished, done=0.42))
    remedy = "" if level is Status.OK else "zpool scrub tank"
    assert finding == Finding("tank", level, words, remedy)


@pytest.mark.parametrize("scrub", [Scrub.FINISHED, Scrub.CANCELED, Scrub.HIDDEN])
def test_a_scrub_that_is_still_to_come_is_the_clocks_fault(scrub: Scrub) -> None:
    assert the_scrub(replace(TANK, scrub=scrub, finished=ago(seconds=-SKEW))).level is not Status.FAILED
    finding = the_scrub(replace(TANK, scrub=scrub, finished=ago(seconds=-SKEW - 1)))
    assert finding.level is Status.FAILED and "clock" in finding.message


@pytest.mark.parametrize(
    ("sick", "level", "words"),
    [
        (replace(TANK, health="DEGRADED"), Status.FAILED, "the pool is DEGRADED"),
        (replace(TANK, errors=1), Status.DAMAGED, "1 data error"),
        (replace(TANK, errors=7), Status.DAMAGED, "7 data errors"),
        (
            replace(TANK, repaired=4_096),
            Status.WARNING,
            "the last scrub repaired 4.0 KiB: a disk may be failing",
        ),
    ],
)
def test_a_pool_that_is_not_well_is_reported_beside_its_scrub(sick: Pool, level: Status, words: str) -> None:
    first, second = scrub_findings([sick], MAX_AGE, NOW)
    assert first == Finding("tank", level, words, "zpool status -v tank")
    assert second.level is Status.OK


def test_a_disk_that_fails_while_its_pool_is_online_is_told() -> None:
    """Redundancy repairs what it gets wrong, so that all else about the pool looks fine."""
    failing, scrubbed = scrub_findings([replace(TANK, device_errors=539)], MAX_AGE, NOW)
    message = "one device shows 539 read, write or checksum errors: a disk may be failing"
    assert failing == Finding("tank", Status.WARNING, message, failing.remedy)
    assert parse(failing.remedy)[1] == ("zpool status -v tank", "zpool clear tank")
    assert scrubbed.level is Status.OK


def test_damage_during_a_running_scrub_is_not_hidden_by_it() -> None:
    pool = replace(TANK, scrub=Scrub.RUNNING, errors=2, health="FAULTED")
    levels = [finding.level for finding in scrub_findings([pool], MAX_AGE, NOW)]
    assert levels == [Status.FAILED, Status.DAMAGED, Status.OK]


@given(st.integers(1, 10**15), st.integers(0, 10**15))
def test_a_pool_warns_above_four_fifths(total: int, free: int) -> None:
    pool = replace(TANK, size=total, free=min(free, total))
    assert bool(capacity_findings([pool], Fullness())) is (5 * pool.free < total)


def test_the_capacity_finding_names_the_share_and_the_command() -> None:
    pools = [replace(TANK, free=90), replace(TANK, size=0, free=0)]
    assert capacity_findings(pools, Fullness()) == (
        Finding(
            "tank",
            Status.WARNING,
            "91.0% of the pool is used, more than 80%",
            "zfs list -r -o space tank",
        ),
    )


def test_a_pool_that_is_all_but_full_is_an_error_and_the_limits_can_be_moved() -> None:
    levels = [
        [f.level for f in capacity_findings([replace(TANK, free=free)], limits)]
        for free, limits in (
            (50, Fullness()),
            (49, Fullness()),
            (49, Fullness(80, 100)),
            (49, Fullness(98, 99)),
            (0, Fullness(100, 100)),
        )
    ]
    assert levels == [[Status.WARNING], [Status.FAILED], [Status.WARNING], [], []]


def test_hosts_are_good_overdue_or_never_backed_up() -> None:
    last_good = {"web1": ago(hours=25), "mail": ago(hours=30), "db": None, "gone": ago(days=900)}
    limits = {"web1": 26 * 3_600, "mail": 26 * 3_600, "db": 3_600, "new": 3_600}
    assert host_findings(last_good, limits, {}, NOW) == (
        Finding("web1", Status.OK, "last good backup 25 hours ago"),
        Finding(
            "mail",
            Status.FAILED,
            "backup overdue: the last good one is 30 hours old, the limit is 26 hours",
            "zborg backup mail",
        ),
        Finding("db", Status.FAILED, "never backed up", "zborg backup db"),
        Finding("new", Status.FAILED, "never backed up", "zborg backup new"),
    )


def test_a_backup_from_the_future_is_not_good() -> None:
    (finding,) = host_findings({"web1": ago(days=-1)}, {"web1": 3_600}, {}, NOW)
    assert finding.level is Status.FAILED and finding.remedy == "date -u"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0 seconds"), (1, "1 second"), (119, "119 seconds"), (120, "2 minutes"), (7_199, "119 minutes")]
    + [(93_600, "26 hours"), (172_799, "47 hours"), (172_800, "2 days"), (3_024_000, "35 days")],
)
def test_durations_have_at_least_two_of_their_unit(seconds: int, words: str) -> None:
    assert duration(seconds) == words


@pytest.mark.parametrize(
    ("number", "words"),
    [(0, "0 bytes"), (1, "1 byte"), (1_023, "1023 bytes"), (1_024, "1.0 KiB"), (734_003_200, "700.0 MiB")]
    + [(2**50, "1.0 PiB"), (2**63, "8192.0 PiB")],
)
def test_sizes_are_binary(number: int, words: str) -> None:
    assert size(number) == words


# --- where damage is --------------------------------------------------------------------------------------


def mounted(name: str, mountpoint: str | None) -> Dataset:
    return Dataset(name, "1", mountpoint is not None, mountpoint, 0, 0)


def test_damaged_files_are_told_by_host() -> None:
    datasets = [
        mounted("tank/borg", "/tank/borg"),
        mounted("tank/borg/web1", "/tank/borg/web1"),
        mounted("tank/borg/web11", "/srv/web11"),
        mounted("tank/borg/mail", None),
    ]
    files = [
        "/tank/borg/web1/data/0/3",
        "tank/borg/web1@zborg_2026-02-12T144933Z:/data/0/3",
        "tank/borg/mail:<0x1a>",
        "/srv/web11/config",
        "/tank/borg/stray",
        "tank/other:/x",
        "<metadata>:<0x0>",
        "/elsewhere/x",
    ]
    assert damaged_in(files, datasets, "tank/borg") == (
        "web1 (2 files)",
        "mail (1 file)",
        "web11 (1 file)",
        "tank/borg (1 file)",
        "tank/other (1 file)",
        "the pool's own metadata (1 file)",
        "/elsewhere/x (1 file)",
    )


def test_damage_and_ailing_devices_are_named_and_long_lists_are_cut() -> None:
    hosts = tuple(f"h{number} (1 file)" for number in range(7))
    pool = replace(
        TANK, health="DEGRADED", errors=7, device_errors=3, devices=("sda FAULTED, 3 errors",), damaged=hosts
    )
    health, damage, device, _ = scrub_findings([pool], MAX_AGE, NOW)
    assert health.message == "the pool is DEGRADED (sda FAULTED, 3 errors)"
    assert damage.message == (
        "7 data errors, in h0 (1 file), h1 (1 file), h2 (1 file), h3 (1 file), h4 (1 file) and 2 more"
    )
    assert "(sda FAULTED, 3 errors)" in device.message


def test_what_was_never_done_is_pending_until_it_is_due() -> None:
    limit = 86_400
    for first, level in (
        (NOW, Status.PENDING),
        (ago(seconds=limit - 1), Status.PENDING),
        (ago(seconds=limit), Status.FAILED),
        (NOW + timedelta(seconds=SKEW + 1), Status.FAILED),
        (None, Status.FAILED),
    ):
        (host,) = host_findings({}, {"web1": limit}, {"web1": first}, NOW)
        arrived = arrival_finding("vault/zborg", {}, limit, NOW, first)
        assert (host.level, arrived.level) == (level, level)
        if level is Status.PENDING:
            assert "due by 2026-02-1" in host.message and "due by 2026-02-1" in arrived.message
            assert host.remedy == arrived.remedy == ""
        else:
            assert (host.message, arrived.message) == ("never backed up", "nothing ever arrived")
