"""What hosts do that mean no harm is never a finding: real borgs of both kinds, interruptions and all."""

from __future__ import annotations

import os
import shutil
import signal
import threading

import pytest

from tests.harness.audit.segments import MANIFEST
from tests.harness.audit.vault import AuditedVault, audited_vault
from tests.harness.machines.borgs import BORGS, borg_of
from tests.harness.machines.host import creating
from tests.harness.watch import until
from tests.harness.worlds.local import LocalVault
from tests.harness.worlds.steps import Hours, snapnames
from zborg.model import Outcome, Status
from zborg.model.ledger.sessions import Purpose, Session
from zborg.model.results import AuditedHost


@pytest.fixture(params=BORGS)
def scene(vault: LocalVault, clock: Hours, request: pytest.FixtureRequest) -> AuditedVault:
    return audited_vault(vault, clock, borg=request.param)


def result(outcome: Outcome) -> AuditedHost:
    assert isinstance(outcome.result, AuditedHost)
    return outcome.result


def test_a_night_adds_what_is_new_and_nothing_is_wrong(scene: AuditedVault) -> None:
    outcome = scene.night()
    assert outcome.status is Status.OK, outcome
    found = result(outcome)
    assert (found.transactions, found.deletes, found.findings) == (1, 0, ())
    assert 100_000 < found.bytes < 110_000 and found.objects == 4
    again = scene.report()
    assert "no snapshot since" in again.outcomes[0].message


def test_a_host_may_prune_when_it_is_asked_to(scene: AuditedVault) -> None:
    scene.vault.backup["prune_every"] = 1
    conf = scene.host.confdir / "agent.conf"
    conf.write_text(conf.read_text() + "keep_last = 1\n")
    made = scene.backed_up()
    assert "pruned" in made.data, made
    outcome = scene.audited()
    assert outcome.status is Status.OK, outcome
    assert result(outcome).deletes > 3, "there was something to explain"
    assert scene.night().status is Status.OK, "a smaller list of archives is what the next is compared with"


def test_what_a_killed_borg_leaves_is_no_finding(scene: AuditedVault) -> None:
    """Twice: once before any commit, and then the next night cleans up and goes on."""
    conf = scene.host.confdir / "agent.conf"
    usual = conf.read_text()
    slow = scene.host.directory / "slow-borg"
    borg = next(line.partition("= ")[2] for line in usual.splitlines() if line.startswith("borg = "))
    slow.write_text(f'#!/bin/sh\nexec {borg} --upload-ratelimit 2000 "$@"\n')
    slow.chmod(0o755)
    conf.write_text(usual.replace(borg, str(slow)))
    made: list[Outcome] = []
    thread = threading.Thread(target=lambda: made.append(scene.backed_up(20_000_000)))
    thread.start()
    data = scene.home / "data/0"
    before = {path.name for path in data.iterdir()}
    until(lambda: {path.name for path in data.iterdir()} - before, "it uploads")
    pid = creating(scene.host)
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    thread.join()
    assert made[0].status.bad, made
    outcome = scene.audited()
    assert outcome.status is Status.OK, outcome
    conf.write_text(usual)
    assert scene.night().status is Status.OK
    assert scene.night().status is Status.OK


def test_checkpoints_are_no_finding(scene: AuditedVault) -> None:
    """Each checkpoint that another one replaces is an object that is deleted outside of a prune."""
    conf = scene.host.confdir / "agent.conf"
    usual = conf.read_text()
    borg = next(line.partition("= ")[2] for line in usual.splitlines() if line.startswith("borg = "))
    slow = scene.host.directory / "slow-borg"
    slow.write_text(
        "#!/bin/sh\n"
        'for word in "$@"; do shift; set -- "$@" "$word"\n'
        '[ "$word" != create ] || set -- "$@" --checkpoint-interval 1\ndone\n'
        f'exec {borg} --upload-ratelimit 3000 "$@"\n'
    )
    slow.chmod(0o755)
    conf.write_text(usual.replace(borg, str(slow)))
    for number in range(6):
        (scene.host.data / f"part{number}").write_bytes(os.urandom(2_000_000))
    made = scene.backed_up()
    assert made.status.good, made
    outcome = scene.audited()
    assert outcome.status is Status.OK, outcome
    assert result(outcome).deletes > 0, "there were checkpoints"
    conf.write_text(usual)
    assert scene.night().status is Status.OK


def test_an_archive_that_is_renamed_within_a_run_is_no_finding(scene: AuditedVault) -> None:
    made = scene.backed_up()
    with scene.served():
        scene.borg("rename", f"ssh://x/./web1::{made.data['archive']}", "web1-2026-02-12T111111Z")
    outcome = scene.audited()
    assert outcome.status is Status.OK, outcome
    assert result(outcome).deletes == 1


def test_the_other_borg_may_go_on(scene: AuditedVault) -> None:
    conf = scene.host.confdir / "agent.conf"
    for version in (*BORGS, *BORGS):
        scene.host.setup("web1", [scene.host.data], borg=borg_of(version))
        assert scene.night().status is Status.OK, version
    assert conf.exists()


def test_a_past_before_the_ledger_is_not_judged(vault: LocalVault, clock: Hours) -> None:
    """As with an imported repository: what was deleted then was deleted."""
    scene = audited_vault(vault, clock)
    with scene.rpc() as rpc:
        for number in [one for one in rpc.call("list", limit=4) if one != MANIFEST][:3]:
            rpc.call("delete", id=number)
        rpc.call("commit")
    for path in (vault.state / "ledger").glob("host-*"):
        path.unlink()
    outcome = scene.audited()
    assert outcome.status is Status.OK, outcome
    assert result(outcome).deletes == 3


def test_a_run_that_was_killed_still_explains_what_came(scene: AuditedVault) -> None:
    """Its end was never written down: it ends where the next one begins."""
    before = scene.last
    with scene.rpc() as rpc:
        rpc.call("put", id=b"n" * 32, data=b"news")
        rpc.call("commit")
    scene.vault.context().sessions.begin("web1", Session(Purpose.BACKUP, "killed", scene.clock.now, before))
    assert scene.night().status is Status.OK


def test_a_repository_that_zborg_made_anew_is_new_to_the_ledger_too(scene: AuditedVault) -> None:
    """The old one was set aside: the README's rebuilt host."""
    aside = scene.vault.directory / "aside"
    aside.mkdir()
    for path in scene.home.iterdir():
        path.rename(aside / path.name)
    for one in scene.vault.zfs.snapshots("tank/borg/web1"):
        scene.vault.zfs.destroy("tank/borg/web1", {one.snapname: one.guid})
    shutil.rmtree(scene.host.state)
    made = scene.backed_up()
    assert made.status.good, made
    outcome = scene.audited()
    assert (outcome.status, result(outcome).transactions) == (Status.OK, 2), outcome
    assert scene.night().status is Status.OK


def test_two_looks_without_a_backup_between_find_nothing(scene: AuditedVault) -> None:
    for _ in range(2):
        outcome = scene.audited()
        assert (outcome.status, "no news in" in outcome.message) == (Status.OK, True)
    assert len(snapnames(scene.vault, "tank/borg/web1")) == 5
