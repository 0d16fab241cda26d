"""What every adapter of model.Zfs promises: one suite for the fake and for real OpenZFS in the lab.

The libzfs adapter speaks to its own machine only: tests/zfs/test_libzfs_lab.py runs these in a guest.
"""

from __future__ import annotations

import os
from dataclasses import replace
from itertools import count

import pytest

from tests.harness.worlds.pair import Pair, fake_pair, inside_pair, lab_pair

_HERE = ["libzfs"] if os.environ.get("ZBORG_INSIDE") else ["fake", pytest.param("lab", marks=pytest.mark.lab)]


@pytest.fixture(scope="session", params=_HERE)
def machine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    base = tmp_path_factory.mktemp("zfs")
    if request.param == "lab":
        pair = lab_pair(base, request.getfixturevalue("lab").vault)
    else:
        pair = inside_pair(base) if request.param == "libzfs" else fake_pair(base)
    pair.zfs.create(pair.root, {"compression": "lz4"})
    pair.zfs.create(pair.away_name, {"mountpoint": "none", "readonly": "on", "canmount": "off"})
    return pair


_counter = count()


@pytest.fixture
def zfs_pair(machine: Pair) -> Pair:
    """Roots of one test's own: the pool is shared, because making one takes seconds in the lab."""
    number = next(_counter)
    root, away = f"{machine.root}/{number}", f"{machine.away_name}/{number}"
    machine.zfs.create(root, {})
    return replace(machine, root=root, away_name=away)
