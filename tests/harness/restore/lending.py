"""A repository that is lent to its owner, and borg by hand."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

from tests.harness.machines.host import BackedUpHost, find_borg
from tests.harness.steps import backup, restore_serve, snapshot
from tests.harness.worlds.local import LocalVault
from tests.harness.worlds.steps import Hours, world
from zborg.interrupt import cancelled
from zborg.model import Report
from zborg.steps.context import Context
from zborg.steps.restore.source import STORAGE, Source


def backed_up(vault: LocalVault, clock: Hours) -> tuple[BackedUpHost, Context]:
    host, context = vault.add("web1"), world(vault, clock)
    backup(context)
    clock.tick()
    snapshot(context)
    clock.tick()
    (host.data / "file").write_text("changed since")
    backup(context)
    return host, context


class Lending(threading.Thread):
    """`restore serve` at work; `end` is Ctrl-C."""

    def __init__(self, context: Context, source: Source = STORAGE) -> None:
        super().__init__(daemon=True)
        self._context, self._source = context, source
        self.report: Report | None = None
        self.start()

    def run(self) -> None:
        self.report = restore_serve(self._context, "web1", source=self._source)

    def end(self) -> Report:
        cancelled.set()
        self.join(30)
        assert self.report is not None, "it did not end"
        return self.report


def by_hand(host: BackedUpHost, *words: str, into: Path | None = None) -> subprocess.CompletedProcess[str]:
    """What the owner types in a shell of root's, with what the agent gives him."""
    env = host.local("--borg-env").stdout
    script = f'{env}\nexec {find_borg()} "$@"'
    return subprocess.run(
        ["sh", "-c", script, "sh", *words],
        cwd=into,
        env={"PATH": os.environ["PATH"]},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
    )


def lent(host: BackedUpHost) -> Callable[[], bool]:
    return (host.run / "lend" / "rsh").exists
