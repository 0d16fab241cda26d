"""backup on real sshd, real agent, real borg; only ZFS is the in-memory one."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.harness.machines.host import find_borg, locked
from tests.harness.machines.keys import make_key
from tests.harness.steps import Request, backup, snapshot
from tests.harness.watch import HANG
from tests.harness.worlds.local import LocalVault
from zborg.errors import Exit, UsageError
from zborg.hosts.tunnel import SshTunnel
from zborg.model import Host, Outcome, Report, State, Status
from zborg.model.keys import fingerprint


def of(report: Report, subject: str) -> Outcome:
    return next(outcome for outcome in report.outcomes if outcome.subject == subject)


def archives(vault: LocalVault, name: str) -> int:
    """Commits the server saw: one per archive (init through a serve is not written down)."""
    path = vault.zfs.directory(f"tank/borg/{name}") / "transactions"
    return len(path.read_text().splitlines()) if path.exists() else 0


def leftovers(vault: LocalVault, name: str) -> list[str]:
    """Processes of the agent, its relays or borg that still run for this host."""
    found = subprocess.run(
        ["pgrep", "-af", str(vault.directory / name / "run")], capture_output=True, text=True
    )
    return [line for line in found.stdout.splitlines() if "pgrep" not in line]


def test_first_backup_makes_the_repository_and_the_second_only_an_archive(vault: LocalVault) -> None:
    vault.add("web1")
    first = backup(vault.context())
    assert (first.status, first.exit) == (Status.OK, Exit.OK), first.outcomes
    data = of(first, "web1").data
    assert data["files"] == 1
    assert data["transaction"] > 0
    assert str(data["archive"]).startswith("web1-")
    time.sleep(1)  # archive names are to the second
    second = backup(vault.context())
    assert of(second, "web1").data["transaction"] > data["transaction"]
    assert archives(vault, "web1") == 2


def test_one_unreachable_host_is_partial_and_costs_the_others_nothing(vault: LocalVault) -> None:
    vault.add("web1")
    vault.add("web2")
    vault.add("gone").sshd.stop()
    report = backup(vault.context())
    assert (report.status, report.exit) == (Status.PARTIAL, Exit.PARTIAL)
    assert of(report, "web1").status is of(report, "web2").status is Status.OK
    assert "no connection to gone" in of(report, "gone").message
    time.sleep(1)
    taken = snapshot(vault.context())
    states = {s.dataset: s.state for s in vault.zfs.snapshots("tank/borg")}
    assert taken.exit is Exit.OK
    assert states["tank/borg/gone"] is State.FAILED
    assert states["tank/borg/web1"] is states["tank/borg/web2"] is State.OK
    allowed = backup(vault.context(), Request(allow_partial=True))
    assert (allowed.status, allowed.exit) == (Status.PARTIAL, Exit.OK)


def test_fail_fast_starts_no_more_hosts(vault: LocalVault) -> None:
    for name in ("a", "b", "c", "d", "e", "f"):
        vault.add(name).sshd.stop()
    report = backup(vault.context(), Request(fail_fast=True))
    skipped = [outcome for outcome in report.outcomes if outcome.status is Status.SKIPPED]
    assert len(report.outcomes) == 6
    assert skipped  # four at once: at least the last ones were not started
    assert {outcome.message for outcome in skipped} == {"not started: --fail-fast"}


def test_excluded_hosts_are_left_out_and_unknown_ones_refused(vault: LocalVault) -> None:
    vault.add("web1")
    vault.add("web2")
    report = backup(vault.context(), Request(exclude=["web2"]))
    assert of(report, "web2").status is Status.SKIPPED
    assert archives(vault, "web2") == 0
    with pytest.raises(UsageError, match="no such host: web3"):
        backup(vault.context(), Request(hosts=["web1", "web3"]))
    assert archives(vault, "web1") == 1


def test_a_changed_host_key_is_refused_with_both_fingerprints_and_nothing_sent(vault: LocalVault) -> None:
    host = vault.add("web1")
    pinned = make_key(vault.directory / "other").public
    vault.endpoints["web1"] = vault.endpoint(host.sshd.port, pinned)
    outcome = of(backup(vault.context()), "web1")
    assert outcome.status is Status.FAILED
    assert fingerprint(pinned) in outcome.message
    assert fingerprint(host.sshd.host_key) in outcome.message
    assert not (vault.zfs.directory("tank/borg/web1") / "config").exists()
    assert "Accepted" not in host.sshd.log()


def test_an_unmounted_dataset_is_refused(vault: LocalVault) -> None:
    vault.add("web1")
    vault.zfs.unmount("tank/borg/web1")
    outcome = of(backup(vault.context()), "web1")
    assert outcome.status is Status.FAILED
    assert "is not mounted" in outcome.message
    assert not any(vault.zfs.directory("tank/borg/web1").iterdir())


def test_a_missing_dataset_is_never_created_by_backup(vault: LocalVault) -> None:
    vault.add("web1", dataset=False)
    outcome = of(backup(vault.context()), "web1")
    assert "does not exist" in outcome.message
    assert outcome.remedy == "zborg init web1"


def test_a_lost_repository_is_not_replaced_by_an_empty_one(vault: LocalVault) -> None:
    vault.add("web1")
    backup(vault.context())
    time.sleep(1)
    snapshot(vault.context())
    for entry in vault.zfs.directory("tank/borg/web1").iterdir():
        shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
    report = backup(vault.context())
    assert report.exit is Exit.CONFLICT
    assert "its repository was lost" in of(report, "web1").message


def test_a_server_without_hosts_has_no_good_night(vault: LocalVault) -> None:
    report = backup(vault.context())
    (outcome,) = report.outcomes
    assert (report.exit, outcome.kind, outcome.subject) == (
        Exit.FAILED,
        "config",
        f"{vault.directory}/zborg.toml",
    )
    assert outcome.message.startswith("names no host")
    vault.add("web1")
    assert backup(vault.context(), Request(exclude=["web1"])).exit is Exit.OK


def test_a_dataset_that_is_mounted_elsewhere_is_refused(vault: LocalVault) -> None:
    """borg serve, started below the parent, would fill a plain directory there."""
    vault.add("web1")
    context = vault.context()
    moved = [
        replace(d, mountpoint="/elsewhere") if d.name.endswith("/web1") else d
        for d in vault.zfs.datasets("tank/borg")
    ]
    context.storage.zfs.datasets = lambda root: tuple(moved)  # type: ignore[method-assign]  # for this test
    vault.zfs._all["tank/borg/web1"].properties["mountpoint"] = "/elsewhere"
    outcome = of(backup(context), "web1")
    assert outcome.status is Status.FAILED
    assert "is not mounted at " in outcome.message and "its mountpoint is /elsewhere" in outcome.message
    assert "zfs inherit mountpoint tank/borg/web1" in outcome.remedy


def test_what_goes_wrong_with_one_host_is_its_own(vault: LocalVault, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bug of ours, or a limit of this machine: the others go on, and the report is saved with all."""
    vault.add("web1")
    vault.add("web2")
    real = SshTunnel.verb

    def verb(self: SshTunnel, host: Host, *rest: Any, **named: Any) -> int:
        if host.name == "web1":
            raise RuntimeError("odd")
        return real(self, host, *rest, **named)

    monkeypatch.setattr(SshTunnel, "verb", verb)
    report = backup(vault.context())
    assert report.exit is Exit.PARTIAL
    assert of(report, "web1").message == "this is a bug in zborg: RuntimeError: odd"
    assert "raise RuntimeError" in of(report, "web1").data["traceback"]
    assert of(report, "web2").status is Status.OK
    newest = vault.context().runs.newest("backup")
    assert newest is not None and newest.outcomes == report.outcomes


