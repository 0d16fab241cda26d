"""The walls around `borg serve` under other kernels: the attacks of test_walls.py, run inside each guest.

Debian 12's kernel has Landlock in version 2, which cannot hold a truncate, and bubblewrap stands in for it;
Debian 13's has version 6, and no bubblewrap is installed.
"""

from __future__ import annotations

import re

import pytest

from tests.conftest import Lab
from tests.harness.checkout import CHECKOUT
from tests.harness.lab.inside import Inside
from tests.harness.machines.walls import cases

pytestmark = [pytest.mark.lab, pytest.mark.timeout(600)]

WALLS = "tests/borg/walls/test_walls.py"
ATTACKS = "test_code_in_borg_serve_reaches_nothing_beyond_its_own_repository"
_PASSED = re.compile(rf"^{WALLS}::(\w+)(?:\[(.*)\])? PASSED", re.MULTILINE)
_ABI = "from zborg.hosts.wall import landlock_abi; print(landlock_abi())"


def assert_held(inside: Inside, abi: int, bubblewrap: bool) -> None:
    """Every case that such a kernel and such a system have was run, and passed; so did all other tests."""
    assert int(inside.python(_ABI)) == abi
    shown = inside.pytest("-v", WALLS, timeout=500)
    passed = _PASSED.findall(shown)
    assert {case for name, case in passed if name == ATTACKS} == set(cases(abi, bubblewrap)), shown
    wanted = set(re.findall(r"^def (test_\w+)", (CHECKOUT / WALLS).read_text(), re.MULTILINE))
    assert {name for name, _ in passed} == wanted, shown
    assert re.search(rf"^=+ {len(passed)} passed in ", shown, re.MULTILINE), shown


def test_bubblewrap_holds_what_landlock_2_would_let_through(bookworm: Inside) -> None:
    assert cases(2, True)["all that this machine has"].words == "uid bwrap no-network"
    assert_held(bookworm, abi=2, bubblewrap=True)


def test_landlock_6_holds_without_bubblewrap(lab: Lab) -> None:
    assert cases(6, False)["all that this machine has"].words == "uid landlock-6 no-network"
    assert_held(lab.inside(lab.vault), abi=6, bubblewrap=False)
