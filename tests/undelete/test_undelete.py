"""What a hostile host or an intruder on the storage did is undone: the last clean point comes back."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.harness.audit import tampering
from tests.harness.audit.compaction import Countdown, Killed, killable
from tests.harness.audit.segments import MANIFEST
from tests.harness.audit.vault import AuditedVault, audited_vault
from tests.harness.machines.borgs import BORGS
from tests.harness.steps import release, undelete
from tests.harness.worlds.local import LocalVault
from tests.harness.worlds.steps import Seconds, dataset_only, of, snapnames, world
from zborg.errors import Exit, UsageError
from zborg.model import Outcome, Status
from zborg.model.results import UndeletedHost
from zborg.model.text.remedy import parse
from zborg.steps.compact.facts import records_of, subject_of


@pytest.fixture
def clock() -> Seconds:
    return Seconds()


@pytest.fixture
def scene(vault: LocalVault, clock: Seconds) -> AuditedVault:
    return audited_vault(vault, clock)


def undeleted(scene: AuditedVault, at: str = "") -> Outcome:
    return of(undelete(world(scene.vault, scene.clock), "web1", at), "web1")


def agreed(scene: AuditedVault, outcome: Outcome) -> None:
    """What the remedy has for the host's root, typed there."""
    _, commands = parse(outcome.remedy)
    assert len(commands) in (3, 4), "with the release of its rotation where that is frozen"
    for line in commands[:2]:
        words = [word.replace("/var/lib/zborg", str(scene.host.state)) for word in shlex.split(line)]
        assert words[0] == "rm"
        subprocess.run(words, check=True, timeout=60)


def deleted(scene: AuditedVault) -> None:
    with scene.served(), scene.rpc() as rpc:
        for number in [one for one in rpc.call("list", limit=5) if one != MANIFEST][:4]:
            rpc.call("delete", id=number)
        rpc.call("put", id=MANIFEST, data=rpc.call("get", id=MANIFEST)[:-54])
        rpc.call("commit")


def emptied(scene: AuditedVault) -> None:
    with scene.served(), scene.rpc() as rpc:
        for number in [one for one in rpc.call("list", limit=5) if one != MANIFEST][:4]:
            rpc.call("put", id=number, data=b"")
        rpc.call("commit")


def removed(scene: AuditedVault) -> None:
    tampering.removed(scene.home)


def truncated(scene: AuditedVault) -> None:
    tampering.truncated(scene.home)


def rewritten(scene: AuditedVault) -> None:
    tampering.repaired(scene.home)


def configured(scene: AuditedVault) -> None:
    path = scene.home / "config"
    path.write_text(f"{path.read_text()}key = garbage\n")


def nonce_gone(scene: AuditedVault) -> None:
    (scene.home / "nonce").unlink()


def data_moved(scene: AuditedVault) -> None:
    """The plainest attack; and things in the way of what is brought back."""
    (scene.home / "data").rename(scene.home / "gone")
    (scene.home / "data").write_text("no directory")


def in_the_way(scene: AuditedVault) -> None:
    """A directory in place of a segment, one in place of the copy of another, segments in odd places."""
    one, two, *_ = sorted(scene.home.glob("data/0/*"), key=lambda path: -path.stat().st_size)
    one.unlink()
    one.mkdir()
    two.unlink()
    (two.parent / f"{two.name}.new").mkdir()
    (scene.home / "data/00").mkdir()
    (scene.home / "data/00/99").write_bytes(b"BORG_SEG")
    (scene.home / "nonce").unlink()
    (scene.home / "nonce").symlink_to("/etc/shadow")


def index_of_another(scene: AuditedVault) -> None:
    """Together with a finding: of itself an index is no part of what is audited."""
    for path in scene.home.glob("index.*"):
        path.write_bytes(b"BORG_IDX" + bytes(100))
    (scene.home / "secret").symlink_to("/etc/shadow")


@pytest.mark.parametrize(
    "act",
    [
        *(deleted, emptied, removed, truncated, rewritten, configured),
        *(nonce_gone, data_moved, in_the_way, index_of_another),
    ],
)
def test_the_last_clean_point_is_the_repository_again(
    scene: AuditedVault, act: Callable[[AuditedVault], None]
) -> None:
    archives, last = scene.archives(), scene.last
    nonce = int((scene.home / "nonce").read_text(), 16)
    act(scene)
    assert scene.audited().status is Status.DAMAGED
    outcome = undeleted(scene)
    assert outcome.status is Status.OK, outcome
    assert isinstance(outcome.result, UndeletedHost) and outcome.result.transaction == last
    assert int((scene.home / "nonce").read_text(), 16) >= nonce, "none is used twice"
    (held,) = scene.vault.zfs.holds([outcome.result.set_aside])
    assert held.tag == "zborg:keep:undelete:-"
    agreed(scene, outcome)
    assert scene.archives() == archives
    assert scene.checks()
    release(world(scene.vault, scene.clock), ["web1"])
    assert scene.night().status is Status.OK, "audit goes on from there"
    assert len(scene.archives()) == len(archives) + 1


