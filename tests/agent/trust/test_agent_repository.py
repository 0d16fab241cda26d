"""The host's agent and its repository: another one, an older state, a second init."""

from __future__ import annotations

import os
import shutil
import subprocess
import time

from tests.harness.machines.agent import A1, A2, SNAPSHOT, Lab, output
from tests.harness.machines.host import find_borg
from tests.harness.machines.join import Joined
from tests.harness.watch import HANG


def assert_alarmed(lab: Lab, result: Joined) -> None:
    """Said with its own status, and kept; then root has looked into it."""
    assert result.status == 76 and "ALARM: " in result.stderr, result.stderr
    (lab.host.state / "alarm").unlink()


def test_nothing_runs_after_an_alarm(lab: Lab) -> None:
    alarm = lab.host.state / "alarm"
    alarm.write_text("2026-01-01T00:00:00Z the reason\n")
    lab.configure(borg=lab.script("canary", f"touch {lab.host.directory}/ran\n"))
    for words in (
        ("create", "web1", A2),
        ("list", "web1", "1"),
        ("restore", "web1", A1, "x", SNAPSHOT, "/etc"),
    ):
        later = lab.verb(*words)
        assert later.status == 76 and str(alarm) in later.stderr and "the reason" in later.stderr
    (lab.host.state / "repository-id").unlink()
    assert lab.verb("init", "web1").status == 76
    assert not (lab.host.directory / "ran").exists()
    lab.configure()
    assert b"alarm yes" in lab.host.call("version").stdout


def test_another_repository_is_an_alarm(lab: Lab) -> None:
    security = lab.host.state / "borg/.config/borg/security"
    foreign = security / ("f" * 64)
    foreign.mkdir()
    assert_alarmed(lab, lab.verb("create", "web1", A2))
    foreign.rmdir()
    (own,) = security.iterdir()
    own.rename(security.parent / "lost")
    assert_alarmed(lab, lab.verb("create", "web1", A2))
    (security.parent / "lost").rename(own)
    lab.ok("create", "web1", A2)


def test_an_unencrypted_repository_in_its_place_gets_nothing(lab: Lab) -> None:
    repository = lab.root / "web1"
    shutil.rmtree(repository)
    env = {"PATH": os.defpath, "BORG_BASE_DIR": str(lab.root / ".forger")}
    subprocess.run([find_borg(), "init", "-e", "none", repository], env=env, check=True, capture_output=True)
    before = sum(p.stat().st_size for p in repository.rglob("*") if p.is_file())
    for words in (("list", "web1", "1"), ("create", "web1", A2)):
        begun = time.monotonic()
        result = lab.verb(*words)
        assert time.monotonic() - begun < HANG, "a question without an answer must not hang"
        assert_alarmed(lab, result)
        for foreign in (lab.host.state / "borg/.config/borg/security").iterdir():
            if foreign.name != (lab.host.state / "repository-id").read_text().strip():
                shutil.rmtree(foreign)
    assert sum(p.stat().st_size for p in repository.rglob("*") if p.is_file()) < before + 1000


def test_list_reads_an_older_state_and_create_refuses_it(lab: Lab) -> None:
    lab.ok("create", "web1", A1)
    shutil.copytree(lab.root / "web1", lab.root / "old")
    lab.ok("create", "web1", A2)
    shutil.rmtree(lab.root / "web1")
    (lab.root / "old").rename(lab.root / "web1")
    archives = output(lab.ok("list", "web1", "9"))["archives"]
    assert [a["name"] for a in archives] == [A1]
    assert_alarmed(lab, lab.verb("create", "web1", A2))


def test_a_second_init_needs_root_and_keeps_the_old_key(lab: Lab) -> None:
    lab.ok("create", "web1", A1)
    assert lab.host.local("--key-export").stdout.count("BORG_KEY ") == 1
    (lab.host.state / "repository-id").unlink()
    shutil.rmtree(lab.root / "web1")
    (lab.root / "web1").mkdir()
    lab.ok("init", "web1")
    lab.ok("create", "web1", A1)
    assert len(list((lab.host.state / "borg/.config/borg/keys").iterdir())) == 2
    exported = lab.host.local("--key-export").stdout
    assert exported.count("BORG_KEY ") == 1
    assert (lab.host.state / "repository-id").read_text().strip() in exported
    assert (lab.host.confdir / "passphrase").read_text() in exported
