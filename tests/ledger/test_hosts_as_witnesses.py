"""Every host is a witness of the ledger: it is given a checkpoint with its backup, and asked for it later.

Real sshd, agent, borg and reader. Root on the server is played with all its keys in hand.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.harness.audit.vault import AuditedVault, audited_vault
from tests.harness.checkout import CHECKOUT
from tests.harness.machines.borgs import borg_of
from tests.harness.machines.host import BackedUpHost
from tests.harness.steps import backup, begin_ledger
from tests.harness.worlds.local import LocalVault
from tests.harness.worlds.steps import Hours, of, world
from zborg.errors import Exit, UsageError
from zborg.hosts.agent import script
from zborg.model import Outcome, Report, Status, results
from zborg.model.ledger import checkpoint_word
from zborg.model.ledger.merkle import Frontier, leaf_hash
from zborg.model.ledger.note import Checkpoint, parse, signed
from zborg.model.results import HostLedger, backup_of
from zborg.state.ledger import key
from zborg.state.ledger.key import Key
from zborg.steps.context import begin
from zborg.steps.hosts.overview import reach_hosts
from zborg.steps.ledger.check import Request, check_own

OLDER = (CHECKOUT / "tests" / "golden" / "agents" / "agent-2026-11.sh").read_text(encoding="utf-8")
DAY = 86400


@pytest.fixture
def scene(vault: LocalVault, clock: Hours) -> AuditedVault:
    """Three nights: before the second backup there was a checkpoint to give."""
    return audited_vault(vault, clock)


def check(scene: AuditedVault, *names: str) -> Report:
    run = begin(world(scene.vault, scene.clock), "ledger check")
    return check_own(run, Request(hosts=names))


def looked_at(scene: AuditedVault, *names: str) -> Outcome:
    report = reach_hosts(begin(world(scene.vault, scene.clock), "host test"), names)
    return of(report, names[0] if names else "web1")


def stored(host: BackedUpHost) -> Path:
    return host.state / "witness"


def sizes(host: BackedUpHost) -> list[int]:
    """As the host has them."""
    words = (line.split(" ")[1] for line in stored(host).read_text().splitlines())
    return [checkpoint_word.read(word).checkpoint.size for word in words]


def earlier(host: BackedUpHost) -> None:
    """As if what the host has had been given a day earlier."""
    lines = [line.split(" ") for line in stored(host).read_text().splitlines()]
    stored(host).write_text("".join(f"{int(at) - DAY} {word}\n" for at, word in lines))


def ledger(scene: AuditedVault) -> Path:
    return scene.vault.zfs.directory("tank/borg/zborg-ledger")


def own_key(scene: AuditedVault) -> Key:
    found = key.load(scene.vault.state / "ledger" / "key")
    assert found
    return found


def signed_anew(scene: AuditedVault, lines: list[bytes]) -> None:
    """As root on the server would leave it: other lines, and one good checkpoint over them."""
    own, tree = own_key(scene), Frontier().extended(map(leaf_hash, lines))
    shutil.rmtree(ledger(scene) / "checkpoints")
    (ledger(scene) / "checkpoints").mkdir()
    (ledger(scene) / "entries.jsonl").write_bytes(b"".join(line + b"\n" for line in lines))
    note = signed(Checkpoint(own.public.name, tree.size, tree.root), own.public, own.sign)
    (ledger(scene) / "checkpoints" / f"{tree.size:012}.note").write_text(note)


def entries(scene: AuditedVault) -> list[bytes]:
    return (ledger(scene) / "entries.jsonl").read_bytes().splitlines()


# --- given with the backup --------------------------------------------------------------------------------


def test_a_host_is_given_the_newest_checkpoint_with_its_backup(scene: AuditedVault) -> None:
    """The first night there was none. The fourth backup has what the third audit signed."""
    assert sizes(scene.host) == [2], "the one of the third night came within half a day"
    earlier(scene.host)
    made = scene.backed_up()
    assert (made.status, backup_of(made.result).witness) == (Status.OK, 4)
    assert sizes(scene.host) == [2, 4]


def test_nothing_is_given_where_there_is_no_ledger(vault: LocalVault, clock: Hours) -> None:
    host = vault.add("web1")
    made = of(backup(world(vault, clock)), "web1")
    assert made.status is Status.OK and not stored(host).exists()


def test_an_older_agent_is_backed_up_as_ever(vault: LocalVault, clock: Hours) -> None:
    """It is not given the word; when it is updated it is, and put back again the backup goes on."""
    begin_ledger(world(vault, clock))
    host = vault.add("web1", agent=OLDER)
    scene = AuditedVault(vault, clock, host)
    for _ in range(2):
        assert scene.night().status is Status.OK
    made = scene.backed_up()
    assert (made.status, backup_of(made.result).witness) == (Status.OK, -1)
    assert of(check(scene), "web1").status is Status.SKIPPED
    host.agent.write_text(script())
    clock.tick(8 * 24)  # asked again after a week
    assert scene.night().status is Status.OK
    (size,) = sizes(host)
    assert size == 3
    host.agent.write_text(OLDER)
    earlier(host)
    made = scene.backed_up()
    assert (made.status, backup_of(made.result).witness) == (Status.OK, -1), made
    assert sizes(host) == [size]
    assert any("older one now" in str(vars(event)) for event in vault.events if hasattr(event, "message"))


def test_a_host_whose_file_is_broken_is_backed_up_and_shown(scene: AuditedVault) -> None:
    stored(scene.host).write_text("garbage\n")
    made = scene.backed_up()
    assert made.status is Status.OK
    assert looked_at(scene).status is Status.WARNING
    found = of(check(scene), "web1")
    assert found.status is Status.FAILED and "witness.broken" in found.remedy


# --- asked for it -----------------------------------------------------------------------------------------


def test_hosts_are_asked_and_compared(scene: AuditedVault) -> None:
    report = check(scene)
    assert report.exit is Exit.OK, report.outcomes
    found = of(report, "web1")
    assert isinstance(found.result, HostLedger)
    assert (found.status, found.result.covered, found.result.signed) == (Status.OK, 2, 1)
    assert "in the first 2, by the word of a witness" in report.outcomes[0].message
    shown = looked_at(scene, "web1")
    assert isinstance(shown.result, results.TestedHost)
    assert shown.result.witnessed == 2
    assert "a witness of the first 2 entries" in shown.message


def rewritten(lines: list[bytes]) -> list[bytes]:
    return [lines[0], lines[1].replace(b'"clean":true', b'"clean":null'), *lines[2:]]


def dropped(lines: list[bytes]) -> list[bytes]:
    return [lines[0], *lines[2:]]


def cut(lines: list[bytes]) -> list[bytes]:
    return lines[:1]


@pytest.mark.parametrize("change", [rewritten, dropped, cut])
def test_root_on_the_server_cannot_change_the_past_unseen(
    scene: AuditedVault, change: Callable[[list[bytes]], list[bytes]]
) -> None:
    signed_anew(scene, change(entries(scene)))
    alone = check_own(begin(world(scene.vault, scene.clock), "ledger check"), Request())
    assert alone.exit is Exit.OK and "cannot be known from it alone" in alone.outcomes[0].message
    report = check(scene)
    assert report.exit is Exit.DAMAGE, report.outcomes
    assert of(report, "web1").status is Status.DAMAGED
    assert looked_at(scene).status is Status.DAMAGED
    assert scene.vault.context().runs.newest("ledger check"), "what was found is recorded"


def test_a_host_that_is_away_hides_no_other(scene: AuditedVault) -> None:
    away = scene.vault.add("away")
    away.sshd.stop()
    signed_anew(scene, rewritten(entries(scene)))
    report = check(scene)
    assert (of(report, "away").status, of(report, "web1").status) == (Status.FAILED, Status.DAMAGED)
    assert report.exit is Exit.DAMAGE
    only = check(scene, "away")
    assert [one.subject for one in only.outcomes][1:] == ["away"]
    with pytest.raises(UsageError):
        check(scene, "nobody")


# --- a host that lies -------------------------------------------------------------------------------------


def test_what_a_host_made_up_is_its_word_and_no_proof(scene: AuditedVault) -> None:
    """Under the ledger's name, and under another: signed by no key of this ledger's."""
    name = own_key(scene).public.name
    forged = []
    for other in (Key(name, bytes(32)), Key("backup9/00000000", bytes(32))):
        note = parse(signed(Checkpoint(other.public.name, 3, b"x" * 32), other.public, other.sign))
        forged.append(f"1700000000 {checkpoint_word.write(note)}\n")
    stored(scene.host).write_text("".join(forged) + stored(scene.host).read_text())
    report = check(scene)
    assert report.exit is Exit.OK, report.outcomes
    found = of(report, "web1")
    assert isinstance(found.result, HostLedger)
    assert (found.status, found.result.unsigned, found.result.others) == (Status.WARNING, 1, 1)
    assert "not signed by the ledger's key, by the word of this host" in found.message
    assert report.outcomes[0].status is Status.OK
    stored(scene.host).write_text(forged[0])
    assert of(check(scene), "web1").status is Status.WARNING


HOSTILE = {
    "garbage": "head -c 20000 /dev/urandom",
    "100 MB": "head -c 100000000 /dev/zero",
    "100 MB of lines": "yes 1700000000 | head -c 100000000",
    "control characters": r"printf 'witness\n\033[2J\007\nend\n'",
    "thousands of lines": r"printf 'witness\n'; yes '1700000000 x' | head -n 5000; printf 'end\n'",
    "nothing": "true",
    "a failure with a code": "echo 'zborg-agent: E_ALARM ALARM: fear' >&2; exit 76",
    "another status": "exit 3",
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_answer_is_that_host_s_failure(scene: AuditedVault, kind: str) -> None:
    other = scene.vault.add("other")
    other.agent.write_text(f'#!/bin/sh\ncase "$SSH_ORIGINAL_COMMAND" in witness) {HOSTILE[kind]} ;; esac\n')
    report = check(scene)
    found = of(report, "other")
    assert found.status is Status.FAILED, found
    assert not any(ord(one) < 32 for one in found.message.replace("\n", "")), found
    assert len(found.message) < 1000
    assert of(report, "web1").status is Status.OK


def test_a_host_with_borg_1_2_is_a_witness_too(vault: LocalVault, clock: Hours) -> None:
    scene = audited_vault(vault, clock, borg="1.2")
    assert borg_of("1.2") in (scene.host.confdir / "agent.conf").read_text()
    assert of(check(scene), "web1").status is Status.OK


def test_the_server_s_own_file_of_the_newest_is_no_reason_to_fail(scene: AuditedVault) -> None:
    path = scene.vault.state / "ledger" / "newest.json"
    earlier(scene.host)
    for text in ("", "{", "[]", '{"note": "x", "at": "y"}', json.dumps({"note": "", "at": None})):
        path.write_text(text)
        assert scene.backed_up().status is Status.OK
    path.unlink()
    assert scene.backed_up().status is Status.OK
    assert sizes(scene.host) == [2]