def test_an_older_repository_in_the_dataset_is_kept(vault: LocalVault) -> None:
    """It was never served append-only, so no commit was noted, and its file names are those of any init."""
    vault.add("web1")
    home = vault.zfs.directory("tank/borg/web1")
    env = {**os.environ, "BORG_BASE_DIR": str(vault.directory / "older"), "BORG_PASSPHRASE": "x"}

    def borg(*words: str) -> str:
        argv = [find_borg(), *words]
        return subprocess.run(argv, env=env, check=True, capture_output=True, text=True).stdout

    borg("init", "-e", "repokey-blake2", str(home))
    (vault.directory / "nothing").mkdir()
    borg("create", f"{home}::years", str(vault.directory / "nothing"))
    report = backup(vault.context())
    assert report.exit is Exit.CONFLICT
    assert "zfs rename" in of(report, "web1").remedy
    assert borg("list", "--short", str(home)).split() == ["years"]


def test_foreign_files_in_the_dataset_are_not_built_upon(vault: LocalVault) -> None:
    vault.add("web1")
    (vault.zfs.directory("tank/borg/web1") / "somebody").touch()
    report = backup(vault.context())
    assert report.exit is Exit.CONFLICT
    assert "somebody" in of(report, "web1").message


def test_a_client_that_only_claims_success_is_not_believed(vault: LocalVault) -> None:
    host = vault.add("web1")
    backup(vault.context())
    liar = host.directory / "liar"
    liar.write_text('#!/bin/sh\necho "{}"\nexit 0\n')
    liar.chmod(0o755)
    host.setup("web1", [host.data], borg=str(liar))
    outcome = of(backup(vault.context()), "web1")
    assert outcome.status is Status.FAILED
    assert "the server saw no commit" in outcome.message


def test_a_host_that_calls_itself_otherwise_is_a_conflict(vault: LocalVault) -> None:
    """Its table was renamed in zborg.toml alone: a second history would begin."""
    host = vault.add("web1")
    host.setup("web-1", [host.data])
    report = backup(vault.context())
    assert report.exit is Exit.CONFLICT
    assert "the host calls itself web-1" in of(report, "web1").message
    assert not any(vault.zfs.directory("tank/borg/web1").iterdir())


