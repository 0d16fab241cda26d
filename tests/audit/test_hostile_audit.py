"""What a hostile host or an intruder on the storage does to a repository is found, named and frozen.

Raw calls through a real `borg serve`, borg's own commands through the real tunnel, files changed on the pool.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable

import pytest

from tests.harness.audit import tampering
from tests.harness.audit.segments import MANIFEST, commit, segment
from tests.harness.audit.vault import AuditedVault, audited_vault
from tests.harness.machines.hostile.rpc import Rpc
from tests.harness.steps import release, rotate, snapshot
from tests.harness.worlds.local import LocalVault
from tests.harness.worlds.steps import Hours, dataset_only, snapnames, world
from zborg.errors import Exit
from zborg.model import Status
from zborg.model.ledger.entries import Rule
from zborg.model.ledger.sessions import Purpose
from zborg.model.results import AuditedHost


@pytest.fixture
def scene(vault: LocalVault, clock: Hours) -> AuditedVault:
    return audited_vault(vault, clock)


def rules(scene: AuditedVault) -> set[str]:
    """Of the findings of an audit now; the host is frozen, and the last good snapshot held."""
    clean = snapnames(scene.vault, "tank/borg/web1")[-1]
    outcome = scene.audited()
    assert outcome.status is Status.DAMAGED, outcome
    assert isinstance(outcome.result, AuditedHost)
    assert outcome.result.last_clean == f"tank/borg/web1@{clean}"
    assert "web1" in scene.vault.context().frozen.now()
    (held,) = scene.vault.zfs.holds([f"tank/borg/web1@{clean}"])
    assert held.tag == "zborg:keep:audit:-"
    return {one.partition(":")[0] for one in outcome.result.findings}


# --- through borg serve, within a backup --------------------------------------------------------------------


def others(rpc: Rpc, count: int) -> list[bytes]:
    return [one for one in rpc.call("list", limit=count + 1) if one != MANIFEST][:count]


def deleted(rpc: Rpc) -> None:
    for number in others(rpc, 4):
        rpc.call("delete", id=number)
    rpc.call("put", id=MANIFEST, data=rpc.call("get", id=MANIFEST))


def emptied(rpc: Rpc) -> None:
    for number in others(rpc, 4):
        rpc.call("put", id=number, data=b"")


def smaller_manifest(rpc: Rpc) -> None:
    rpc.call("put", id=MANIFEST, data=rpc.call("get", id=MANIFEST)[:-54])


def manifest_gone(rpc: Rpc) -> None:
    rpc.call("put", id=MANIFEST, data=b"")


@pytest.mark.parametrize(
    ("act", "expected"),
    [
        (deleted, {Rule.DELETES}),
        (emptied, {Rule.DELETES, Rule.REPLACED}),
        (smaller_manifest, {Rule.MANIFEST}),
        (manifest_gone, {Rule.MANIFEST}),
    ],
)
def test_calls_that_no_backup_makes_are_found(
    scene: AuditedVault, act: Callable[[Rpc], None], expected: set[str]
) -> None:
    with scene.served(), scene.rpc() as rpc:
        act(rpc)
        rpc.call("commit")
    assert rules(scene) == expected


def test_an_older_manifest_put_again_is_found(scene: AuditedVault) -> None:
    with scene.rpc() as rpc:
        older = rpc.call("get", id=MANIFEST)
    assert scene.night().status is Status.OK
    with scene.served(), scene.rpc() as rpc:
        rpc.call("put", id=MANIFEST, data=older)
        rpc.call("commit")
    assert rules(scene) == {Rule.MANIFEST}


def test_a_host_that_deletes_all_that_the_last_night_brought_is_found(scene: AuditedVault) -> None:
    """Objects of the transaction before, as a replaced checkpoint is; but many, and of another session."""
    with scene.rpc() as rpc:
        known = set(others(rpc, 1000))
    made = scene.backed_up()
    assert made.status is Status.OK
    with scene.served(), scene.rpc() as rpc:
        for number in set(others(rpc, 1000)) - known:
            rpc.call("delete", id=number)
        rpc.call("commit")
    assert rules(scene) == {Rule.DELETES}


def test_the_same_while_nothing_is_served_is_found_twice(scene: AuditedVault) -> None:
    with scene.rpc() as rpc:
        deleted(rpc)
        rpc.call("commit")
    assert rules(scene) == {Rule.DELETES, Rule.OUTSIDE}


def test_a_prune_explains_deletes_and_no_replaced_objects(scene: AuditedVault) -> None:
    with scene.served(Purpose.PRUNE), scene.rpc() as rpc:
        emptied(rpc)
        rpc.call("commit")
    assert rules(scene) == {Rule.REPLACED}


def test_a_nonce_that_jumps_is_found(scene: AuditedVault) -> None:
    with scene.served(), scene.rpc() as rpc:
        start = rpc.call("get_free_nonce")
        rpc.call("commit_nonce_reservation", next_unreserved=1 << 63, start_nonce=start)
    assert rules(scene) == {Rule.NONCE}


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["delete", "{newest}"], {Rule.DELETES, Rule.MANIFEST}),
        (["prune", "--keep-last", "1", "ssh://x/./web1"], {Rule.DELETES, Rule.MANIFEST}),
        (["recreate", "--exclude", "*file*", "ssh://x/./web1"], {Rule.DELETES}),
        (["delete", "ssh://x/./web1"], None),
    ],
)
def test_borg_s_own_commands_outside_a_prune_are_found(
    scene: AuditedVault, words: list[str], expected: set[str] | None
) -> None:
    made = scene.backed_up()
    newest = f"ssh://x/./web1::{made.data['archive']}"
    with scene.served():
        scene.borg(*(word.format(newest=newest) for word in words)) if expected else None
    if expected is None:  # refused by borg serve: nothing happened, and nothing is found
        assert scene.audited().status is Status.OK
    else:
        assert rules(scene) >= expected


# --- on the pool ----------------------------------------------------------------------------------------


def truncated(scene: AuditedVault) -> None:
    tampering.truncated(scene.home)


def removed(scene: AuditedVault) -> None:
    tampering.removed(scene.home)


def rewritten(scene: AuditedVault) -> None:
    tampering.repaired(scene.home)


def emptied_log(scene: AuditedVault) -> None:
    (scene.home / "transactions").write_text("transaction 13, UTC time 2026-02-12T14:49:33.000000\n")


def other_key(scene: AuditedVault) -> None:
    (scene.home / "config").write_text(f"{(scene.home / 'config').read_text()}key = garbage\n")


def carriage_return(scene: AuditedVault) -> None:
    (scene.home / "config").write_text(
        f"{(scene.home / 'config').read_text()}key = x\r[repository]\rid = 0\n"
    )


def link(scene: AuditedVault) -> None:
    (scene.home / "data/0/99").symlink_to("/etc/shadow")


def huge(scene: AuditedVault) -> None:
    path = scene.home / "data/0/99"
    path.touch()
    os.truncate(path, 1 << 30)


def crafted(scene: AuditedVault) -> None:
    """An entry that says it is larger than borg's ever are, in a segment that ends with a commit."""
    (scene.home / "data/0/99").write_bytes(segment([b"\xff" * 9, commit()]))


