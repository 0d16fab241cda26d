"""The contract of model.Zfs through python3-libzfs, run inside a guest that has it."""

from __future__ import annotations

import re

import pytest

from tests.harness.checkout import CHECKOUT
from tests.harness.lab.inside import Inside

pytestmark = pytest.mark.lab

CONTRACT, INSIDE = "tests/zfs/contract", "tests/harness/lab/inside_libzfs.py"


@pytest.mark.timeout(1000)  # some 45 s on a quiet machine: the inner tests are those of a whole folder
def test_every_test_of_the_contract_passes_inside_the_guest(bookworm: Inside) -> None:
    said = bookworm.pytest("-q", CONTRACT, INSIDE, timeout=900)
    files = (CHECKOUT / INSIDE, *(CHECKOUT / CONTRACT).glob("test_*.py"))
    wanted = sum(len(re.findall(r"^def test_", file.read_text(), re.MULTILINE)) for file in files)
    # The last line counts whatever did not pass, too: failed, skipped, deselected, errors.
    assert re.search(rf"^{wanted} passed in ", said, re.MULTILINE), f"of {wanted} tests:\n{said}"
