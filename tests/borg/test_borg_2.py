"""borg 2 is refused where it is met: it has no append-only, and serves repositories of borg 1 without."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.harness.doctor.clinic import Clinic, Plant
from tests.harness.doctor.faults import Fault, check
from tests.harness.steps import backup
from tests.harness.worlds.local import LocalVault
from tests.harness.worlds.steps import Hours, of, world
from zborg.borg.storage.repository import configs
from zborg.errors import Exit
from zborg.model import Host, Status
from zborg.model.enrolment import Request
from zborg.process import LocalRunner
from zborg.steps.context import begin
from zborg.steps.hosts.enrol import enroll

PRINTS = "#!/bin/sh\necho borg 2.0.0b25\n"


def stand_in(directory: Path) -> str:
    path = directory / "borg-2"
    path.write_text(PRINTS)
    path.chmod(0o755)
    return str(path)


def version_2(home: Path, how: str) -> None:
    """As borg 2 leaves it, by its packs; or as an early beta did, by its config."""
    if how == "packs":
        (home / "packs").mkdir()
        (home / "config").mkdir()
        (home / "config" / "version").write_text("2")
    else:
        (home / "config").write_text(f"[repository]\nversion = 2\nid = {'5a' * 32}\n")


@pytest.mark.parametrize("how", ["packs", "config"])
def test_a_repository_of_borg_2_is_recognised_by_its_files(tmp_path: Path, how: str) -> None:
    homes = [str(tmp_path / name) for name in ("none", "one", "two", "odd")]
    for home in homes:
        Path(home).mkdir()
    (tmp_path / "one" / "config").write_text(f"[repository]\nversion = 1\nid = {'5a' * 32}\n")
    version_2(tmp_path / "two", how)
    (tmp_path / "odd" / "config").write_text("[repository]\nversion = \x1b[2J99999999\n")
    (tmp_path / "odd" / "packs").symlink_to(tmp_path)
    assert [configs(LocalRunner(), homes)[home].version for home in homes] == [0, 1, 2, 0]


@pytest.mark.parametrize("how", ["packs", "config"])
def test_backup_serves_nothing_of_it(vault: LocalVault, clock: Hours, how: str) -> None:
    """By what is read in any case: no process more."""
    vault.add("web1")
    assert of(backup(world(vault, clock)), "web1").status is Status.OK
    clock.tick()
    home = vault.zfs.directory("tank/borg/web1")
    (home / "config").unlink()
    version_2(home, how)
    made = of(backup(world(vault, clock)), "web1")
    assert made.status is Status.CONFLICT, made
    assert "is a repository of version 2" in made.message
    assert "zfs rename tank/borg/web1 tank/borg/web1-1" in made.remedy


def adding(vault: LocalVault, clock: Hours) -> tuple[Exit, str]:
    """`zborg host add` of a host whose owner has installed the agent."""
    endpoint = vault.endpoint(1, "ssh-ed25519 AAAA")
    request = Request(Host("web2", endpoint, 3600, 60, None), "vault", "ssh-ed25519 AAAA")
    context = world(vault, clock)
    context = replace(context, config=replace(context.config, include=("hosts.d/*.toml",)))
    report = enroll(begin(context, "host accept", dry_run=True), request, None)
    return report.exit, " ".join(one.message for one in report.outcomes)


def test_host_add_refuses_a_serving_borg_of_version_2(vault: LocalVault, clock: Hours) -> None:
    code, words = adding(vault, clock)
    assert "borg 2" not in words, (code, words)
    vault.borg = stand_in(vault.directory)
    code, words = adding(vault, clock)
    assert code is Exit.FAILED
    assert "borg 2.0.0b25 is refused" in words and "without append-only" in words


def test_host_add_refuses_a_repository_of_version_2(vault: LocalVault, clock: Hours) -> None:
    vault.zfs.create("tank/borg/web2", {})
    version_2(vault.zfs.directory("tank/borg/web2"), "packs")
    code, words = adding(vault, clock)
    assert code is Exit.FAILED and "tank/borg/web2 is a repository of version 2" in words


def test_doctor_refuses_both(clinic: Clinic, plant: Plant) -> None:
    check(
        clinic,
        plant,
        Fault(
            "programs",
            lambda plant: plant.entry(
                plant.clinic.config_changes,
                "storage",
                replace(plant.clinic.config.storage, borg=stand_in(plant.clinic.directory)),
            ),
            Status.FAILED,
            "borg 2.0.0b25 is refused: borg 2 makes other repositories, and its borg serve serves those of "
            "borg 1 without append-only",
            "apt-get install borgbackup",
        ),
    )
    plant.close()
    home = clinic.vault.zfs.directory("tank/borg/web1")
    (home / "packs").mkdir()
    plant.later((home / "packs").rmdir)
    (bad,) = (one for one in clinic.look("repositories").outcomes if one.status is not Status.OK)
    assert (bad.subject, bad.status) == ("web1", Status.FAILED)
    assert "is a repository of version 2" in bad.message and "nothing of it is served" in bad.message
    assert bad.remedy.endswith("zborg init web1")