def version_2(scene: AuditedVault) -> None:
    (scene.home / "packs").mkdir()


def no_config(scene: AuditedVault) -> None:
    (scene.home / "config").unlink()


@pytest.mark.parametrize(
    ("act", "expected"),
    [
        (truncated, {Rule.GONE}),
        (removed, {Rule.GONE}),
        (rewritten, {Rule.REWRITTEN}),
        (emptied_log, {Rule.LOG}),
        (other_key, {Rule.CONFIG}),
        (carriage_return, {Rule.CONFIG}),
        (link, {Rule.STRAY}),
        (huge, {Rule.HUGE}),
        (crafted, {Rule.MALFORMED}),
        (version_2, {Rule.VERSION}),
        (no_config, {Rule.VERSION}),
    ],
)
def test_files_that_were_changed_on_the_pool_are_found(
    scene: AuditedVault, act: Callable[[AuditedVault], None], expected: set[str]
) -> None:
    act(scene)
    assert rules(scene) - {Rule.OUTSIDE} >= expected


def test_a_repository_that_was_rolled_back_is_found(scene: AuditedVault) -> None:
    copy = scene.vault.directory / "older"
    shutil.copytree(scene.home, copy, symlinks=True)
    assert scene.night().status is Status.OK
    assert scene.night().status is Status.OK
    shutil.rmtree(scene.home)
    shutil.copytree(copy, scene.home, symlinks=True)
    assert rules(scene) >= {Rule.WENT_BACK}
    assert scene.audited().status is Status.WARNING, "nothing new, and nobody has released it"


