"""A compaction or an undelete that was killed: status and doctor show it, and what they advise ends it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from tests.harness.audit.written import interrupted, written_hosts
from tests.harness.steps import audit, compact, snapshot, undelete
from tests.harness.worlds.inventory import status
from tests.harness.worlds.local import LocalVault
from tests.harness.worlds.steps import Hours, of, world
from zborg.errors import Exit
from zborg.model import Outcome, Report, Status
from zborg.model.figures import CompactionFigures
from zborg.model.results import CompactState
from zborg.state.ledger.compactions import Compactions, Quarantined
from zborg.steps.compact.facts import records_of
from zborg.steps.compact.known import compactions, summed, unfinished
from zborg.steps.context import Context


@pytest.fixture
def hosts(vault: LocalVault, clock: Hours) -> LocalVault:
    written_hosts(vault, clock, "web1", "web2")
    clock.tick()
    snapshot(world(vault, clock))
    clock.tick()
    assert audit(world(vault, clock)).exit is Exit.OK
    return vault


def lines(context: Context) -> list[Outcome]:
    return list(unfinished(context.config, context.locks))


def as_advised(context: Context, fix: str) -> Report:
    _, killed, host = fix.split()
    return undelete(context, host) if killed == "undelete" else compact(context, [host])


@pytest.mark.parametrize("killed", ["compact", "undelete"])
def test_what_was_interrupted_is_shown_until_it_was_finished_as_advised(
    hosts: LocalVault, clock: Hours, killed: str
) -> None:
    context = world(hosts, clock)
    interrupted(context, "web2", killed)
    (shown,) = lines(context)
    assert (shown.kind, shown.subject, shown.status) == (killed, "web2", Status.WARNING)
    assert shown.remedy == f"zborg {killed} web2"
    assert shown in status(context, clock).outcomes
    with context.locks.hold("host-web2"):
        assert lines(context) == [], "somebody is at it"
    clock.tick()
    done = of(as_advised(world(hosts, clock), shown.remedy), "web2")
    assert done.status is Status.OK, done
    assert lines(context) == []
    assert of(audit(world(hosts, clock)), "web2").status is Status.OK


def test_of_a_host_that_is_gone_its_record_can_be_forgotten(hosts: LocalVault, clock: Hours) -> None:
    context = world(hosts, clock)
    interrupted(context, "web2", "compact")
    (web1, _) = context.config.hosts
    config = replace(context.config, hosts=(web1,))
    (shown,) = unfinished(config, context.locks)
    assert shown.remedy.endswith(f"rm {records_of(context).path('web2')}")


def test_status_says_what_waits_what_was_freed_and_what_could_be_given_back(
    hosts: LocalVault, clock: Hours
) -> None:
    context, records = world(hosts, clock), records_of(world(hosts, clock))
    assert summed(compactions(context.config)) is None
    until = clock.now + timedelta(days=14)
    held = (Quarantined("tank/borg/web1@zborg_x", "zborg:keep:compact:x", until),)
    records.put("web1", Compactions(looked=clock.now, gain=2048, freed=1 << 20, held=held))
    records.put("web2", Compactions(looked=clock.now, gain=4096))
    records.path("web3").write_text("{")  # known of nothing, and shown by itself
    shown = of(status(context, clock), "compact")
    assert shown.message == (
        f"freed 1.0 MiB; 1 snapshot in quarantine until {until:%Y-%m-%d}; "
        "6.0 KiB more could be freed (web2 4.0 KiB, web1 2.0 KiB)"
    )
    assert isinstance(shown.result, CompactState)
    assert (shown.result.held, shown.result.freed, shown.result.gain) == (1, 1 << 20, 6144)
    assert of(status(context, clock), "web3").status is Status.FAILED
    compact(context, ["web1"])  # which is for some hosts only, and hides nothing of the others
    assert "4.0 KiB more could be freed of web2" in of(status(context, clock), "compact").message


@pytest.mark.unit
def test_many_hosts_are_not_all_named() -> None:
    known = [CompactionFigures(f"web{n}", None, 0, 1024 * n, 0, None) for n in range(6)]
    found = summed(known)
    assert found and found[0].endswith("(web5 5.0 KiB, web4 4.0 KiB, web3 3.0 KiB and 2 more)")
