"""What tests of replication share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.harness.worlds.local import LocalVault
from zborg.interrupt import cancelled
from zborg.model import Child, Stream


@pytest.fixture
def one_after_another(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a test knows whose turn it is; several at once are in test_replicate_targets."""
    monkeypatch.setattr("zborg.steps.replicate.step._AT_ONCE", 1)


@pytest.fixture
def sent(vault: LocalVault) -> Iterator[list[str]]:
    """The snapshots whose stream was started."""
    started: list[str] = []
    real = vault.zfs.send

    def send(stream: Stream, stdout: int) -> Child:
        started.append(stream.snapshot)
        return real(stream, stdout)

    vault.zfs.send = send  # type: ignore[method-assign]  # for this test
    yield started
    cancelled.clear()
