"""restore serve: borg by hand on the host, through the tunnel, from a snapshot. Real borg, sshd and agent."""

from __future__ import annotations

import os
import subprocess

import pytest

from tests.harness.machines.host import BackedUpHost
from tests.harness.restore.lending import Lending, backed_up, by_hand, lent
from tests.harness.steps import backup, replicate, restore_serve
from tests.harness.watch import until
from tests.harness.worlds.local import LocalVault
from tests.harness.worlds.steps import Hours, snapnames
from zborg.errors import Exit, UsageError
from zborg.interrupt import cancelled
from zborg.model import Status
from zborg.steps.restore.source import Source


@pytest.fixture
def uncancelled(request: pytest.FixtureRequest) -> None:
    request.addfinalizer(cancelled.clear)


def clones(vault: LocalVault) -> list[str]:
    return [d.name for d in vault.zfs.datasets("tank") if "/zborg-scratch/" in d.name]


@pytest.mark.usefixtures("uncancelled")
def test_the_owner_reads_the_snapshot_by_hand(vault: LocalVault, clock: Hours) -> None:
    host, context = backed_up(vault, clock)
    lending = Lending(context)
    listed = by_hand(host, "list", "--short")
    assert listed.returncode == 0, listed.stderr
    (archive,) = listed.stdout.split()  # the second came after the snapshot
    place = vault.directory / "back"
    place.mkdir()
    extracted = by_hand(host, "extract", f"::{archive}", into=place)
    assert extracted.returncode == 0, extracted.stderr
    assert (place / str(host.data / "file").lstrip("/")).read_text() == "of web1"
    until(lent(host), "the next is lent")
    report = lending.end()
    assert (report.exit, report.outcomes[0].data["commands_served"]) == (Exit.OK, 2), report.outcomes
    assert not clones(vault)
    words = [event.message for event in vault.events if event.kind == "warning"]
    assert any("--borg-env" in one for one in words) and any("what writes is refused" in one for one in words)
    assert 'eval "$(/usr/local/libexec/zborg-agent --borg-env)"' in words, "a line of its own, to be copied"


@pytest.mark.usefixtures("uncancelled")
def test_a_copy_is_fetched_and_lent(vault: LocalVault, clock: Hours) -> None:
    """What the host reads came from there: the storage itself has a later archive."""
    host, context = backed_up(vault, clock)
    assert replicate(context).exit is Exit.OK
    lending = Lending(context, Source("offsite"))
    listed = by_hand(host, "list", "--short")
    assert listed.returncode == 0 and len(listed.stdout.split()) == 1, listed
    assert lending.end().exit is Exit.OK
    assert not clones(vault)


@pytest.mark.usefixtures("uncancelled")
def test_nothing_stays_when_nobody_came(vault: LocalVault, clock: Hours) -> None:
    """The relays wait for a borg that never came; they hear that the server is gone."""
    host, context = backed_up(vault, clock)
    lending = Lending(context)
    until(lent(host), "it is lent")
    backup_meanwhile = backup(context)
    assert backup_meanwhile.outcomes[0].status is not Status.BUSY, "a night does not wait for it"
    report = lending.end()
    assert (report.exit, report.outcomes[0].data["commands_served"]) == (Exit.OK, 0)
    until(lambda: not lent(host)() and not relays(host), "the host is clean again")
    assert not clones(vault)


def relays(host: BackedUpHost) -> list[str]:
    found = subprocess.run(["pgrep", "-af", str(host.agent)], capture_output=True, text=True)
    return [line for line in found.stdout.splitlines() if "pgrep" not in line]


@pytest.mark.usefixtures("uncancelled")
def test_what_a_killed_agent_left_is_taken_over(vault: LocalVault, clock: Hours) -> None:
    """Its directory with the FIFOs, and the number of a process that is no agent."""
    host, context = backed_up(vault, clock)
    left = host.run / "lend"
    left.mkdir(mode=0o700)
    for name in ("up", "down"):
        os.mkfifo(left / name)
    (left / "pid").write_text(f"{os.getpid()}\n")
    with subprocess.Popen(["sh", "-c", f"exec cat <{left}/up"]) as waiting:  # its relay, which it lost
        lending = Lending(context)
        listed = by_hand(host, "list", "--short")
        assert listed.stdout.startswith("web1-"), listed.stderr
        assert lending.end().exit is Exit.OK
        assert waiting.wait(10) == 0


@pytest.mark.usefixtures("uncancelled")
def test_two_do_not_lend_at_once(vault: LocalVault, clock: Hours) -> None:
    host, context = backed_up(vault, clock)
    lending = Lending(context)
    until(lent(host), "it is lent")
    assert restore_serve(context, "web1").exit is Exit.LOCKED
    refused = host.call("lend web1")
    assert refused.returncode == 75 and b"busy: 1 sessions with lend" in refused.stderr
    assert lent(host)(), "the first one's goes on"
    assert by_hand(host, "list", "--short").returncode == 0
    lending.end()


def test_without_a_server_the_owner_is_told_what_comes_first(vault: LocalVault) -> None:
    host = vault.add("web1")
    told = by_hand(host, "list")
    assert told.returncode != 0
    assert "nothing is lent here; on the backup server: zborg restore serve web1" in told.stderr


def test_a_dry_run_lends_nothing(vault: LocalVault, clock: Hours) -> None:
    host, context = backed_up(vault, clock)
    report = restore_serve(context, "web1", dry_run=True)
    assert (
        report.plan[0] == f"clone tank/borg/web1@{snapnames(vault, 'tank/borg/web1')[0]} and lend it to web1"
    )
    assert not lent(host)() and not clones(vault)
    with pytest.raises(UsageError, match="no such host"):
        restore_serve(context, "web2")
