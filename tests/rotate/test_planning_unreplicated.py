"""What a target that gets nothing may keep on the storage: by age and by space, and no longer."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zborg.model import Endpoint, Snapshot, SnapshotName, Status, Target
from zborg.planning.rotate.unreplicated import Retained, judge, without

pytestmark = pytest.mark.unit

NOW = datetime(2026, 3, 1, tzinfo=UTC)
DAY = 86400
MIB = 1 << 20
ENDPOINT = Endpoint("root", "192.0.2.1", 22, "ssh-ed25519 AAAA", "key")


def target(age: int = 30 * DAY, space: int = 0, name: str = "offsite") -> Target:
    return Target(
        name,
        ENDPOINT,
        "vault/zborg",
        max_age=DAY,
        max_unreplicated_age=age,
        max_unreplicated_space=space,
    )


def kept(days: float, used: int = 0, dataset: str = "tank/borg/web1", to: str = "offsite") -> Retained:
    """A snapshot of that age, and nothing arrived since."""
    at = NOW - timedelta(days=days)
    txg = 1000 - int(days * 10)
    raw = str(SnapshotName.of(at))
    return Retained(to, Snapshot(dataset, raw, f"{dataset}-{txg}", txg, at, used, 1), at, held=True)


def test_young_ones_stay_and_nothing_is_said() -> None:
    judged = judge([kept(1), kept(14.9)], [target()], NOW)
    assert judged.let_go == () and judged.findings == ()


def test_the_alarm_is_given_at_half_of_the_time() -> None:
    judged = judge([kept(16, 3 * MIB), kept(17, MIB, "tank/borg/web2")], [target()], NOW)
    assert judged.let_go == ()
    (finding,) = judged.findings
    assert (finding.subject, finding.level) == ("offsite", Status.WARNING)
    assert "for 17 days: 2 snapshots (4.0 MiB in no other)" in finding.message
    assert "the limit is 30 days" in finding.message and "zborg replicate offsite" in finding.remedy


def test_what_is_too_old_goes_and_what_is_not_stays() -> None:
    base, on_its_way = kept(31), kept(20)
    judged = judge([on_its_way, base], [target()], NOW)
    assert judged.let_go == (base,)
    assert "1 no longer, for the limit is 30 days" in judged.findings[0].message


def test_space_counts_per_dataset_and_the_oldest_goes_first() -> None:
    base, on_its_way, other = kept(5, 60 * MIB), kept(4, 30 * MIB), kept(5, 80 * MIB, "tank/borg/web2")
    limit = target(space=85 * MIB)
    assert judge([on_its_way, base, other], [limit], NOW).let_go == (base,)
    assert judge([on_its_way, base, other], [target(space=20 * MIB)], NOW).let_go == (base, on_its_way, other)
    (early,) = judge([other], [limit], NOW).findings
    assert "30 days or 85.0 MiB of a dataset" in early.message


def test_space_counts_only_once_the_replication_is_overdue() -> None:
    """What one night made large is sent in the next."""
    assert judge([kept(0.9, 60 * MIB)], [target(space=MIB)], NOW).let_go == ()


def test_what_arrived_meanwhile_makes_a_quiet_base_young() -> None:
    base = kept(90, 60 * MIB)
    recent = Retained(base.target, base.snapshot, NOW - timedelta(hours=20), held=True)
    assert judge([recent], [target(space=MIB)], NOW).let_go == ()


def test_each_target_has_its_own_limits_and_0_is_none() -> None:
    one, other = kept(400, MIB, to="one"), kept(400, MIB, to="other")
    targets = [target(0, 0, "one"), target(300 * DAY, 0, "other")]
    judged = judge([one, other, kept(400, to="gone")], targets, NOW)
    assert judged.let_go == (other,) and [f.subject for f in judged.findings] == ["other"]


def test_a_hold_of_somebody_else_s_remains() -> None:
    held = kept(40)
    twice = Snapshot(**{**{f: getattr(held.snapshot, f) for f in held.snapshot.__slots__}, "holds": 2})
    assert [s.holds for s in without([twice], [held])] == [1]
    assert [s.holds for s in without([held.snapshot, twice], [])] == [1, 2]


@given(
    st.lists(st.tuples(st.floats(0, 100), st.integers(0, 50), st.sampled_from("ab")), max_size=12),
    st.integers(0, 60),
    st.integers(0, 80),
)
def test_what_remains_is_within_the_limits_and_nothing_is_given_up_early(
    facts: list[tuple[float, int, str]], days: int, space: int
) -> None:
    everything = [kept(age, used, f"tank/borg/{name}") for age, used, name in facts]
    limit = target(days * DAY, space)
    judged = judge(everything, [limit], NOW)
    stays = [one for one in everything if one not in judged.let_go]
    for one in stays:
        assert not days or NOW - one.since <= timedelta(days=days)
    for name in "ab":
        some = [one for one in stays if one.snapshot.dataset.endswith(name)]
        if space and any(NOW - one.since > timedelta(days=1) for one in some):
            assert sum(one.snapshot.used for one in some) <= space
    if not (days or space):
        assert judged.let_go == () and judged.findings == ()
    if judged.let_go:
        assert judged.findings
