"""A history that was set aside (README, "The rebuilt host"): listed and read by its dataset's name."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.harness.machines.reader import Away
from tests.harness.restore.repository import backed_up, clones, content
from tests.harness.steps import list_snapshots, replicate, restore_repo
from tests.harness.worlds.local import LocalVault
from tests.harness.worlds.steps import Hours, dataset_only, snapnames, world
from zborg.errors import Exit, UsageError, ZborgError
from zborg.model.text import remedy
from zborg.steps.context import Context
from zborg.steps.restore.source import Source

HERE, THERE = "tank/borg/web1", "vault/zborg/web1"


def rebuilt(context: Context) -> Context:
    """web1's dataset is no longer of any host: nothing but its full name leads to it."""
    return replace(context, config=replace(context.config, hosts=()))


def sources(identity: Path) -> list[Source]:
    return [Source(dataset=HERE), Source("offsite", str(identity), THERE)]


def test_it_is_listed_and_copied_here_and_from_behind_a_sink(
    away: Away, vault: LocalVault, clock: Hours
) -> None:
    """With the old key alone; the host that has its name now is not asked."""
    host, context = backed_up(vault, clock)
    there, names = rebuilt(away(context)), snapnames(vault, HERE)
    for number, source in enumerate(sources(away.offsite.reader)):
        listed = list_snapshots(there, "web1-gone", source)
        assert [one.subject for one in listed.outcomes] == names
        to = vault.directory / str(number) / "copy"
        to.parent.mkdir()
        report = restore_repo(there, "web1-gone", to, names[0], source)
        assert report.exit is Exit.OK, report.outcomes
        assert content(host, to) == "of web1"
    assert not clones(vault)


def test_it_is_listed_from_a_target_without_a_sink(vault: LocalVault, clock: Hours) -> None:
    _, context = backed_up(vault, clock)
    assert replicate(context).exit is Exit.OK
    listed = list_snapshots(rebuilt(context), "web1-gone", Source("offsite", dataset=THERE))
    assert len(listed.outcomes) == 2


def test_without_the_name_of_a_dataset_the_host_has_to_be_known(vault: LocalVault, clock: Hours) -> None:
    _, context = backed_up(vault, clock)
    with pytest.raises(UsageError, match="no such host: web1"):
        list_snapshots(rebuilt(context), "web1")
    with pytest.raises(UsageError, match="no such host: ../web1"):
        list_snapshots(rebuilt(context), "../web1", Source(dataset=HERE))


def test_a_dataset_that_is_not_there_is_named_with_a_look_at_the_pool(
    vault: LocalVault, clock: Hours
) -> None:
    dataset_only(vault, "web1")
    with pytest.raises(ZborgError, match="the dataset tank/web1-2026 does not exist") as caught:
        list_snapshots(world(vault, clock), "web1", Source(dataset="tank/web1-2026"))
    assert remedy.parse(caught.value.remedy) == ("", ("zfs list -r tank",))
