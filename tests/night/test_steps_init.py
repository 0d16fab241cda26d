"""init on the in-memory ZFS and real borg."""

from __future__ import annotations

import os
from dataclasses import replace

from tests.harness.steps import init
from tests.harness.worlds.local import LocalVault
from tests.harness.worlds.steps import Hours, of, world
from zborg.errors import Exit
from zborg.model import Status, Storage
from zborg.model.text import remedy


def test_init_makes_what_is_missing_and_tries_borg_serve(vault: LocalVault, clock: Hours) -> None:
    vault.add("web1", dataset=False)
    vault.add("db1", dataset=False)
    made = init(world(vault, clock))
    assert made.exit is Exit.OK, made.outcomes
    assert of(made, "tank/borg/db1").message == "created"
    assert of(made, "borg serve").message.startswith("can be started for web1, behind ")
    again = init(world(vault, clock), ["db1"])
    assert of(again, "tank/borg/db1").message == "is there"


def test_init_gives_away_what_a_killed_one_left_as_it_was_made(vault: LocalVault, clock: Hours) -> None:
    vault.add("web1")
    vault.add("db1")
    init(world(vault, clock))
    left = vault.zfs.directory("tank/borg/db1")
    left.chmod(0o755)
    os.chown(left, 65534, -1)
    found = init(world(vault, clock))
    assert of(found, "tank/borg/db1").message == "is there, now for root to write in"
    assert of(found, "tank/borg/web1").message == "is there"
    assert (left.stat().st_uid, left.stat().st_mode & 0o7777) == (0, 0o1770)


def test_init_is_not_ok_when_it_skipped_a_dataset(vault: LocalVault, clock: Hours) -> None:
    vault.add("web1")
    vault.add("db1")
    vault.zfs.unmount("tank/borg/db1")
    report = init(world(vault, clock))
    assert (report.exit, report.status) == (Exit.OK, Status.WARNING)
    skipped = of(report, "tank/borg/db1")
    assert "not mounted" in skipped.message
    assert remedy.parse(skipped.remedy)[1] == ("zfs mount tank/borg/db1", "zborg init")
    vault.zfs.mount("tank/borg/db1")
    assert init(world(vault, clock)).status is Status.OK


def test_init_says_when_nobody_could_be_served(vault: LocalVault, clock: Hours) -> None:
    """At init somebody looks; at half past two in the night nobody does."""
    vault.add("web1", dataset=False)
    context = replace(world(vault, clock), tunnel=vault.tunnel(borg="/nonexistent/borg"))
    report = init(context)
    assert report.exit is Exit.PARTIAL
    assert "/nonexistent/borg" in of(report, "borg serve").message
    assert "is borg installed there?" in of(report, "borg serve").remedy


def test_init_hands_out_a_line_for_each_new_key_of_a_storage_elsewhere(
    vault: LocalVault, clock: Hours
) -> None:
    """Root's key for zfs, and one that can do nothing but serve; nothing is done before they are there."""
    zfs_key, serve_key = vault.directory / "zfs_key", vault.directory / "serve_key"
    nas = replace(vault.endpoint(1, "ssh-ed25519 AAAA"), identity=str(zfs_key))
    serving = replace(nas, user="zborg-serve", identity=str(serve_key))
    context = world(vault, clock)
    storage = Storage("tank/borg", nas, "zborg-serve", "borg", serving)
    context = replace(context, config=replace(context.config, storage=storage))
    first = init(context)
    assert (first.exit, first.status) == (Exit.OK, Status.WARNING), "the rest of it is still to do"
    both = of(first, "tank/borg").data["commands"]
    forced = 'restrict,command="/usr/local/libexec/zborg-serve /tank/borg /tank/zborg-scratch"'
    publics = [path.with_suffix(".pub").read_text().strip() for path in (zfs_key, serve_key)]
    assert both == [f"restrict {publics[0]}", f"{forced} {publics[1]}"]
    serve_key.unlink()
    serve_key.with_suffix(".pub").unlink()
    (again,) = of(init(context), "tank/borg").data["commands"]
    assert again.startswith(forced) and publics[1] not in again
