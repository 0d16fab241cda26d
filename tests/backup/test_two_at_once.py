"""Two runs at once (docs/failures.md, 12), real processes: the second names the first and touches nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.harness.machines.host import throttled
from tests.harness.processes import backup_process
from tests.harness.steps import backup, replicate, rotate, snapshot
from tests.harness.watch import until
from tests.harness.worlds.local import LocalVault
from tests.harness.worlds.steps import Hours, dataset_only, nights, snapnames, world
from zborg.errors import Exit
from zborg.model import Report, Status
from zborg.steps.context import Context

MIB = 1 << 20

HOLDER = """
import sys, time
from pathlib import Path
from zborg.state.locks import Locks
with Locks(Path(sys.argv[1]), "zborg run").hold(sys.argv[2]):
    print("held", flush=True)
    time.sleep(300)
"""


@contextmanager
def held(state: Path, lock: str) -> Iterator[int]:
    """Another process has the lock; its pid."""
    argv = [sys.executable, "-c", HOLDER, str(state / "locks"), lock]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "held\n"
        try:
            yield process.pid
        finally:
            process.kill()


def test_of_two_backups_of_one_host_the_second_is_busy(vault: LocalVault) -> None:
    host = vault.add("web1")
    host.setup("web1", [host.data], borg=throttled(host, rate=1024))
    (host.data / "new").write_bytes(os.urandom(4 * MIB))
    first = backup_process.start(vault)
    events = vault.directory / "events"
    until(lambda: "progress web1" in events.read_text(), "the first is at work")
    report = backup(vault.context())
    assert (report.status, report.exit) == (Status.BUSY, Exit.LOCKED)
    owner = json.loads((vault.state / "locks" / "host-web1.owner").read_text())
    told = f"host-web1 is locked by pid {first.pid} (zborg test), started {owner['since']}"
    assert report.outcomes[0].message == told
    out, _ = first.communicate(timeout=120)
    assert first.returncode == 0, out
    commits = vault.zfs.directory("tank/borg/web1") / "transactions"
    assert len(commits.read_text().splitlines()) == 1


@pytest.mark.parametrize(
    ("step", "lock", "code"),
    [
        (snapshot, "snapshot", Exit.LOCKED),
        (rotate, "snapshot", Exit.LOCKED),
        (
            rotate,
            "dataset-tank:borg:web1",
            Exit.PARTIAL,
        ),  # nobody is at its parent's snapshots
        (replicate, "target-offsite", Exit.LOCKED),
        (replicate, "dataset-tank:borg:web1", Exit.LOCKED),
    ],
)
def test_a_step_that_another_is_at_touches_nothing(
    vault: LocalVault, clock: Hours, step: Callable[[Context], Report], lock: str, code: Exit
) -> None:
    dataset_only(vault, "web1")
    nights(vault, clock, 5)
    before = snapnames(vault, "tank/borg/web1")
    with held(vault.state, lock) as pid:
        report = step(world(vault, clock))
    assert report.exit is code
    (busy,) = [one for one in report.outcomes if one.status is Status.BUSY]
    assert f"{lock} is locked by pid {pid} (zborg run), started 20" in busy.message
    assert snapnames(vault, "tank/borg/web1") == before
    assert [one for one in vault.far.datasets("vault/zborg") if one.name != "vault/zborg"] == []
    assert step(world(vault, clock)).exit is Exit.OK
