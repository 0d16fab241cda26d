"""Full pools and quotas: real borg on a real full file system, and what keeps it from coming to that."""

from __future__ import annotations

import os
import subprocess
from dataclasses import replace

from tests.harness.steps import backup, init
from tests.harness.worlds.local import LocalVault
from tests.harness.worlds.small import mounted
from tests.harness.worlds.steps import Hours, of, world
from zborg.errors import Exit
from zborg.model import Report, Status
from zborg.model.text.remedy import parse

MIB = 1 << 20


def night(vault: LocalVault, clock: Hours) -> Report:
    clock.tick()
    return backup(world(vault, clock))


def test_a_full_storage_is_told_as_such_and_mends_itself_with_room(vault: LocalVault, clock: Hours) -> None:
    """What zborg cannot foresee: the room was there when the backup began."""
    host, _ = vault.add("web1"), vault.add("web2")
    home = vault.zfs.directory("tank/borg/web1")
    with mounted(home, 8):
        assert night(vault, clock).exit is Exit.OK
        (host.data / "large").write_bytes(os.urandom(16 * MIB))
        report = night(vault, clock)
        assert report.exit is Exit.PARTIAL
        full = of(report, "web1")
        words = "the storage is full: tank/borg/web1 cannot grow"
        assert (full.status, full.message) == (Status.FAILED, words)
        assert parse(full.remedy)[1] == ("zfs list -o space,quota,refquota tank/borg/web1",)
        assert of(report, "web2").status is Status.OK
        subprocess.run(["mount", "-o", "remount,size=64M", home], check=True)
        assert night(vault, clock).exit is Exit.OK


def test_a_host_without_room_is_not_even_reached_and_the_others_go_on(
    vault: LocalVault, clock: Hours
) -> None:
    host, _ = vault.add("web1", dataset=False), vault.add("web2")
    vault.zfs.create("tank/borg/web1", {"quota": str(300 * MIB)})
    report = night(vault, clock)
    assert report.exit is Exit.PARTIAL
    short = of(report, "web1")
    assert short.status is Status.FAILED
    assert (
        short.message == "tank/borg/web1 has 300.0 MiB left, less than min_free = 1.0 GiB; nothing was sent"
    )
    assert "quota" in short.remedy
    assert "Accepted" not in host.sshd.log()
    assert of(report, "web2").status is Status.OK
    vault.zfs.available = 500 * MIB
    assert night(vault, clock).exit is Exit.FAILED, "the pool is as good a reason as a quota"


def test_init_keeps_room_back_that_no_host_can_use_up(vault: LocalVault, clock: Hours) -> None:
    vault.add("web1", dataset=False)
    planned = "create tank/zborg-slack, which keeps 1.0 GiB of the pool free"
    assert planned in init(world(vault, clock), dry_run=True).plan
    made = init(world(vault, clock))
    assert made.exit is Exit.OK
    assert of(made, "tank/zborg-slack").message == "created, keeps 1.0 GiB of the pool free"
    left = {one.name: one.available for one in vault.zfs.datasets("tank")}
    assert left["tank/borg/web1"] == vault.zfs.available - (1 << 30)
    assert left["tank/zborg-slack"] == vault.zfs.available
    assert of(init(world(vault, clock)), "tank/zborg-slack").message == "is there"


def test_init_without_slack_leaves_the_pool_alone(vault: LocalVault, clock: Hours) -> None:
    context = world(vault, clock)
    storage = replace(context.config.storage, slack=0)
    init(replace(context, config=replace(context.config, storage=storage)))
    assert vault.zfs.datasets("tank/zborg-slack") == ()
