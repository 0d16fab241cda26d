"""When a night's numbers are not believed, and when they are far from usual."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zborg.model.results import AuditedHost, HostBackup, backup_of
from zborg.model.serial.results import from_table
from zborg.planning.backup.plausible import Doubt, doubt
from zborg.planning.backup.unusual import AUDITS, BACKUPS, Range, unusual, usual

pytestmark = pytest.mark.unit

USUAL = [{"files": 1000, "original_bytes": 1 << 30}] * 3
COUNTS = st.integers(0, 2**63 - 1)
NIGHTS = st.fixed_dictionaries({"files": COUNTS, "original_bytes": COUNTS})
JSON = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.lists(st.integers())
ANYTHING = st.dictionaries(st.sampled_from(["files", "original_bytes", "x"]), JSON)


def judge(
    found: dict[str, Any], earlier: list[dict[str, Any]], min_files: int = 1, shrink: int = 50
) -> Doubt | None:
    before = [backup_of(from_table("backup", "host", one)) for one in earlier]
    now = backup_of(from_table("backup", "host", found))
    return doubt("web1", now, before, min_files=min_files, shrink=shrink)


@pytest.mark.parametrize(
    ("found", "words"),
    [
        ({"files": 499, "original_bytes": 1 << 30}, "499 files (usually 1000 files)"),
        ({"files": 1000, "original_bytes": 1 << 20}, "1.0 MiB (usually 1.0 GiB)"),
        (
            {"files": 1, "original_bytes": 5},
            "1 file (usually 1000 files) and 5 bytes (usually 1.0 GiB)",
        ),
    ],
)
def test_a_shrunk_archive_is_told_with_both_numbers(found: dict[str, Any], words: str) -> None:
    told = judge(found, USUAL)
    assert told is not None
    assert told.message == f"the archive holds {words}"
    assert not told.certain
    assert "[hosts.web1]" in told.remedy


def test_one_odd_night_does_not_make_a_new_usual() -> None:
    odd = [{"files": 3, "original_bytes": 10}]
    assert judge(USUAL[0], USUAL + odd) is None
    assert judge(odd[0], USUAL + odd + odd) is not None
    assert judge(odd[0], USUAL + odd * 4) is None, "after half of the time it is usual"


@given(found=NIGHTS, earlier=st.lists(NIGHTS, max_size=9), floor=st.integers(0, 5000))
def test_fewer_files_than_a_person_wrote_down_is_certain(
    found: dict[str, Any], earlier: list[dict[str, Any]], floor: int
) -> None:
    told = judge(found, earlier, min_files=floor)
    assert (told is not None and told.certain) == (found["files"] < floor)


@given(night=NIGHTS, count=st.integers(0, 9), shrink=st.integers(0, 100))
def test_a_night_like_the_others_is_believed(night: dict[str, Any], count: int, shrink: int) -> None:
    assert judge(night, [night] * count, min_files=0, shrink=shrink) is None


@given(found=NIGHTS, earlier=st.lists(NIGHTS, max_size=9))
def test_without_a_past_or_with_shrink_0_nothing_is_doubted(
    found: dict[str, Any], earlier: list[dict[str, Any]]
) -> None:
    assert judge(found, [], min_files=0) is None
    assert judge(found, earlier, min_files=0, shrink=0) is None


@given(found=NIGHTS, earlier=st.lists(NIGHTS, min_size=1, max_size=9), more=NIGHTS)
def test_more_files_and_bytes_are_never_believed_less(
    found: dict[str, Any], earlier: list[dict[str, Any]], more: dict[str, Any]
) -> None:
    larger = {key: max(found[key], more[key]) for key in found}
    assert judge(found, earlier, min_files=0) is not None or judge(larger, earlier, min_files=0) is None


@given(found=ANYTHING, earlier=st.lists(ANYTHING, max_size=5))
def test_whatever_a_run_file_holds_nothing_is_raised(
    found: dict[str, Any], earlier: list[dict[str, Any]]
) -> None:
    told = judge(found, earlier)
    assert told is None or json.dumps(told.message)


# --- far from usual -------------------------------------------------------------------------------------

MIB, GIB = 1 << 20, 1 << 30


@dataclass
class Night:
    new: int = 300 * MIB
    files: int = 8400
    seconds: float = 60.0
    density: float = 0.4

    @property
    def made(self) -> HostBackup:
        return HostBackup(
            files=self.files,
            original_bytes=10 * GIB,
            compressed_bytes=int(10 * GIB * self.density),
            new_bytes=self.new,
            seconds=self.seconds,
        )


def usually(count: int = 30) -> list[HostBackup]:
    chance = random.Random(20260212)
    return [
        Night(int(chance.gauss(300, 40) * MIB), int(chance.gauss(8400, 30)), chance.gauss(60, 8)).made
        for _ in range(count)
    ]


def test_a_usual_night_is_no_news() -> None:
    assert unusual(BACKUPS, Night().made, usually()) == ()
    assert unusual(BACKUPS, Night().made, []) == ()


@pytest.mark.parametrize(
    ("night", "begins"),
    [
        (Night(new=40 * GIB), "it added 40.0 GiB (usually "),
        (Night(files=90_000), "it holds 90000 files (usually "),
        (Night(files=900), "it holds 900 files (usually "),
        (Night(seconds=7200), "it took 2 hours (usually "),
        (Night(density=0.99), "its data compressed to 99% (usually 20% to 60%)"),
    ],
)
def test_what_is_far_from_usual_is_named_with_the_range(night: Night, begins: str) -> None:
    (words,) = unusual(BACKUPS, night.made, usually())
    assert words.startswith(begins)


def test_less_work_is_no_alarm() -> None:
    assert unusual(BACKUPS, Night(new=0, seconds=1, density=0.01).made, usually()) == ()


def test_what_the_server_saw_is_judged_whatever_the_host_says() -> None:
    earlier = [AuditedHost(bytes=300 * MIB, transactions=2) for _ in range(20)]
    (words,) = unusual(AUDITS, AuditedHost(bytes=90 * GIB, transactions=3), earlier)
    assert words == "the repository grew by 90.0 GiB (usually 44.0 MiB to 556.0 MiB)"
    assert unusual(AUDITS, AuditedHost(bytes=300 * MIB, transactions=40), earlier)


def test_numbers_that_are_not_known_are_not_judged() -> None:
    assert unusual(BACKUPS, HostBackup(), usually()) == ()
    assert unusual(BACKUPS, HostBackup(original_bytes=0, compressed_bytes=0), usually()) == ()


def test_too_few_nights_have_no_range() -> None:
    assert usual([1.0] * 9, least=1) is None
    assert usual([1.0] * 10, least=1) == Range(0, 2)


@given(st.lists(st.floats(0, 1e12), min_size=10, max_size=90), st.floats(0, 1e9))
def test_whatever_was_met_twice_is_usual(values: list[float], least: float) -> None:
    found = usual(values, least=least)
    assert found is not None
    ordered = sorted(values)
    assert all(found.has(value) for value in ordered[1:-1])


@given(st.lists(st.floats(100, 200), min_size=20, max_size=90), st.floats(1e6, 1e12))
def test_one_odd_night_does_not_make_the_next_one_usual(values: list[float], odd: float) -> None:
    found = usual([*values, odd], least=10)
    assert found is not None and not found.has(odd)
