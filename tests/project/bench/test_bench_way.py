"""scripts/bench way: what it counts is what was called."""

from __future__ import annotations

import pytest

from tests.bench.way import followed, ways
from zborg.model.text.units import duration, span


@pytest.mark.unit
def test_a_call_within_a_file_is_no_move_and_a_test_is_no_file() -> None:
    with followed() as way:
        span(300)  # calls duration, which calls counted
        duration(300)
    assert [file.rpartition("/")[2] for file in way.files] == ["units.py"]
    assert way.moves.total() == 0


def test_one_backup_and_one_replication_are_followed() -> None:
    found = ways()
    for name in ("backup", "replicate"):
        files = {file.partition("/zborg/")[2] for file in found[name].files}
        assert f"steps/{name}/step.py" in files
        assert not [file for file in files if file.startswith("cli/")]
        assert found[name].moves.total() > len(files)
