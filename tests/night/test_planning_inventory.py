"""Hosts that are gone and datasets of no host, as pure logic."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zborg.model import Status
from zborg.model.text.remedy import parse
from zborg.planning.inventory import orphan_finding, orphans, vanished_finding

pytestmark = pytest.mark.unit

LAST = datetime(2026, 2, 12, 14, 49, 33, tzinfo=UTC)
NAMES = st.sampled_from(["web1", "web2", "db1", "old"])


@pytest.mark.parametrize(
    ("last", "words"), [(LAST, "backed up until 2026-02-12T14:49:33Z"), (None, "known before")]
)
def test_a_host_that_is_gone_is_named_with_both_ways_out(last: datetime | None, words: str) -> None:
    found = vanished_finding("web1", last, "/z.toml")
    assert (found.subject, found.level) == ("web1", Status.WARNING)
    assert found.message == f"{words}, no longer in /z.toml"
    assert "put [hosts.web1] back" in found.remedy and parse(found.remedy)[1] == ("zborg host forget web1",)


def test_a_dataset_of_no_host_is_not_rotated() -> None:
    found = orphan_finding("web1", "tank/borg/web1", "/z.toml")
    assert (found.subject, found.level) == ("tank/borg/web1", Status.WARNING)
    assert found.message == "web1 is no host of /z.toml: it is not rotated"


@given(st.sets(NAMES), st.sets(NAMES), st.sets(NAMES))
def test_a_dataset_is_an_orphan_when_nobody_answers_for_its_name(
    there: set[str], hosts: set[str], forgotten: set[str]
) -> None:
    datasets = [
        "tank/borg",
        "tank/borger/web1",
        *(f"tank/borg/{name}{below}" for name in there for below in ("", "/a")),
    ]
    lost = there - hosts - forgotten
    expected = {f"tank/borg/{name}{below}": name for name in lost for below in ("", "/a")}
    assert orphans("tank/borg", datasets, hosts, forgotten) == expected