# --- what follows ---------------------------------------------------------------------------------------


def test_a_finding_lasts_until_a_person_releases_the_host(scene: AuditedVault) -> None:
    with scene.served(), scene.rpc() as rpc:
        for act in ("put", "put", "delete"):  # what it deletes is its own, and borg misses nothing
            rpc.call(act, id=b"n" * 32, **({"data": b"news"} if act == "put" else {}))
            rpc.call("put", id=act.encode() + os.urandom(29)[: 32 - len(act)], data=b"x")
            rpc.call("commit")
    held = snapnames(scene.vault, "tank/borg/web1")[-1]
    assert rules(scene) >= {Rule.REPLACED}
    again = scene.report()
    assert again.outcomes[0].status is Status.WARNING and "not released yet" in again.outcomes[0].message
    assert scene.night().status is Status.WARNING
    rotate(world(scene.vault, scene.clock))
    assert len(snapnames(scene.vault, "tank/borg/web1")) == 5, "its rotation is frozen"
    scene.clock.tick()
    assert release(world(scene.vault, scene.clock), ["web1"]).exit is Exit.OK
    assert scene.night().status is Status.OK
    rotate(world(scene.vault, scene.clock))
    assert held in snapnames(scene.vault, "tank/borg/web1"), "a person releases the hold as well"


def test_a_repository_that_cannot_be_read_is_a_finding_and_the_others_go_on(scene: AuditedVault) -> None:
    dataset_only(scene.vault, "never", "web2")
    (scene.vault.zfs.directory("tank/borg/web2") / "config").write_bytes(b"\xff" * 100)
    scene.clock.tick()
    snapshot(world(scene.vault, scene.clock), label="always")
    never, bad, good = scene.report().outcomes
    assert (never.status, never.message) == (Status.SKIPPED, "there is no repository of it yet")
    assert (bad.subject, bad.status) == ("web2", Status.DAMAGED)
    assert bad.message.startswith("there is no repository that can be read")
    assert bad.message.endswith("no earlier snapshot was found good by audit")
    assert (good.subject, good.status) == ("web1", Status.OK)


def test_a_snapshot_that_cannot_be_opened_is_a_failure_and_no_finding(
    scene: AuditedVault, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = scene.backed_up()
    assert made.status is Status.OK
    scene.clock.tick()
    snapshot(world(scene.vault, scene.clock))
    with monkeypatch.context() as patch:
        patch.setattr(scene.vault.zfs, "contents", lambda *_: "/nonexistent")
        (outcome,) = scene.report().outcomes
    assert outcome.status is Status.FAILED
    assert outcome.message == "it was not read: its snapshot's directory cannot be opened (errno 2)"
    assert outcome.remedy.splitlines()[0].startswith("on the storage")
    assert not scene.vault.context().frozen.now()
    outcome = scene.night()
    assert outcome.status is Status.OK, outcome
    assert isinstance(outcome.result, AuditedHost) and outcome.result.transactions == 2
