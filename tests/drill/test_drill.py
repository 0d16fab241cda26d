"""drill, end to end: what is lent, recorded and shown. Real borg, sshd and agent; the in-memory ZFS."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from tests.harness.audit import tampering
from tests.harness.machines.host import BackedUpHost
from tests.harness.steps import backup, begin_ledger, drill, replicate, snapshot
from tests.harness.worlds.local import LocalVault
from tests.harness.worlds.steps import Hours, of, shown, snapnames, world
from zborg.errors import Exit, Stalled, UsageError
from zborg.model import Outcome, Reverse, Status
from zborg.model.ledger.drilled import Drilled, drilled
from zborg.model.ledger.entries import DRILL, parse
from zborg.model.results import DrilledHost
from zborg.steps.context import Context, begin
from zborg.steps.drill.step import nightly
from zborg.steps.restore.source import Source

DATASET = "tank/borg/web1"
DAY = 86400
ONE = "1 of 1 host drilled within 35 days"


@dataclass
class Scene:
    """One host that allows drills, after two nights that are replicated. Tests go on from there."""

    vault: LocalVault
    clock: Hours
    host: BackedUpHost

    @property
    def context(self) -> Context:
        self.clock.tick()
        return world(self.vault, self.clock)

    def night(self) -> None:
        (self.host.state / "drill").mkdir(mode=0o700, exist_ok=True)
        (self.host.state / "drill" / "last").write_text("0\n")  # as if it were a day ago
        (self.host.data / f"file{self.clock.now:%H}").write_bytes(os.urandom(256_000))
        assert backup(self.context).exit is Exit.OK
        assert snapshot(self.context).exit is Exit.OK

    def drilled(self, source: Source | None = None) -> Outcome:
        return of(drill(self.context, ["web1"], source or Source()), "web1")

    def recorded(self) -> list[Drilled]:
        lines = (self.vault.zfs.directory("tank/borg/zborg-ledger") / "entries.jsonl").read_text()
        return [drilled(one) for one in map(parse, lines.splitlines()) if one.kind == DRILL]

    @property
    def clones(self) -> list[str]:
        return [one.name for one in self.vault.zfs.datasets("tank") if "/zborg-scratch/" in one.name]


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    vault, clock = LocalVault(tmp_path_factory.mktemp("drill")), Hours()
    vault.backup["drill_max_age"] = 35 * DAY
    host = vault.add("web1", extra_conf=("drill = yes",))
    begin_ledger(world(vault, clock))
    made = Scene(vault, clock, host)
    made.night()
    assert replicate(made.context).exit is Exit.OK
    made.night()
    yield made
    vault.close()


def facts(outcome: Outcome) -> DrilledHost:
    assert isinstance(outcome.result, DrilledHost), outcome
    return outcome.result


def test_a_drill_is_recorded_and_shown(scene: Scene) -> None:
    outcome = scene.drilled()
    found = facts(outcome)
    assert outcome.status is Status.OK, outcome
    assert found.snapshot == f"{DATASET}@{snapnames(scene.vault, DATASET)[-1]}"
    assert (found.matched, found.sampled, found.population, found.mismatched) == (3, 3, 3, 0)
    assert found.bytes == 2 * 256000 + len("of web1") and found.target == ""
    assert found.rate and found.took and found.whole_seconds and found.whole_seconds >= found.took
    entry = scene.recorded()[-1]
    assert (entry.archive, entry.files, entry.whole) == (found.archive, 3, True)
    assert scene.clones == []
    step = shown(scene.vault, scene.clock, "drill")
    assert (step.status, step.message) == (
        Status.OK,
        "1 of 1 host drilled within 35 days, the last 0 seconds ago",
    )


def test_a_target_s_copy_is_fetched_and_drilled(scene: Scene) -> None:
    """It is a night behind: the host has a sample of that archive, too."""
    outcome = scene.drilled(Source("offsite"))
    assert outcome.status is Status.OK, outcome
    found = facts(outcome)
    assert found.target == "offsite" and found.snapshot.startswith("vault/zborg/web1@")
    assert (found.matched, found.population) == (2, 2)
    assert scene.recorded()[-1].source == "offsite" and scene.clones == []
    with pytest.raises(UsageError):
        scene.drilled(Source("nowhere"))


def test_damage_in_what_is_lent_is_damage(scene: Scene) -> None:
    snapshots = [one for one in scene.vault.zfs.snapshots(DATASET) if one.name]
    home = Path(scene.vault.zfs.contents(snapshots[-1], ""))
    before = {path: path.read_bytes() for path in home.glob("data/*/*")}
    try:
        tampering.largest_entry_flipped(home, repaired=True)
        report = drill(scene.context, ["web1"])
        outcome = of(report, "web1")
        assert (report.exit, outcome.status) == (Exit.DAMAGE, Status.DAMAGED), outcome
        assert "sampled file" in outcome.message and outcome.remedy == "zborg verify web1"
        assert "file1" not in outcome.message and "data" not in outcome.message.replace("database", "")
        assert not scene.recorded()[-1].whole and scene.clones == []
        assert "web1" in scene.context.frozen.now()
        assert shown(scene.vault, scene.clock, "drill").status is Status.DAMAGED
    finally:
        for path, data in before.items():
            path.write_bytes(data)
        frozen = scene.context.frozen
        frozen.put(replace(frozen.now()["web1"], released=scene.clock.now))
    assert scene.drilled().status is Status.OK


class Tunnel:
    """The true one, but for what a test changes."""

    def __init__(self, true: Any, answer: str = "", error: Exception | None = None) -> None:
        self._true, self._answer, self._error = true, answer, error

    def ask(self, host: Any, *words: str) -> str:
        return self._answer or str(self._true.ask(host, *words))

    def verb(self, *args: Any, **options: Any) -> int:
        if self._error:
            raise self._error
        return int(self._true.verb(*args, **options))


def test_a_connection_that_breaks_leaves_no_clone(scene: Scene) -> None:
    context = scene.context
    tunnel: Any = Tunnel(context.tunnel, error=Stalled(("ssh",), "silent", by_storage=False))
    for source in (Source(), Source("offsite")):
        outcome = of(drill(replace(context, tunnel=tunnel), ["web1"], source), "web1")
        assert (outcome.kind, outcome.status) == ("drill", Status.FAILED), outcome
        assert scene.clones == []


@pytest.mark.parametrize(
    ("answer", "words", "remedy"),
    [
        ("agent 1\nname web1\n", "from before there were drills", "zborg host add web1 ssh://"),
        ("agent 1\ndrill no\nsampled\n", "allows no drill", "/etc/zborg/agent.conf"),
        ("agent 1\ndrill yes\nsampled\n", "no sample yet", "zborg backup web1"),
        (
            "agent 1\ndrill yes\nsampled web1-2020-01-01T000000Z ../x\n",
            "no good snapshot",
            "zborg backup web1",
        ),
    ],
)
def test_what_cannot_be_drilled_is_skipped(scene: Scene, answer: str, words: str, remedy: str) -> None:
    context = scene.context
    tunnel: Any = Tunnel(context.tunnel, answer)
    report = drill(replace(context, tunnel=tunnel), ["web1"])
    outcome = of(report, "web1")
    assert (report.exit, outcome.status) == (Exit.OK, Status.SKIPPED)
    assert words in outcome.message and remedy in outcome.remedy
    scene.vault.reverse["web1"] = Reverse(0, "127.0.0.1:22")
    try:
        assert "no agent" in scene.drilled().message
    finally:
        del scene.vault.reverse["web1"]


def test_a_night_has_its_share_and_the_copies_take_turns(scene: Scene) -> None:
    """Without a read key here the storage alone; with one, by turns. The target is asked with that key."""
    context = scene.context
    config = replace(context.config, drill_every=7 * DAY)
    assert not nightly(begin(replace(context, config=config), "run")).outcomes, "it was drilled just now"
    scene.clock.tick(24 * 8)
    (target,) = config.targets
    key = scene.vault.directory / "read"
    key.write_text("key")
    key.chmod(0o600)
    sources = []
    for one in (replace(target, read_identity=str(key)), target):
        context = replace(scene.context, config=replace(config, targets=(one,)))
        tunnel: Any = Tunnel(context.tunnel, "agent 1\ndrill no\n")
        report = nightly(begin(replace(context, tunnel=tunnel), "run"))
        assert (report.command, [one.status for one in report.outcomes]) == ("drill", [Status.SKIPPED])
        sources.append(getattr(report.outcomes[0].result, "target", ""))
        scene.clock.tick(24 * 8)
    assert sources == ["offsite", ""]


def test_a_host_without_a_drill_for_long_is_a_finding(scene: Scene) -> None:
    assert scene.drilled().status is Status.OK
    scene.clock.tick(24 * 40)
    outcome = shown(scene.vault, scene.clock, "web1")
    found = [one for one in statuses(scene) if one.kind == "drill"]
    assert outcome and [(one.subject, one.status) for one in found] == [("web1", Status.FAILED)]
    assert "drill_max_age is 35 days" in found[0].message


def statuses(scene: Scene) -> Sequence[Outcome]:
    from zborg.steps.observe.status import saved

    context = world(scene.vault, scene.clock)
    return saved(context.config, context.runs, context.locks, scene.clock.now).outcomes
