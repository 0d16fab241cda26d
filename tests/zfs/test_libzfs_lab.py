"""The contract of model.Zfs through python3-libzfs, run inside a guest that has it."""

from __future__ import annotations

import re

import pytest

from tests.harness import inside_libzfs
from tests.harness.inside import Inside
from tests.zfs import test_zfs_contract

pytestmark = pytest.mark.lab


@pytest.mark.timeout(1000)  # some 45 s on a quiet machine: the inner tests are those of a whole file
def test_every_test_of_the_contract_passes_inside_the_guest(bookworm: Inside) -> None:
    said = bookworm.pytest(
        "-q", "tests/zfs/test_zfs_contract.py", "tests/harness/inside_libzfs.py", timeout=900
    )
    modules = (test_zfs_contract, inside_libzfs)
    wanted = sum(name.startswith("test_") for module in modules for name in vars(module))
    # The last line counts whatever did not pass, too: failed, skipped, deselected, errors.
    assert re.search(rf"^{wanted} passed in ", said, re.MULTILINE), f"of {wanted} tests:\n{said}"
