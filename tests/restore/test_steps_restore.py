"""restore with real borg and real sshd, on the in-memory ZFS."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from tests.harness.machines.host import BackedUpHost, find_borg
from tests.harness.steps import backup, list_snapshots, restore_files, snapshot
from tests.harness.worlds.local import LocalVault
from tests.harness.worlds.steps import Hours, dataset_only, nights, snapnames, world
from zborg.errors import Exit, UsageError
from zborg.model import Status
from zborg.reporting.text import render
from zborg.steps.context import Context
from zborg.steps.restore.files import _newest_archive


def backed_up(vault: LocalVault, clock: Hours) -> tuple[BackedUpHost, Context, str]:
    """web1 with one good snapshot: (the host, the world, the snapshot's name)."""
    host, context = vault.add("web1"), world(vault, clock)
    backup(context)
    clock.tick()
    snapshot(context)
    (raw,) = snapnames(vault, "tank/borg/web1")
    return host, context, raw


def test_a_lost_file_comes_back_from_the_chosen_snapshot(vault: LocalVault, clock: Hours) -> None:
    host = vault.add("web1")
    lost = host.data / "file"
    context = world(vault, clock)
    backup(context)
    clock.tick()
    snapshot(context)
    first = snapnames(vault, "tank/borg/web1")[0]
    clock.tick()
    lost.write_text("changed since")
    backup(context)
    clock.tick()
    snapshot(context)
    lost.unlink()
    clock.tick()
    refused = restore_files(context, "web1", [str(lost)], first)
    assert refused.exit is Exit.FAILED
    allow, again = refused.outcomes[0].data["commands"]
    assert f"--allow-restore {first}" in allow
    assert again == f"zborg restore files web1 {lost} --at {first}"
    assert f"    {allow}" in [line.text for line in render(refused)], "whole, to be copied"
    host.local("--allow-restore", first, "1000000", str(lost)).check_returncode()
    clock.tick()
    report = restore_files(context, "web1", [str(lost)], first)
    assert report.exit is Exit.OK, report.outcomes
    back = Path(report.outcomes[0].data["restored"]) / str(lost).lstrip("/")
    assert back.read_text() == "of web1"
    assert not lost.exists()
    assert [d.name for d in vault.zfs.datasets("tank") if d.name.count("/") > 1 and "scratch" in d.name] == []


def test_a_path_that_is_not_in_the_archive_is_a_failed_restore(vault: LocalVault, clock: Hours) -> None:
    """The agent ends with 101 then, which among borg's own statuses would be a mere warning."""
    host, context, raw = backed_up(vault, clock)
    host.local("--allow-restore", raw, "1000000", "/nope").check_returncode()
    clock.tick()
    report = restore_files(context, "web1", ["/nope"], raw)
    assert report.exit is Exit.FAILED
    assert "a path is not in the archive" in report.outcomes[0].message


def test_a_restore_that_borg_warns_of_is_partial_and_says_where(vault: LocalVault, clock: Hours) -> None:
    """A warning may be a file that could not be written: no good end, and no reason to hide the rest."""
    host, context, raw = backed_up(vault, clock)
    host.setup("web1", [host.data], borg=warning_borg(host))
    host.local("--allow-restore", raw, "1000000", str(host.data)).check_returncode()
    clock.tick()
    report = restore_files(context, "web1", [str(host.data)], "")
    (outcome,) = report.outcomes
    assert (report.exit, outcome.status) == (Exit.PARTIAL, Status.PARTIAL), outcome
    assert "borg warned" in outcome.message
    back = Path(outcome.data["restored"]) / str(host.data / "file").lstrip("/")
    assert back.read_text() == "of web1"


def warning_borg(host: BackedUpHost) -> str:
    """The real borg, whose good end becomes one with a warning."""
    wrapper = host.directory / "warning-borg"
    wrapper.write_text(f'#!/bin/sh\n{find_borg()} "$@" || exit\nexit 105\n')
    wrapper.chmod(0o755)
    return str(wrapper)


def test_the_exported_key_opens_a_copy_of_the_repository_elsewhere(vault: LocalVault, clock: Hours) -> None:
    """As README, "The host is gone", has it: nothing of the host is used but its export."""
    host = vault.add("web1")
    backup(world(vault, clock))
    export = host.local("--key-export").stdout
    passphrase = export.partition("# Passphrase:\n")[2].splitlines()[0]
    rescue = vault.directory / "rescue"
    rescue.mkdir()
    (rescue / "web1.export").write_text(export)
    shutil.copytree(vault.zfs.directory("tank/borg/web1"), rescue / "web1")
    script = f"""
        sed -n '/^BORG_KEY/,$p' web1.export > web1.key
        {find_borg()} key import {rescue}/web1 web1.key
        {find_borg()} extract {rescue}/web1::$({find_borg()} list --short {rescue}/web1)
    """
    env = {"PATH": os.environ["PATH"], "BORG_BASE_DIR": str(rescue / "base"), "BORG_PASSPHRASE": passphrase}
    subprocess.run(["sh", "-eu", "-c", script], cwd=rescue, env=env, check=True, stdin=subprocess.DEVNULL)
    assert (rescue / str(host.data / "file").lstrip("/")).read_text() == "of web1"


def test_a_clone_that_a_killed_restore_left_is_cleared(vault: LocalVault, clock: Hours) -> None:
    host, context, raw = backed_up(vault, clock)
    vault.zfs.clone(f"tank/borg/web1@{raw}", "tank/zborg-scratch/20260101T000000Z-dead/web1")
    host.local("--allow-restore", raw, "1000000", str(host.data)).check_returncode()
    clock.tick()
    assert restore_files(context, "web1", [str(host.data)], "").exit is Exit.OK
    assert [d.name for d in vault.zfs.datasets("tank") if d.name.endswith("/web1")] == ["tank/borg/web1"]


def test_restore_list_shows_every_snapshot_with_its_state(vault: LocalVault, clock: Hours) -> None:
    dataset_only(vault, "web1")
    with pytest.raises(UsageError, match="no snapshot of web1"):
        list_snapshots(world(vault, clock), "web1")
    nights(vault, clock, 2)
    report = list_snapshots(world(vault, clock), "web1")
    assert [outcome.subject for outcome in report.outcomes] == snapnames(vault, "tank/borg/web1")


def test_restore_list_shows_local_times_and_the_sizes_of_backups(
    vault: LocalVault, clock: Hours, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the history has of each snapshot's own backup; and a broken history costs the sizes alone."""
    host, context, _ = backed_up(vault, clock)
    clock.tick()
    (host.data / "more").write_bytes(os.urandom(3_000_000))
    backup(context)
    clock.tick()
    snapshot(context)
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        first, second = list_snapshots(context, "web1").outcomes
        assert first.message.startswith("Fri 2026-02-13 00:49:33 JST, good backup")
        assert (first.data["files"], second.data["files"]) == (1, 2)
        assert first.data["original_bytes"] < 3_000_000 < second.data["original_bytes"]
        shown = " ".join(
            word for line in render(list_snapshots(context, "web1")) for word in line.text.split()
        )
        assert "good backup; 2 files, 2.9 MiB" in shown, shown
        (vault.state / "history.db").write_text("no database")
        third, _ = list_snapshots(context, "web1").outcomes
        assert "files" not in third.data and third.message == first.message
        assert any("no sizes of backups" in event.message for event in vault.events)
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize("at", ["yesterday", "15:50", "thursday 15:49:33"])
def test_a_restore_goes_back_to_a_time_in_plain_words(vault: LocalVault, clock: Hours, at: str) -> None:
    """Asked a day later for what was there on Thursday afternoon (UTC)."""
    _, context, raw = backed_up(vault, clock)
    clock.tick(22)
    snapshot(context, label="later")
    clock.tick()
    plan = restore_files(context, "web1", ["/etc"], at, dry_run=True).plan
    assert plan[0] == f"clone tank/borg/web1@{raw} and serve it to web1"


@pytest.mark.parametrize(
    ("typed", "utc"),
    [("2026-01-15", "22:59:59"), ("2026-07-15", "21:59:59"), ("2026-01-15T03:15", "02:15:00")],
)
def test_a_local_time_is_that_of_its_own_day(
    vault: LocalVault, clock: Hours, monkeypatch: pytest.MonkeyPatch, typed: str, utc: str
) -> None:
    """Asked in summer for a day in winter, and the other way round."""
    dataset_only(vault, "web1")
    nights(vault, clock, 1)
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    try:
        with pytest.raises(UsageError, match=f"at or before {typed[:10]}T{utc}Z"):
            restore_files(world(vault, clock), "web1", ["/etc"], typed)
    finally:
        monkeypatch.undo()
        time.tzset()


def test_relative_paths_and_unknown_hosts_are_refused(vault: LocalVault, clock: Hours) -> None:
    dataset_only(vault, "web1")
    with pytest.raises(UsageError, match="not a path that web1 can be asked to restore: etc/passwd"):
        restore_files(world(vault, clock), "web1", ["etc/passwd"], "")
    with pytest.raises(UsageError, match="no such host"):
        restore_files(world(vault, clock), "nobody", ["/etc"], "")


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ([], ""),
        (["web1-2026-02-12T144933Z"], "web1-2026-02-12T144933Z"),
        (["web1-2026-02-12T144933Z", "web1-by-hand", "before-upgrade"], "web1-2026-02-12T144933Z"),
        (["web1-2026-02-12T144933Z", "web1-2026-02-13T144933Z"], "web1-2026-02-13T144933Z"),
        (["web11-2026-02-12T144933Z", "zborg_2026-02-12T144933Z", "web1-2026-02-30T144933Z"], ""),
        (["\ud800", "web1-2026-02-12T144933Z\n"], ""),
    ],
)
def test_the_newest_archive_is_the_last_that_zborg_made(names: list[str], expected: str) -> None:
    assert _newest_archive({"archives": [{"name": name} for name in names]}, "web1") == expected


def test_an_archive_list_may_be_anything() -> None:
    odd: list[dict[str, object]] = [
        {},
        {"archives": 7},
        {"archives": [None, 3, {}]},
        {"archives": {"name": "x"}},
    ]
    for listing in odd:
        assert _newest_archive(listing, "web1") == ""
