"""compact never makes a hostile delete final: random walks of nights, prunes, hostile deletes, audits,
releases, compactions and kills, on real borg. What was deleted without a prune is there after each step.
"""

from __future__ import annotations

import random
from contextlib import suppress
from dataclasses import dataclass, field

import pytest

from tests.harness.audit.compaction import Countdown, Killed, killable, killed_borg, no_wall
from tests.harness.audit.segments import MANIFEST
from tests.harness.audit.vault import AuditedVault, audited_vault
from tests.harness.machines.hostile.rpc import Refused
from tests.harness.steps import compact, release
from tests.harness.worlds.local import LocalVault
from tests.harness.worlds.steps import Seconds, world
from zborg.borg.storage.segments import PUT, headers
from zborg.errors import UsageError
from zborg.steps.compact.facts import records_of

STEPS = 14


@dataclass
class Walk:
    """`doomed`: ids that a host deleted, and nobody agreed to."""

    scene: AuditedVault
    rng: random.Random
    doomed: set[bytes] = field(default_factory=set)
    done: list[str] = field(default_factory=list)
    freed: int = 0

    def step(self) -> None:
        acts = (
            *(self.night, self.prune, self.hostile, self.hostile, self.audited, self.released),
            *(self.compacted, self.compacted, self.killed, self.borg_killed),
        )
        act = self.rng.choice(acts)
        self.done.append(act.__name__)
        act()

    def night(self) -> None:
        self.scene.backed_up()
        self.scene.audited()

    def prune(self) -> None:
        with suppress(AssertionError):  # a host that cannot make its backup does not prune
            self.scene.pruned()

    def hostile(self) -> None:
        """Within a run as for a backup, or behind zborg's back; of what others, alive or doomed, need."""
        served = self.rng.random() < 0.5
        with suppress(Refused):
            if served:
                with self.scene.served():
                    self._delete()
            else:
                self._delete()

    def _delete(self) -> None:
        with self.scene.rpc() as rpc:
            known = [one for one in rpc.call("list", limit=100) if one != MANIFEST]
            for number in self.rng.sample(known, min(3, len(known))):
                rpc.call("delete", id=number)
                self.doomed.add(number)
            rpc.call("commit")

    def audited(self) -> None:
        self.scene.audited()

    def released(self) -> None:
        with suppress(UsageError):  # it is not frozen
            release(world(self.scene.vault, self.scene.clock), ["web1"])

    def compacted(self) -> None:
        before = self.scene.size
        self.scene.compacted()
        self.freed += max(before - self.scene.size, 0)

    def killed(self) -> None:
        countdown = Countdown(self.rng.randint(1, 50))
        with pytest.MonkeyPatch.context() as patch, suppress(Killed):
            compact(killable(self.scene, countdown, patch), ["web1"])

    def borg_killed(self) -> None:
        whole = self.scene.vault.borg
        killed_borg(self.scene, self.rng.randint(1, 12))
        self.scene.compacted()
        self.scene.vault.borg = whole

    def stored(self) -> set[bytes]:
        """The ids of all objects that lie in the repository, deleted or not."""
        found = set()
        for path in self.scene.home.glob("data/*/*"):
            with path.open("rb") as file:
                found |= {key for _, _, _, tag, key in headers(file) if tag == PUT}
        return found


@pytest.mark.parametrize(
    "seed", [pytest.param(n, marks=() if n < 1 else (pytest.mark.deep,)) for n in range(10)]
)
def test_no_order_of_commands_and_kills_makes_a_hostile_delete_final(
    vault: LocalVault, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    no_wall(vault.directory, monkeypatch)
    walk = Walk(audited_vault(vault, Seconds()), random.Random(seed))
    for _ in range(STEPS):
        walk.step()
        missing = walk.doomed - walk.stored()
        assert not missing, walk.done
    walk.compacted()
    assert not walk.doomed - walk.stored(), walk.done
    assert not records_of(world(vault, walk.scene.clock)).unfinished("web1")
