"""zborg.planning.backup.plausible: when a night's numbers are not believed."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zborg.model.results import backup_of
from zborg.model.serial.results import from_table
from zborg.planning.backup.plausible import Doubt, doubt

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
