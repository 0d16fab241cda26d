"""What was found of a host stands in status until that host itself was looked at again."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from tests.harness.audit.written import written_hosts
from tests.harness.builders.reports import NOON, report
from tests.harness.steps import audit, compact, snapshot
from tests.harness.worlds.inventory import status
from tests.harness.worlds.local import LocalVault
from tests.harness.worlds.steps import Hours, world
from zborg.errors import Exit
from zborg.model import Outcome, Report, Status
from zborg.state.runs import Runs, new_run
from zborg.steps.run_queries import newest_of_each


@pytest.fixture
def hosts(vault: LocalVault, clock: Hours) -> LocalVault:
    """Two, audited once without a finding."""
    written_hosts(vault, clock, "web1", "web2")
    night(vault, clock)
    assert audit(world(vault, clock)).exit is Exit.OK
    return vault


def night(vault: LocalVault, clock: Hours) -> None:
    for name in ("web1", "web2"):
        (vault.zfs.directory(f"tank/borg/{name}") / "README").write_text(f"{clock.now}")
    clock.tick()
    snapshot(world(vault, clock))
    clock.tick()


def lines(vault: LocalVault, clock: Hours, kind: str) -> dict[str, Outcome]:
    found = status(world(vault, clock), clock).outcomes
    return {one.subject: one for one in found if one.kind == kind or one.subject == kind}


def test_an_audit_of_one_host_hides_nothing_that_was_found_of_another(
    hosts: LocalVault, clock: Hours
) -> None:
    (hosts.zfs.directory("tank/borg/web2") / "secret").symlink_to("/etc/shadow")
    night(hosts, clock)
    assert audit(world(hosts, clock)).exit is Exit.DAMAGE
    night(hosts, clock)
    assert audit(world(hosts, clock), ["web1"]).exit is Exit.OK
    clock.tick()
    found = lines(hosts, clock, "audit")
    assert found["web2"].status is Status.DAMAGED
    assert found["web2"].message.startswith("3 hours ago: ") and "secret" in found["web2"].message
    assert (found["audit"].status, found["audit"].message) == (Status.DAMAGED, "60 minutes ago: 1 of 2 good")
    assert "web1" not in found
    night(hosts, clock)
    audit(world(hosts, clock), ["web2"])
    later = lines(hosts, clock, "audit")
    assert "hours ago" not in later["web2"].message, "its own last outcome, and that alone"


def test_a_host_that_nobody_audits_any_more_is_overdue(hosts: LocalVault, clock: Hours) -> None:
    for _ in range(2):
        clock.tick(12)
        night(hosts, clock)
        audit(world(hosts, clock), ["web1"])
    found = lines(hosts, clock, "audit")["audit"]
    assert (found.status, found.remedy) == (Status.FAILED, "zborg audit")
    assert found.message.startswith("overdue: web2; ")


def test_a_compaction_of_one_host_hides_nothing_of_another(hosts: LocalVault, clock: Hours) -> None:
    (hosts.zfs.directory("tank/borg/web2") / "secret").symlink_to("/etc/shadow")
    night(hosts, clock)
    audit(world(hosts, clock))
    assert compact(world(hosts, clock), ["web2"]).exit is Exit.CONFLICT
    clock.tick()
    compact(world(hosts, clock), ["web1"])
    found = lines(hosts, clock, "compact")
    assert found["web2"].status is Status.CONFLICT and "a finding is open" in found["web2"].message


def test_an_audit_that_could_not_begin_hides_nothing_either(hosts: LocalVault, clock: Hours) -> None:
    (hosts.zfs.directory("tank/borg/web2") / "secret").symlink_to("/etc/shadow")
    night(hosts, clock)
    audit(world(hosts, clock))
    (hosts.state / "ledger/key").write_text("no key")
    assert audit(world(hosts, clock), ["web1"]).exit is Exit.FAILED
    found = lines(hosts, clock, "audit")
    assert found["audit"].status is Status.FAILED and found["web2"].status is Status.DAMAGED


def saved(runs: Runs, *outcomes: Outcome, hours: int) -> Report:
    at = NOON + timedelta(hours=hours)
    made = report(*outcomes, run=new_run(at), started=at, finished=at, command="audit")
    runs.save(made)
    return made


@pytest.mark.unit
def test_of_each_host_the_newest_outcome_that_says_something_of_it(tmp_path: Path) -> None:
    runs = Runs(tmp_path)
    (good, bad) = (Outcome("audit", "web1", Status.OK), Outcome("audit", "web2", Status.DAMAGED, "old"))
    assert newest_of_each(runs, "audit", ["web1"], lambda _: None) is None
    saved(runs, Outcome("audit", "web2", Status.OK, "older"), hours=0)
    saved(runs, bad, hours=1)
    saved(runs, Outcome("audit", "web2", Status.BUSY), Outcome("ledger", "web2", Status.WARNING), hours=2)
    newest = saved(runs, good, Outcome("audit", "web2", Status.INTERRUPTED), hours=3)
    found = newest_of_each(runs, "audit", ["web1", "web2", "never"], lambda _: None)
    assert found and found.report == newest and len(found.outcomes) == 2
    assert found.earlier == {"web2": (NOON + timedelta(hours=1), bad)}


@pytest.mark.unit
def test_no_run_is_read_from_before_a_host_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = Runs(tmp_path)
    for hour in range(20):
        saved(runs, Outcome("audit", "web1", Status.OK), hours=hour)
    read: list[Report] = []
    newest_first = Runs.newest_first

    def counting(self: Runs, command: str) -> Iterator[Report]:
        for one in newest_first(self, command):
            read.append(one)
            yield one

    monkeypatch.setattr(Runs, "newest_first", counting)
    newest_of_each(runs, "audit", ["web1", "new"], lambda _: NOON + timedelta(hours=17, minutes=30))
    assert len(read) == 1 + 3, "the newest, and those down to the first that began before it was there"
