"""What `zpool status` prints: golden texts, and what of them counts."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

import pytest

from tests.harness.builders.zfs_output import GOLDEN, at, golden
from zborg.errors import ZborgError
from zborg.model import Scrub
from zborg.zfs.output import status

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("name", "scan", "errors"),
    [
        ("never-2.3", status.Scan(Scrub.NEVER), 0),
        ("never-2.1", status.Scan(Scrub.NEVER), 0),
        ("running-2.3", status.Scan(Scrub.RUNNING, done=0.0201), 0),
        ("running-2.1", status.Scan(Scrub.RUNNING, repaired=12800, done=0.1309), 0),
        ("paused-2.3", status.Scan(Scrub.CANCELED, at(2026, 11, 23, 6, 26, 37), done=0.9027), 0),
        ("canceled-2.3", status.Scan(Scrub.CANCELED, at(2026, 11, 23, 6, 29, 32)), 343),
        ("finished-2.3", status.Scan(Scrub.FINISHED, at(2026, 11, 23, 6, 26, 37), done=1.0), 0),
        (
            "healed-2.3",
            status.Scan(Scrub.FINISHED, at(2026, 11, 23, 6, 26, 58), 0, int(14.7 * 2**20), 1.0),
            0,
        ),
        ("damaged-2.3", status.Scan(Scrub.FINISHED, at(2026, 11, 23, 6, 29, 32), 343, 0, 1.0), 343),
        ("damaged-v-2.3", status.Scan(Scrub.FINISHED, at(2026, 11, 23, 6, 29, 32), 343, 0, 1.0), 2),
        (
            "finished-2.1",
            status.Scan(Scrub.FINISHED, at(2026, 2, 8, 9, 24, 2), 3, 3 * 2**19, 1.0),
            2,
        ),
        ("resilvering-2.3", status.Scan(Scrub.HIDDEN), 0),
        ("resilvered-2.3", status.Scan(Scrub.HIDDEN, at(2026, 11, 23, 6, 26, 52)), 0),
        ("errorscrub-2.3", status.Scan(Scrub.HIDDEN, at(2026, 11, 24, 7, 2, 5)), 123),
        ("devices-2.3", status.Scan(Scrub.HIDDEN, at(2026, 11, 24, 7, 2, 40)), 0),
        ("draid-2.2", status.Scan(Scrub.FINISHED, at(2026, 2, 8, 9, 24, 2), done=1.0), 0),
        ("unavail-2.1", status.Scan(Scrub.NEVER), 0),
    ],
)
def test_status(name: str, scan: status.Scan, errors: int) -> None:
    text = golden(f"status-{name}")
    assert status.scan(text) == scan
    assert status.data_errors(text) == errors


def test_every_golden_status_is_tested() -> None:
    (mark,) = test_status.pytestmark  # type: ignore[attr-defined]  # set by the decorator
    tested = {row[0] for row in mark.args[1]}
    assert {f"status-{name}.txt" for name in tested} == {p.name for p in GOLDEN.glob("status-*")}


def test_pool_counts_what_a_scrub_found_and_zfs_remembers_once() -> None:
    pool = status.pool("tank\tONLINE\t8053063680\t7819339264\n", golden("status-damaged-2.3"))
    assert (pool.errors, pool.size, pool.free) == (343, 8053063680, 7819339264)
    assert status.pool("tank\tUNAVAIL\t-\t-\n", golden("status-unavail-2.1")).health == "UNAVAIL"
    with pytest.raises(ZborgError, match="one pool"):
        status.pool("", golden("status-never-2.3"))


@pytest.mark.parametrize(
    ("name", "devices"),
    [
        ("devices-2.3", ("/vdev/e3 OFFLINE, 539 errors",)),
        ("errorscrub-2.3", ("/vdev/e1 ONLINE, 542 errors",)),
        ("unavail-2.1", ("vdb UNAVAIL",)),
        ("finished-2.3", ()),
    ],
)
def test_the_devices_that_are_not_well_are_named(name: str, devices: tuple[str, ...]) -> None:
    assert status.ailing(golden(f"status-{name}")) == devices


def test_errors_that_a_group_alone_counts_name_the_group() -> None:
    """What raidz could not repair may count for none of its disks."""
    rows = "\ttank  ONLINE 0 0 0\n\t  raidz1-0  ONLINE 0 0 4\n\t    sda  ONLINE 0 0 0\n"
    assert status.ailing(f"config:\n\n{rows}\nerrors: No known data errors\n") == (
        "raidz1-0 ONLINE, 4 errors",
    )


def test_damaged_files_are_listed() -> None:
    assert status.damaged_files(golden("status-damaged-v-2.3")) == ("q/borg@a:/f", "/srv/q/f")
    assert status.damaged_files(golden("status-damaged-2.3")) == ()


def test_the_worst_row_of_the_table_counts() -> None:
    assert status.device_errors(golden("status-devices-2.3")) == 539
    assert status.device_errors(golden("status-errorscrub-2.3")) == 542
    assert status.device_errors(golden("status-healed-2.3")) == 0
    listed = "tank\tONLINE\t8053063680\t7819339264\n"
    assert status.pool(listed, golden("status-devices-2.3")).device_errors == 539


@pytest.mark.parametrize(
    ("row", "count"),
    [
        ("vdb       ONLINE       1     2     4", 7),
        ("vdb       ONLINE       1     2     4     9", 7),  # with the column SLOW
        ("vdb       FAULTED     10     -     0  too many errors", 10),
        ("my disk   UNAVAIL      3     0     0", 3),
        ("vdb       ONLINE       -     -     -", 0),
        ("vdb       AVAIL   ", 0),
        ("vdb       ONLINE", 0),
        ("vdb       REMOVED      0     0", 0),
    ],
)
def test_columns_that_are_missing_count_nothing(row: str, count: int) -> None:
    table = "\tNAME        STATE     READ WRITE CKSUM\n\ttank        ONLINE       0     0     0\n"
    assert status.device_errors(f"config:\n\n{table}\t  {row}\n\nerrors: No known data errors\n") == count


def test_a_resilver_s_errors_count() -> None:
    text = golden("status-resilvered-2.3").replace("with 0 errors", "with 5 errors")
    assert status.scan(text) == status.Scan(Scrub.HIDDEN, at(2026, 11, 23, 6, 26, 52), errors=5)


@pytest.mark.parametrize("name", ["paused-2.3", "canceled-2.3", "resilvered-2.3"])
def test_a_date_that_cannot_be_read_hides_nothing_else(name: str) -> None:
    known = status.scan(golden(f"status-{name}"))
    assert known.finished
    unreadable = golden(f"status-{name}").replace("Mon Nov 23", "23. November")
    assert status.scan(unreadable) == replace(known, finished=None)


@pytest.mark.parametrize(
    ("words", "finished"),
    [
        ("error scrub in progress since Tue Nov 24 07:02:05 2026\n\t1.00% done, issued I/O for 1", None),
        (
            "error scrub paused since Tue Nov 24 07:02:05 2026\n\terror scrub started on Mon",
            at(2026, 11, 24, 7, 2, 5),
        ),
        ("error scrub canceled on Tue Nov 24 07:02:05 2026", at(2026, 11, 24, 7, 2, 5)),
    ],
)
def test_an_error_scrub_is_no_scrub(words: str, finished: datetime | None) -> None:
    assert status.scan(f" scrub: {words}\n") == status.Scan(Scrub.HIDDEN, finished)


def test_a_canceled_resilver_has_ended() -> None:
    for word in ("resilver", "resilver (draid1:4d:6c:0s-0)"):
        found = status.scan(f"  scan: {word} canceled on Mon Nov 23 06:26:52 2026\n")
        assert found == status.Scan(Scrub.HIDDEN, at(2026, 11, 23, 6, 26, 52))


def test_unknown_words_about_errors_are_not_taken_for_none() -> None:
    text = golden("status-finished-2.3").replace("No known data errors", "List of errors unavailable")
    with pytest.raises(ZborgError, match="List of errors unavailable"):
        status.data_errors(text)
