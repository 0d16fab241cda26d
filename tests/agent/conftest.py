"""What tests of the host's agent share."""

from __future__ import annotations

import pytest

from tests.harness.machines.agent import Lab


@pytest.fixture
def lab(agent: Lab) -> Lab:
    return agent
