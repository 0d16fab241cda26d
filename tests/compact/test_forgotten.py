"""A ledger that was lost or broken has forgotten what waited for an approval: it waits all the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.harness.audit.segments import MANIFEST, delete, key, put
from tests.harness.audit.vault import audited_vault
from tests.harness.audit.written import committed, written_hosts
from tests.harness.steps import audit, compact, release, snapshot
from tests.harness.worlds.local import LocalVault
from tests.harness.worlds.steps import Hours, Seconds, of, world
from zborg.model import Outcome, Status


def broken(vault: LocalVault) -> None:
    """Somebody cut the ledger on the storage."""
    path = vault.zfs.directory("tank/borg/zborg-ledger") / "entries.jsonl"
    path.write_bytes(path.read_bytes()[:100])


def lost(vault: LocalVault) -> None:
    """The server was set up anew, and the dataset too; its key came from paper, as it were."""
    for folder in (vault.state / "ledger", vault.zfs.directory("tank/borg/zborg-ledger")):
        for path in (one for one in folder.rglob("*") if one.is_file() and not one.name.startswith("key")):
            path.unlink()


@pytest.mark.parametrize("happens", [broken, lost])
def test_what_waited_for_an_approval_waits_in_a_new_ledger_too(
    vault: LocalVault, clock: Hours, happens: object
) -> None:
    written_hosts(vault, clock, "web1", "web2")
    home = vault.zfs.directory("tank/borg/web1")
    assert looked(vault, clock).status is Status.OK
    committed(home, 4, put(key(8), b"n" * 2000))
    committed(home, 6, delete(key(1)), delete(key(8)), put(MANIFEST, b"m" * 500))
    assert looked(vault, clock).status is Status.DAMAGED
    happens(vault)  # type: ignore[operator]  # a function that the parameter names
    again = looked(vault, clock)
    assert again.status.good, again.result.traceback
    release(world(vault, clock), ["web1"])
    assert looked(vault, clock).status is Status.OK
    refused = compacted(vault, clock)
    assert refused.status is Status.CONFLICT, refused
    assert "what was deleted up to transaction 6, of before this ledger" in refused.message
    assert refused.remedy.endswith("zborg compact web1 --approve 6")
    assert of(compact(world(vault, clock), ["web2"]), "web2").status is Status.SKIPPED, "nothing was deleted"


def looked(vault: LocalVault, clock: Hours) -> Outcome:
    (vault.zfs.directory("tank/borg/web1") / "README").write_text(f"{clock.now}")
    clock.tick()
    snapshot(world(vault, clock))
    clock.tick()
    return of(audit(world(vault, clock)), "web1")


def compacted(vault: LocalVault, clock: Hours) -> Outcome:
    clock.tick()
    return of(compact(world(vault, clock), ["web1"]), "web1")


def test_who_agrees_to_it_has_it_freed(vault: LocalVault) -> None:
    scene = audited_vault(vault, Seconds())
    assert scene.pruned().status is Status.OK
    broken(vault)
    assert scene.audited().status is Status.OK
    before, last = scene.size, scene.last
    assert scene.compacted().status is Status.CONFLICT and scene.size == before
    approved = scene.compacted(last)
    assert approved.status is Status.OK, approved
    assert scene.size < before and scene.checks()


def test_a_host_that_this_ledger_knows_from_its_first_backup_on_has_no_such_past(vault: LocalVault) -> None:
    scene = audited_vault(vault, Seconds())
    assert scene.pruned().status is Status.OK
    assert scene.compacted().status is Status.OK
    assert not [one for one in Path(vault.state / "ledger").glob("host-*") if "unjudged" in one.read_text()]
