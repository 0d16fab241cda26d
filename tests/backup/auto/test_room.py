"""zborg.planning.backup.memory, and the places of a fleet in it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zborg.planning.backup.memory import SERVE_LEAST, SERVE_LIMIT, Room, limit_of
from zborg.planning.backup.places import Places

pytestmark = pytest.mark.unit

GIB = 1 << 30
LIMITS = st.integers(SERVE_LEAST, SERVE_LIMIT)
HOSTS = st.dictionaries(st.text("abcdef", min_size=1, max_size=2), LIMITS, min_size=1, max_size=30)
MEMORIES = st.integers(0, 100 * GIB)


@given(st.integers(0, 1 << 40) | st.none())
def test_a_limit_is_enough_for_the_index_that_is_there(index: int | None) -> None:
    limit = limit_of(index)
    assert SERVE_LEAST <= limit <= SERVE_LIMIT
    # A chunk took 103 bytes while the index grew, and has at least the 40 of its entry in the file.
    assert limit == SERVE_LIMIT or (index is not None and limit > index * 103 / 40)


def test_a_first_backup_may_take_what_serve_sh_allows() -> None:
    assert limit_of(None) == SERVE_LIMIT
    assert limit_of(0) == limit_of(190 << 20) == SERVE_LEAST
    assert limit_of(1 << 30) == SERVE_LIMIT


@given(MEMORIES, HOSTS, st.data())
def test_who_begins_fits_beside_who_is_at_work(
    memory: int, limits: dict[str, int], data: st.DataObject
) -> None:
    room, names = Room(memory, limits), sorted(limits)
    at_work = names[: data.draw(st.integers(0, len(names)))]
    waiting = names[len(at_work) :]
    begun = room.begin(waiting, at_work)
    now = [*at_work, *waiting[:begun]]
    if begun and len(now) > 1:
        assert sum(limits[name] for name in now) <= memory
    if not at_work and waiting:
        assert begun >= 1, "or the night would never end"
    if begun < len(waiting) and now:
        assert sum(limits[name] for name in now) + limits[waiting[begun]] > memory
    assert len(waiting[: room.begin(waiting, [])]) <= room.fits or memory < min(limits.values())


@given(MEMORIES, HOSTS)
def test_no_more_than_fit_are_at_work_in_any_order(memory: int, limits: dict[str, int]) -> None:
    room = Room(memory, limits)
    places = Places(64, {}, upper=max(1, room.fits), room=room)
    waiting, at_work = sorted(limits, key=lambda name: -limits[name]), dict[str, float]()
    while waiting:
        count = places.begin(waiting, at_work)
        at_work |= dict.fromkeys(waiting[:count], 0.0)
        del waiting[:count]
        assert len(at_work) <= max(1, room.fits)
        assert len(at_work) == 1 or sum(limits[name] for name in at_work) <= memory
        at_work.pop(next(iter(at_work)))


def test_hosts_that_gave_up_their_place_still_take_their_memory() -> None:
    places = Places(4, {}, upper=3, room=Room(3 * GIB, dict.fromkeys("abcd", GIB)))
    late = dict.fromkeys("abc", 1e6)
    assert places.late(late) == tuple("abc")
    assert places.begin(["d"], late) == 0
    assert places.begin(["d"], {"a": 1e6}) == 1


def test_where_the_memory_is_not_known_four_are_at_work() -> None:
    room = Room(None, {"web1": SERVE_LIMIT})
    assert room.fits == 4
    assert room.begin(["web1", "web2"], ["web3"]) == 2


def test_a_fixed_number_stands_whatever_the_memory() -> None:
    assert Places(30, {}).begin([f"web{n}" for n in range(40)], {}) == 30
