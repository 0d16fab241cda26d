"""What tests of processes share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from zborg.interrupt import cancelled


@pytest.fixture(autouse=True)
def not_cancelled() -> Iterator[None]:
    cancelled.clear()
    yield
    cancelled.clear()
