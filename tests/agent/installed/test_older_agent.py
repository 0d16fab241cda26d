"""A host with the agent of November 2026, whose reasons have no codes yet: nobody has to update it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.harness.checkout import CHECKOUT
from tests.harness.machines.host import BackedUpHost
from tests.harness.worlds.local import LocalVault
from tests.harness.worlds.steps import Hours, of, world
from zborg.borg.log import BorgLog
from zborg.borg.verdict import judge
from zborg.errors import Exit
from zborg.model import Outcome, Speaker, Status
from zborg.steps.backup.step import Options, backup
from zborg.steps.restore.files import restore_files
from zborg.steps.restore.listing import list_snapshots
from zborg.steps.snapshot import snapshot

OLDER = (CHECKOUT / "tests" / "golden" / "agents" / "agent-2026-11.sh").read_text(encoding="utf-8")
DAY = 86400


@pytest.fixture
def host(vault: LocalVault) -> BackedUpHost:
    vault.backup["prune_every"] = DAY
    return vault.add("web1", agent=OLDER, extra_conf=("keep_last = 1",))


def night(vault: LocalVault, clock: Hours) -> Outcome:
    clock.tick()
    return of(backup(world(vault, clock), Options()), "web1")


def verb(vault: LocalVault, clock: Hours, *words: str) -> tuple[BorgLog, Status]:
    """One verb, as steps run it: what was heard, and what it came to."""
    log = BorgLog("web1", "tank/borg/web1")

    def listen(speaker: Speaker, line: str) -> None:
        log.feed(line, speaker)

    context = world(vault, clock)
    status = context.tunnel.verb(context.config.hosts[0], words, listen)
    return log, judge(status, log).status


def archives(vault: LocalVault, clock: Hours) -> list[str]:
    log, status = verb(vault, clock, "list", "web1", "99")
    assert status is Status.OK, log.last
    return [one["name"] for one in log.json()["archives"]]


def test_it_is_backed_up_pruned_sampled_and_restored(
    vault: LocalVault, clock: Hours, host: BackedUpHost
) -> None:
    """The whole way of a host: made by `init`, two nights of which the second prunes, a sample, and back."""
    assert host.agent.read_text() == OLDER
    first = night(vault, clock)
    assert (first.status, first.message) == (Status.OK, ""), first
    clock.tick(25)
    (host.data / "umläut").write_text("odd")
    second = night(vault, clock)
    assert (second.status, "pruned" in second.data) == (Status.OK, True), second
    assert archives(vault, clock) == [second.data["archive"]]
    snapshot(world(vault, clock))
    (listed,) = list_snapshots(world(vault, clock), "web1").outcomes

    sample = "web1-2026-12-01T000000Z"
    assert verb(vault, clock, "sample", "web1", sample)[1] is Status.OK
    assert sample in archives(vault, clock)

    clock.tick()
    host.local("--allow-restore", listed.subject, "10000000", str(host.data)).check_returncode()
    shutil.rmtree(host.data)
    report = restore_files(world(vault, clock), "web1", [str(host.data)], listed.subject)
    assert report.exit is Exit.OK, report.outcomes
    restored = Path(f"{report.outcomes[0].data['restored']}{host.data}")
    assert {one.name: one.read_text() for one in restored.iterdir()} == {"file": "of web1", "umläut": "odd"}
