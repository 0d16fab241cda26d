"""One enrolled host for a module: backed up, in a snapshot, with a ledger."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.harness.steps import backup, begin_ledger, snapshot
from tests.harness.worlds.site import Site, enrolled_site
from zborg.errors import Exit


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Tests leave its repository as it is, or later by a backup."""
    for made in enrolled_site(tmp_path_factory.mktemp("site")):
        begin_ledger(made.context())
        assert backup(made.context()).exit is Exit.OK
        assert snapshot(made.context()).exit is Exit.OK
        yield made