@pytest.mark.parametrize("borg", BORGS)
def test_a_delete_by_borg_itself_is_undone(vault: LocalVault, clock: Seconds, borg: str) -> None:
    scene = audited_vault(vault, clock, borg=borg)
    archives = scene.archives()
    with scene.served():
        scene.borg("delete", f"ssh://web1/./web1::{archives[0]}", version=borg)
    assert scene.audited().status is Status.DAMAGED
    outcome = undeleted(scene)
    refused = scene.backed_up()
    assert refused.status is Status.CONFLICT, "the host takes an older state for an attack"
    agreed(scene, outcome)
    assert scene.archives() == archives
    release(world(scene.vault, scene.clock), ["web1"])
    assert scene.night().status is Status.OK


def test_without_a_finding_nothing_is_undone_unless_a_snapshot_is_named(scene: AuditedVault) -> None:
    context = world(scene.vault, scene.clock)
    with pytest.raises(UsageError, match="there is nothing to undo"):
        undelete(context, "web1")
    with pytest.raises(UsageError, match="no entry of tank/borg/web1@zborg_nope"):
        undelete(context, "web1", "zborg_nope")
    first = snapnames(scene.vault, "tank/borg/web1")[0]
    report = undelete(context, "web1", first, dry_run=True)
    assert f"again what it is in tank/borg/web1@{first}" in report.plan[0]
    archives = scene.archives()
    outcome = undeleted(scene, first)
    assert outcome.status is Status.OK, outcome
    agreed(scene, outcome)
    assert scene.archives() == archives[:1]


def test_a_clean_point_whose_snapshot_is_gone_is_named(scene: AuditedVault) -> None:
    name = snapnames(scene.vault, "tank/borg/web1")[-1]
    removed(scene)
    assert scene.audited().status is Status.DAMAGED
    scene.vault.zfs.release("zborg:keep:audit:-", f"tank/borg/web1@{name}")
    (one,) = (s for s in scene.vault.zfs.snapshots("tank/borg/web1") if s.snapname == name)
    scene.vault.zfs.destroy("tank/borg/web1", {name: one.guid})
    outcome = undeleted(scene)
    assert outcome.status is Status.FAILED and f"tank/borg/web1@{name} of" in outcome.message


def test_a_snapshot_that_is_not_what_was_recorded_is_no_clean_point(scene: AuditedVault) -> None:
    """The copy that it is made of was changed, too: nothing is called whole, and nothing is done."""
    name = snapnames(scene.vault, "tank/borg/web1")[-1]
    removed(scene)
    assert scene.audited().status is Status.DAMAGED
    (one,) = (s for s in scene.vault.zfs.snapshots("tank/borg/web1") if s.snapname == name)
    place = Path(scene.vault.zfs.contents(one, str(scene.home)))
    path = max(place.glob("data/*/*"), key=lambda path: path.stat().st_size)
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    outcome = undeleted(scene)
    assert outcome.status is Status.DAMAGED and "object with another content" in outcome.message
    assert not records_of(world(scene.vault, scene.clock)).unfinished("web1"), "it is looked at first"
    assert len(list(scene.home.glob("data/*/*"))) < len(list(place.glob("data/*/*"))), "nothing was touched"


EFFECTS = range(1, 41)


@pytest.mark.parametrize(
    "count", [pytest.param(n, marks=() if n in (6, 11, 17) else (pytest.mark.deep,)) for n in EFFECTS]
)
def test_an_undelete_that_is_killed_is_finished_before_anything_else(scene: AuditedVault, count: int) -> None:
    archives = scene.archives()
    emptied(scene)
    removed(scene)
    assert scene.audited().status is Status.DAMAGED
    countdown = Countdown(count)
    with pytest.MonkeyPatch.context() as patch:
        context = killable(scene, countdown, patch)
        try:
            undelete(context, "web1")
        except Killed:
            pass
        else:
            assert countdown.left > 0
    context = world(scene.vault, scene.clock)
    if records_of(context).unfinished("web1"):
        assert scene.report().outcomes[0].remedy == "zborg undelete web1", "audit waits for it"
    outcome = undeleted(scene) if _is_open(scene) else None
    assert outcome is None or outcome.status is Status.OK, outcome
    for path in (scene.host.state / "borg/.config/borg/security").glob("*/manifest-timestamp"):
        path.unlink()
    assert scene.archives() == archives
    assert scene.checks()
    release(world(scene.vault, scene.clock), ["web1"])
    assert scene.night().status is Status.OK
    assert not records_of(context).unfinished("web1")


def _is_open(scene: AuditedVault) -> bool:
    """Whether it is still to be done: killed at the very end, the ledger has its entry."""
    context = world(scene.vault, scene.clock)
    latest = subject_of(context, context.config.hosts[0]).opened().latest("web1")
    return bool(records_of(context).unfinished("web1")) or not (latest and latest.clean)


def test_an_off_site_undeletes_nothing(scene: AuditedVault) -> None:
    context = world(scene.vault, scene.clock)
    config = replace(context.config, storage=replace(context.config.storage, received=True))
    report = undelete(replace(context, config=config), "web1")
    assert report.exit is Exit.FAILED and "which alone may change it" in report.outcomes[0].message


def test_who_has_no_ledger_is_told_how_to_begin_one(vault: LocalVault, clock: Seconds) -> None:
    dataset_only(vault, "web1")
    assert undelete(world(vault, clock), "web1").outcomes[0].remedy == "zborg init"
