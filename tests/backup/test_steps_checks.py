"""What a backup is checked against besides borg's word, with real borg and sshd on the in-memory ZFS."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import replace
from datetime import timedelta

from tests.harness.machines.host import BackedUpHost, find_borg
from tests.harness.steps import backup, rotate, snapshot
from tests.harness.worlds.local import LocalVault
from tests.harness.worlds.steps import Hours, of, shown, snapnames, world
from zborg.errors import Exit
from zborg.model import Outcome, Policy, Report, State, Status
from zborg.model.results import HostBackup
from zborg.state.history import History
from zborg.steps.context import Context


def limited(context: Context, **limits: int) -> Context:
    """The same world with other limits for its hosts."""
    hosts = tuple(replace(host, **limits) for host in context.config.hosts)  # type: ignore[arg-type]  # a test names them
    return replace(context, config=replace(context.config, hosts=hosts))


def night(vault: LocalVault, clock: Hours, **limits: int) -> Report:
    """Backup, snapshot, rotation, a day later than the last."""
    clock.tick(23)
    context = limited(world(vault, clock), **limits)
    report = backup(context)
    clock.tick()
    snapshot(context)
    rotate(context)
    return report


def filled(vault: LocalVault, count: int) -> BackedUpHost:
    host = vault.add("web1")
    for number in range(count):
        (host.data / f"n{number}").write_text("x" * 100)
    return host


def emptied(host: BackedUpHost, count: int) -> None:
    for number in range(count):
        (host.data / f"n{number}").unlink()


def test_an_archive_that_shrank_is_a_warning_that_status_shows(vault: LocalVault, clock: Hours) -> None:
    host = filled(vault, 9)
    assert of(night(vault, clock), "web1").status is Status.OK
    emptied(host, 8)
    report = night(vault, clock)
    outcome = of(report, "web1")
    assert (report.exit, outcome.status) == (Exit.OK, Status.WARNING)
    shrunk = "2 files (usually 10 files) and 107 bytes (usually 907 bytes)"
    assert outcome.message == f"the archive holds {shrunk}"
    seen = shown(vault, clock, "web1")
    assert seen.status is Status.WARNING
    assert shrunk in seen.message
    assert of(night(vault, clock, shrink=0), "web1").status is Status.OK, "a person said that it is meant"


def test_too_few_files_are_no_backup_and_the_last_good_one_is_kept_for_good(
    vault: LocalVault, clock: Hours
) -> None:
    host, vault.keep = filled(vault, 9), Policy(last=2)
    assert of(night(vault, clock, min_files=5), "web1").status is Status.OK
    (good,) = snapnames(vault, "tank/borg/web1")
    emptied(host, 8)
    for _ in range(4):
        outcome = of(night(vault, clock, min_files=5), "web1")
        assert outcome.status is Status.FAILED
        assert outcome.message == "the archive holds 2 files, fewer than min_files = 5"
    kept = {s.snapname: s.state for s in vault.zfs.snapshots("tank/borg/web1")}
    assert kept.pop(good) is State.OK
    assert list(kept.values()) == [State.FAILED] * 2


def test_archives_that_a_host_makes_up_push_no_snapshot_out(vault: LocalVault, clock: Hours) -> None:
    """borg's retention sees archives; ZFS's sees nights, and nothing that a host can make many of."""
    host, vault.keep = filled(vault, 9), Policy(daily=3)
    night(vault, clock)
    (good,) = snapnames(vault, "tank/borg/web1")
    archive = of(vault.context().runs.newest("backup"), "web1").data["archive"]  # type: ignore[arg-type]  # it ran
    emptied(host, 9)
    for _ in range(2):
        for _ in range(2):  # its root asks for as many as it likes, of one file each
            clock.tick()
            backup(world(vault, clock))
        clock.tick(20)
        snapshot(world(vault, clock))
        rotate(world(vault, clock))
    assert good in snapnames(vault, "tank/borg/web1")
    listed = archives_of_oldest(vault, host)
    assert archive in listed


def test_a_night_far_from_usual_is_a_warning_and_freezes_where_it_is_asked_to(
    vault: LocalVault, clock: Hours
) -> None:
    host, vault.keep = filled(vault, 9), Policy(daily=3)
    history = History(vault.state / "history.db")
    for day in range(12):
        at = clock.now + timedelta(days=day)
        made = HostBackup(files=11, original_bytes=2000, compressed_bytes=900, new_bytes=500, seconds=1.0)
        outcome = Outcome("host", "web1", Status.OK, "", result=made)
        run = f"20260212T1449{day:02}Z-0001"
        history.record(Report("backup", run, "test", at, at, Status.OK, Exit.OK, (outcome,)))
    clock.tick(24 * 12)
    assert of(night(vault, clock), "web1").status is Status.OK
    (host.data / "encrypted").write_bytes(os.urandom(400 << 20))
    outcome = of(night(vault, clock), "web1")
    assert outcome.status is Status.WARNING
    assert outcome.message.startswith("it added 400.") and "(usually 0 bytes to 256." in outcome.message
    assert "but it added 400." in shown(vault, clock, "web1").message
    assert vault.context().frozen.now() == {}
    vault.backup["freeze_on_anomaly"] = True
    (host.data / "encrypted").write_bytes(os.urandom(700 << 20))
    assert of(night(vault, clock), "web1").status is Status.WARNING
    assert vault.context().frozen.now()["web1"].reason.startswith("unusual: it added 700.")


def archives_of_oldest(vault: LocalVault, host: BackedUpHost) -> list[str]:
    """Read as its owner would on another machine: a copy of the snapshot, the host's key and passphrase."""
    oldest = vault.zfs.snapshots("tank/borg/web1")[0]
    home = vault.zfs.clone(oldest.full, "tank/zborg-scratch/test/web1")
    env = {
        "BORG_BASE_DIR": str(vault.directory / "reader"),
        "BORG_KEYS_DIR": str(host.state / "borg/.config/borg/keys"),
        "BORG_PASSPHRASE": (host.confdir / "passphrase").read_text(),
        "BORG_RELOCATED_REPO_ACCESS_IS_OK": "yes",
    }
    argv = [find_borg(), "list", "--short", home]
    found = subprocess.run(argv, env=env, capture_output=True, text=True, check=True).stdout.split()
    shutil.rmtree(vault.directory / "reader")
    return found
