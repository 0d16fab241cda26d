"""Broken and exchanged repositories: real borg on both sides, and files damaged byte by byte."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.harness.machines.host import BackedUpHost, find_borg
from tests.harness.steps import backup, restore_files, snapshot
from tests.harness.watch import HANG
from tests.harness.worlds.local import LocalVault
from tests.harness.worlds.steps import Hours, of, snapnames, world
from zborg.errors import Exit
from zborg.model import Outcome, Report, Status
from zborg.model.text.remedy import parse


def night(vault: LocalVault, clock: Hours) -> Report:
    clock.tick()
    return backup(world(vault, clock))


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[LocalVault, Hours, dict[Path, Path]]]:
    """web1 with one good archive, and copies of its repository and of what the host remembers."""
    vault, clock = LocalVault(tmp_path_factory.mktemp("damage")), Hours()
    host = vault.add("web1")
    (host.data / "data").write_bytes(os.urandom(100_000))
    assert night(vault, clock).exit is Exit.OK
    kept = {}
    for place in (vault.zfs.directory("tank/borg/web1"), host.state):
        kept[place] = vault.directory / f"kept-{place.name}"
        shutil.copytree(place, kept[place])
    yield vault, clock, kept
    vault.close()


@pytest.fixture
def scene(good: tuple[LocalVault, Hours, dict[Path, Path]]) -> tuple[LocalVault, Hours]:
    """As it was after that archive, with a file that changed since."""
    vault, clock, kept = good
    for place, copy in kept.items():
        shutil.rmtree(place)
        shutil.copytree(copy, place)
    (vault.hosts["web1"].data / "file").write_text(str(clock.now))
    return vault, clock


def flip(path: Path) -> None:
    """One byte in the middle of a file, as a failing disk without checksums would."""
    with open(path, "r+b") as file:
        file.seek(path.stat().st_size // 2)
        byte = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte[0] ^ 0xFF]))


def segment(home: Path, which: int) -> Path:
    return sorted((home / "data" / "0").iterdir(), key=lambda path: int(path.name))[which]


DAMAGE: dict[str, tuple[Callable[[Path], None], str]] = {
    "manifest": (lambda home: flip(segment(home, -2)), "borg found damaged data"),
    "segment gone": (lambda home: segment(home, -2).unlink(), "the repository has no longer all data"),
    "index": (lambda home: flip(next(home.glob("index.*"))), "index missing or corrupted"),
    "hints": (lambda home: flip(next(home.glob("hints.*"))), "hints file missing or corrupted"),
    "integrity": (lambda home: flip(next(home.glob("integrity.*"))), "borg serve cannot read"),
    "config": (lambda home: flip(home / "config"), "borg serve cannot read"),
    "nonce": (lambda home: flip(home / "nonce"), "borg serve cannot read"),
}


@pytest.mark.parametrize("what", DAMAGE)
def test_a_damaged_repository_is_damage_and_no_warning(scene: tuple[LocalVault, Hours], what: str) -> None:
    """borg rebuilds its index and hints and ends with 0; of others it ends with a Python error."""
    (vault, clock), (harm, words) = scene, DAMAGE[what]
    harm(vault.zfs.directory("tank/borg/web1"))
    report = night(vault, clock)
    outcome = of(report, "web1")
    assert (report.exit, outcome.status) == (Exit.DAMAGE, Status.DAMAGED), outcome
    assert words in outcome.message
    assert "zborg scrub" in outcome.remedy


def test_an_index_that_is_only_behind_is_no_damage(scene: tuple[LocalVault, Hours]) -> None:
    """What a killed `borg serve` leaves: borg replays its segments, and says so as a warning."""
    vault, clock = scene
    for path in vault.zfs.directory("tank/borg/web1").glob("index.*"):
        path.unlink()
    assert of(night(vault, clock), "web1").status is Status.OK


def test_damaged_data_ends_a_restore_as_damage(scene: tuple[LocalVault, Hours]) -> None:
    vault, clock = scene
    flip(max((vault.zfs.directory("tank/borg/web1") / "data/0").iterdir(), key=lambda s: s.stat().st_size))
    assert night(vault, clock).exit is Exit.OK, "a backup does not read the data of older ones"
    clock.tick()
    context, host = world(vault, clock), vault.hosts["web1"]
    snapshot(context)
    raw = snapnames(vault, "tank/borg/web1")[-1]
    host.local("--allow-restore", raw, "1000000", str(host.data)).check_returncode()
    report = restore_files(context, "web1", [str(host.data)], raw)
    assert (report.exit, report.outcomes[0].message) == (Exit.DAMAGE, "borg found damaged data")


def test_a_file_that_the_host_s_disk_does_not_give_is_told(scene: tuple[LocalVault, Hours]) -> None:
    """The first page of a process's memory is never there: read() says EIO, as a bad disk does."""
    vault, clock = scene
    host = vault.hosts["web1"]
    host.setup("web1", [host.data, Path(f"/proc/{os.getpid()}/mem")])
    outcome = of(night(vault, clock), "web1")
    host.setup("web1", [host.data])
    assert outcome.status is Status.WARNING
    assert "1 file could not be read (input/output error)" in outcome.message
    assert outcome.remedy == f"on web1, as root:\ncat {host.state}/warnings.log"


def security(host: BackedUpHost) -> Path:
    (found,) = (host.state / "borg/.config/borg/security").iterdir()
    return found


def unanswered(vault: LocalVault, clock: Hours) -> Outcome:
    begun = time.monotonic()
    report = night(vault, clock)
    assert time.monotonic() - begun < HANG
    assert report.exit is Exit.CONFLICT
    return of(report, "web1")


def test_borg_s_question_about_a_relocated_repository_is_no(scene: tuple[LocalVault, Hours]) -> None:
    """The host knows the repository by another URL than the one zborg always uses."""
    (vault, clock), elsewhere = scene, "ssh://elsewhere/./web1"
    host = vault.hosts["web1"]
    (security(host) / "location").write_text(elsewhere)
    (config,) = (host.state / "borg/.cache/borg").glob("*/config")
    text = config.read_text()
    assert "previous_location = ssh://web1/./web1" in text
    config.write_text(text.replace("ssh://web1/./web1", elsewhere))
    before = vault.zfs.directory("tank/borg/web1").joinpath("transactions").read_text()
    outcome = unanswered(vault, clock)
    assert "ALARM: the server showed a repository that is not this host's" in outcome.message
    assert (host.state / "alarm").exists()
    assert vault.zfs.directory("tank/borg/web1").joinpath("transactions").read_text() == before


def test_borg_s_question_about_an_unknown_unencrypted_repository_is_no(
    scene: tuple[LocalVault, Hours],
) -> None:
    vault, clock = scene
    home = vault.zfs.directory("tank/borg/web1")
    transactions = (home / "transactions").read_text()
    shutil.rmtree(home)
    env = {"PATH": os.defpath, "BORG_BASE_DIR": str(vault.directory / "forger")}
    subprocess.run([find_borg(), "init", "-e", "none", home], env=env, check=True, capture_output=True)
    (home / "transactions").write_text(transactions)
    before = sum(path.stat().st_size for path in home.rglob("*") if path.is_file())
    first, then = unanswered(vault, clock), unanswered(vault, clock)
    assert "ALARM: the server showed another repository" in first.message
    assert "ALARM since" in then.message
    assert first.remedy == then.remedy
    assert parse(first.remedy)[1] == ("cat /var/lib/zborg/alarm",)
    assert sum(path.stat().st_size for path in home.rglob("*") if path.is_file()) == before
