"""init on the in-memory ZFS and real borg."""

from __future__ import annotations

import os
from dataclasses import replace

from tests.harness.local import LocalVault
from tests.harness.steps import Hours, of, world
from zborg.errors import Exit
from zborg.process import LocalRunner
from zborg.steps.init import init


def test_init_makes_what_is_missing_and_tries_borg_serve(vault: LocalVault, clock: Hours) -> None:
    vault.add("web1", dataset=False)
    vault.add("db1", dataset=False)
    made = init(world(vault, clock), LocalRunner())
    assert made.exit is Exit.OK, made.outcomes
    assert of(made, "tank/borg/db1").message == "created"
    assert of(made, "borg serve").message == "can be started for web1"
    again = init(world(vault, clock), LocalRunner(), ["db1"])
    assert of(again, "tank/borg/db1").message == "is there"


def test_init_gives_away_what_a_killed_one_left_as_it_was_made(vault: LocalVault, clock: Hours) -> None:
    vault.add("web1")
    vault.add("db1")
    init(world(vault, clock), LocalRunner())
    left = vault.zfs.directory("tank/borg/db1")
    left.chmod(0o755)
    os.chown(left, 65534, -1)
    found = init(world(vault, clock), LocalRunner())
    assert of(found, "tank/borg/db1").message == "is there, now for root to write in"
    assert of(found, "tank/borg/web1").message == "is there"
    assert (left.stat().st_uid, left.stat().st_mode & 0o7777) == (0, 0o1770)


def test_init_says_when_nobody_could_be_served(vault: LocalVault, clock: Hours) -> None:
    """At init somebody looks; at half past two in the night nobody does."""
    vault.add("web1", dataset=False)
    context = replace(world(vault, clock), tunnel=vault.tunnel(borg="/nonexistent/borg"))
    report = init(context, LocalRunner())
    assert report.exit is Exit.PARTIAL
    assert "/nonexistent/borg" in of(report, "borg serve").message
    assert "install borg" in of(report, "borg serve").remedy