def test_a_missing_agent_is_told_with_the_way_to_install_it(vault: LocalVault) -> None:
    host = vault.add("web1")
    backup(vault.context())
    host.agent.unlink()
    outcome = of(backup(vault.context()), "web1")
    assert outcome.status is Status.FAILED
    assert "agent.sh is missing" in outcome.remedy


def test_an_empty_archive_is_not_good(vault: LocalVault) -> None:
    host = vault.add("web1")
    (host.data / "file").unlink()
    outcome = of(backup(vault.context()), "web1")
    assert (outcome.status, outcome.message) == (Status.FAILED, "the archive is empty")


@pytest.mark.parametrize("fault", ["bad option", "wrong passphrase", "missing borg", "held lock"])
def test_foreseeable_failures_end_soon_on_both_sides_with_their_reason(vault: LocalVault, fault: str) -> None:
    host = vault.add("web1")
    assert backup(vault.context()).exit is Exit.OK
    vault.timeouts["web1"] = 600
    if fault == "bad option":
        host.setup("web1", [host.data], extra_conf=["compression = nonsense"])
        reason = "unsupported compression type"
    elif fault == "wrong passphrase":
        (host.confdir / "passphrase").write_text("wrong")
        reason = "passphrase"
    elif fault == "missing borg":
        host.setup("web1", [host.data], borg="/nonexistent/borg")
        reason = "borg is not installed"
    else:
        reason = "locked: a borg runs on web1"  # as far as its agent can see, for the host is this machine
    time.sleep(1)
    home, elsewhere = vault.zfs.directory("tank/borg/web1"), vault.directory / "elsewhere"
    with locked(home, elsewhere) if fault == "held lock" else nullcontext():
        started = time.monotonic()
        outcome = of(backup(vault.context()), "web1")
        took = time.monotonic() - started
    assert outcome.status in (Status.FAILED, Status.BUSY)
    assert reason in outcome.message
    if fault != "held lock":  # whose reason is what we saw ourselves
        assert reason in " ".join(outcome.data["log"]).lower(), "its last lines go into mail"
    assert took < HANG
    assert leftovers(vault, "web1") == []


def test_a_timeout_ends_both_sides(vault: LocalVault) -> None:
    host = vault.add("web1")
    backup(vault.context())
    slow = host.directory / "slow"
    slow.write_text(f'#!/bin/sh\ncase "$*" in *--version*) exec {find_borg()} "$@";; esac\nexec sleep 300\n')
    slow.chmod(0o755)
    host.setup("web1", [host.data], borg=str(slow))
    vault.timeouts["web1"] = 2
    outcome = of(backup(vault.context()), "web1")
    assert "not finished within 2 s" in outcome.message
    deadline = time.monotonic() + HANG
    while leftovers(vault, "web1") and time.monotonic() < deadline:
        time.sleep(0.1)
    assert leftovers(vault, "web1") == []


def test_a_held_host_lock_is_busy_and_names_its_owner(vault: LocalVault) -> None:
    vault.add("web1")
    context = vault.context()
    with context.locks.hold("host-web1"):
        report = backup(vault.context())
    assert (report.status, report.exit) == (Status.BUSY, Exit.LOCKED)
    assert "pid " in of(report, "web1").message
    assert "started 20" in of(report, "web1").message


def test_outcomes_are_saved_one_by_one(vault: LocalVault) -> None:
    vault.add("web1")
    report = backup(vault.context())
    newest = vault.context().runs.newest("backup")
    assert newest is not None
    assert newest.run == report.run
    assert newest.outcomes == report.outcomes


def test_a_borg_serve_that_dies_under_way_leaves_the_host_s_reason_in_the_report(vault: LocalVault) -> None:
    """When nobody reads ssh's stdout any more, ssh closes the far side's stderr too: see process.Spare."""
    host = vault.add("web1")
    backup(vault.context())
    (host.data / "new").write_bytes(os.urandom(20_000_000))
    # Laid out as a virtual environment, so that the wall lets it reach the borg that it was "made of".
    made = vault.directory / "wrapped"
    (made / "lib" / "python3").mkdir(parents=True)
    homes = [Path(sys.prefix) / "bin", Path(sys.base_prefix) / "bin"]
    (made / "pyvenv.cfg").write_text("".join(f"home = {home}\n" for home in homes))
    dying = made / "bin" / "dying"
    dying.parent.mkdir()
    dying.write_text(f'#!/bin/sh\ndd bs=65536 count=40 2>&- | {find_borg()} "$@"\n')
    dying.chmod(0o755)
    context = replace(vault.context(), tunnel=vault.tunnel(borg=str(dying)))
    outcome = of(backup(context), "web1")
    assert outcome.status is Status.FAILED
    assert outcome.message.startswith("borg serve of tank/borg/web1 ended on the storage without a reason")
