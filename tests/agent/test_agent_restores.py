"""Restores by the host's agent: what root allowed, what is not there, the cap, the watchdog."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from tests.harness.machines.agent import A1, A2, NAMES, SNAPSHOT, Lab, output, wait_until
from tests.harness.machines.host import BackedUpHost
from tests.harness.watch import HANG


def test_restore_stays_within_what_root_allowed(lab: Lab) -> None:
    lab.ok("create", "web1", A2)
    file = lab.data / NAMES[0]
    lab.allow(file, snapshot="zborg_2026-01-01T000000Z")
    assert "another snapshot" in lab.restore(A2, "a", file).stderr
    lab.allow(file)
    for path in (lab.data, lab.data / NAMES[1], Path(f"{file}x"), Path("/etc/passwd")):
        refused = lab.restore(A2, "a", path)
        assert refused.status == 2 and "did not allow" in refused.stderr
    both = lab.restore(A2, "a", file, lab.data)
    assert both.status == 2, "one path that is allowed does not carry another in"
    permission = lab.host.state / "restore.allow"
    permission.chmod(0o644)
    assert "0600" in lab.restore(A2, "a", file).stderr
    permission.chmod(0o600)
    assert permission.exists() and not lab.restored("a").exists()
    result = lab.restore(A2, "a", file)
    assert result.status == 0, result.stderr
    assert [p.name for p in lab.restored("a").rglob("*") if p.is_file()] == [NAMES[0]]
    lab.allow(file)
    again = lab.restore(A2, "a", file)
    assert again.status == 2 and "been there before" in again.stderr
    assert permission.exists(), "what was refused has not used the permission up"


def test_restore_of_what_is_not_there_fails(lab: Lab) -> None:
    lab.ok("create", "web1", A2)
    lab.configure("restore = yes")
    absent = (lab.data / "absent", lab.data / NAMES[0])
    for number, paths in enumerate((absent, (Path("/re:.*"),), (Path("/sh:**"),))):
        result = lab.restore(A2, f"r{number}", *paths)
        assert result.status == 101 and "not in the archive" in result.stderr, result.stderr
        assert not any(line.startswith("= ") for line in result.stderr.splitlines())


def test_a_path_that_is_a_symbolic_link_is_refused(lab: Lab) -> None:
    """borg would archive the link alone, and call it a good backup of what it points to."""
    link = lab.host.directory / "link"
    link.symlink_to(lab.host.data)
    for path in (str(link), f"{link}/"):
        lab.configure(f"path = {path}")
        refused = lab.verb("create", "web1", A1)
        assert refused.status == 2
        assert "agent.conf names a symbolic link instead of what it points to: line 7\n" in refused.stderr
        assert str(link) not in refused.stderr


def test_a_path_that_is_not_there_fails_once_the_rest_is_done(lab: Lab) -> None:
    gone = lab.host.directory / "gone"
    lab.configure(f"path = {gone}", f"path = {lab.host.directory}/also-gone")
    failed = lab.verb("create", "web1", A1)
    assert failed.status == 77
    assert f"{lab.host.confdir}/agent.conf names what is not there: line 7, line 8\n" in failed.stderr
    assert str(gone) not in failed.stderr
    assert output(failed)["archive"]["stats"]["nfiles"] > 0
    gone.mkdir()
    lab.configure(f"path = {gone}")
    lab.ok("create", "web1", A2)


def test_the_whole_machine_is_a_path(tmp_path: Path) -> None:
    host = BackedUpHost(tmp_path / "host")
    host.setup("web1", [Path("/")])
    assert "path = /" in (host.confdir / "agent.conf").read_text().splitlines()


def test_restore_over_the_cap_is_stopped_and_removed(lab: Lab) -> None:
    (lab.data / "big").write_bytes(os.urandom(30_000_000))
    lab.ok("create", "web1", A2)
    lab.allow(lab.data, cap=1_000_000)
    result = lab.restore(A2, "cap", lab.data)
    assert result.status == 2 and "over 1000000 bytes" in result.stderr
    assert not lab.restored("cap").exists()
    lab.configure("restore = yes", "restore_free_floor = 99999999999999999")
    result = lab.restore(A2, "floor", lab.data)
    assert result.status == 2 and "free space" in result.stderr
    assert not lab.restored("floor").exists()


def test_watchdog_ends_a_running_extraction(lab: Lab) -> None:
    slow = lab.script("slow", "dd if=/dev/zero of=big bs=1M count=5 2>/dev/null\nexec sleep 60\n")
    lab.configure("restore = yes", "restore_max_bytes = 1000000", borg=slow)
    begun = time.monotonic()
    result = lab.restore(A2, "cap", lab.data)
    assert result.status == 2 and "over 1000000 bytes" in result.stderr
    assert time.monotonic() - begun < HANG
    assert not lab.restored("cap").exists()


def test_watchdog_ends_with_borg(lab: Lab) -> None:
    lab.configure("restore = yes", borg=lab.script("brief", "exec sleep 1\n"))
    words = ("restore", "web1", A1, "x", SNAPSHOT, str(lab.data))
    with lab.host.pair(lab.root, *words, serve=("sleep", "4")):
        pid = lab.agent_pid()
        wait_until(lambda: any("brief" in p or "sleep" in p for p in lab.processes()), lambda: "not begun")
        os.kill(pid, signal.SIGKILL)
        lab.configure()
        wait_until(lambda: len(lab.processes()) <= 2, lambda: f"left running: {lab.processes()}")
        lab.ok("list", "web1", "1")
