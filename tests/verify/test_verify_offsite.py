"""An off-site's own zborg verifies its copies, by the ledger that came with them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.harness.audit import tampering
from tests.harness.audit.vault import AuditedVault, audited_vault
from tests.harness.steps import night, replicate, verify_hosts
from tests.harness.worlds.arrivals import offsite
from tests.harness.worlds.local import LocalVault
from tests.harness.worlds.steps import Hours, of, world
from zborg.errors import Exit
from zborg.model import Outcome, Report, Status
from zborg.model.results import VerifiedHost
from zborg.steps.context import Context

COPY = "vault/zborg/web1"


@pytest.fixture
def scene(vault: LocalVault, clock: Hours) -> Iterator[AuditedVault]:
    made = audited_vault(vault, clock)
    clock.tick()
    sent = replicate(world(vault, clock))
    assert sent.exit is Exit.OK, sent
    yield made
    assert [one.name for one in vault.far.datasets("vault") if "/zborg-scratch/" in one.name] == []


def there(scene: AuditedVault) -> Context:
    """As the off-site's own zborg sees it, which has a state of its own."""
    scene.clock.tick()
    context = offsite(scene.vault, scene.clock)
    config = replace(context.config, state_dir=scene.vault.directory / "offsite-state", verify_every=86400)
    return replace(context, config=config, runs=scene.vault.runs_of("offsite"))


def verified(scene: AuditedVault) -> Outcome:
    return of(verify_hosts(there(scene)), "web1")


def tree(scene: AuditedVault) -> Path:
    newest = [one for one in scene.vault.far.snapshots(COPY) if one.name][-1]
    return Path(scene.vault.far.contents(newest, ""))


def test_copies_that_are_not_mounted_are_verified_in_clones(scene: AuditedVault) -> None:
    assert not any(one.mounted for one in scene.vault.far.datasets(COPY))
    outcome = verified(scene)
    assert outcome.status is Status.OK, outcome
    assert isinstance(outcome.result, VerifiedHost)
    assert (outcome.result.structure, outcome.result.objects > 3) == ("good", True)


def test_a_copy_whose_checksums_were_repaired_is_found(scene: AuditedVault) -> None:
    tampering.repaired(tree(scene))
    outcome = verified(scene)
    assert outcome.status is Status.DAMAGED, outcome
    assert isinstance(outcome.result, VerifiedHost) and outcome.result.structure == "good"
    assert outcome.remedy.splitlines()[0].startswith("this is a copy")
    assert outcome.remedy.splitlines()[1] == "zborg verify web1"


def test_nothing_is_compared_with_a_ledger_that_was_changed(scene: AuditedVault) -> None:
    (newest,) = [one for one in scene.vault.far.snapshots("vault/zborg/zborg-ledger") if one.name][-1:]
    lines = Path(scene.vault.far.contents(newest, "")) / "entries.jsonl"
    lines.write_text(lines.read_text().replace('"clean":true', '"clean":null'))
    (outcome,) = verify_hosts(there(scene)).outcomes
    assert (outcome.kind, outcome.status) == ("step", Status.DAMAGED), outcome
    assert "does not agree with itself" in outcome.message


def test_a_ledger_of_another_key_is_refused_where_one_was_pinned(scene: AuditedVault) -> None:
    context = there(scene)
    pinned = context.config.state_dir / "ledger" / "key.pub"
    pinned.parent.mkdir(parents=True)
    own = (scene.vault.state / "ledger" / "key.pub").read_text()
    pinned.write_text(own)
    assert of(verify_hosts(context), "web1").status is Status.OK
    from zborg.state.ledger.key import Key

    pinned.write_text(f"{Key('other/1', bytes(32)).public}\n")
    (outcome,) = verify_hosts(there(scene)).outcomes
    assert (outcome.kind, outcome.status) == ("step", Status.DAMAGED), outcome


def test_its_night_verifies_and_the_server_hears_of_it(scene: AuditedVault) -> None:
    def asked() -> tuple[Report, Outcome]:
        scene.clock.tick()
        replicate(world(scene.vault, scene.clock))
        report = verify_hosts(world(scene.vault, scene.clock), at="offsite")
        return report, of(report, "offsite")

    _, before = asked()
    assert before.status is Status.FAILED and before.remedy == "on offsite, as root:\nzborg verify"
    report = night(there(scene))
    assert [one.kind for one in report.outcomes if one.result.step == "verify"] == ["verify"]
    _, outcome = asked()
    assert outcome.status is Status.OK, outcome
    assert outcome.message.startswith("by its own zborg's word: ok")
    tampering.repaired(tree(scene))
    assert verified(scene).status is Status.DAMAGED
    report, outcome = asked()
    assert (outcome.status, report.exit) == (Status.FAILED, Exit.FAILED), outcome
    assert "web1: object" in outcome.message


def test_the_night_of_an_off_site_without_a_ledger_says_so(vault: LocalVault, clock: Hours) -> None:
    vault.far.create(COPY, {})
    context = offsite(vault, clock)
    context = replace(context, config=replace(context.config, verify_every=86400))
    report = night(context)
    (outcome,) = (one for one in report.outcomes if one.result.step == "verify")
    assert outcome.status is Status.SKIPPED and "no ledger was begun yet" in outcome.message
