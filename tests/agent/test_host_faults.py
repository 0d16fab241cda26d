"""What goes wrong on the host itself (docs/failures.md, 30, 31): a full disk, broken files of its borg."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.harness.machines.borgs import BORGS, borg_of
from tests.harness.machines.host import BackedUpHost
from tests.harness.pairs import pairwise
from tests.harness.steps import backup
from tests.harness.worlds.local import LocalVault
from tests.harness.worlds.steps import Hours, of, world
from zborg.model import Outcome, Status
from zborg.model.text.remedy import parse


def night(vault: LocalVault, clock: Hours) -> Outcome:
    clock.tick()
    return of(backup(world(vault, clock)), "web1")


def typed(outcome: Outcome) -> list[str]:
    """What root's shell prints for each command of the remedy."""
    commands = parse(outcome.remedy)[1]
    assert commands, outcome
    done = [
        subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=True) for line in commands
    ]
    return [one.stdout for one in done]


Good = Callable[[str], tuple[LocalVault, Hours, dict[Path, Path]]]


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Good]:
    """A host with one of the borgs, backed up once; copies of its repository and of what is its own."""
    made: dict[str, tuple[LocalVault, Hours, dict[Path, Path]]] = {}

    def make(version: str) -> tuple[LocalVault, Hours, dict[Path, Path]]:
        if version not in made:
            vault, clock = LocalVault(tmp_path_factory.mktemp(f"good-{version}")), Hours()
            host = vault.add("web1")
            host.setup("web1", [host.data], borg=borg_of(version))
            (host.data / "data").write_bytes(os.urandom(100_000))
            assert night(vault, clock).status is Status.OK
            places = (vault.zfs.directory("tank/borg/web1"), host.state, host.data, host.confdir)
            copies = {place: vault.directory / f"copies-{place.name}" for place in places}
            for place, copy in copies.items():
                shutil.copytree(place, copy)
            made[version] = vault, clock, copies
        return made[version]

    yield make
    for vault, _, _ in made.values():
        vault.close()


@pytest.fixture(params=BORGS)
def scene(good: Good, request: pytest.FixtureRequest) -> tuple[LocalVault, Hours, BackedUpHost]:
    """A host with either borg as it was after its first backup."""
    vault, clock, copies = good(request.param)
    for place, copy in copies.items():
        shutil.rmtree(place)
        shutil.copytree(copy, place)
    return vault, clock, vault.hosts["web1"]


# --- row 30: no room on the host ----------------------------------------------------------------------


@contextmanager
def full_disk(place: Path, options: str = "size=2m") -> Iterator[Path]:
    """A file system of its own there, with what was there before; what remains of it is filled by a file."""
    before = place.with_name(f"{place.name}.before")
    shutil.move(place, before)
    place.mkdir(mode=0o700)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"{options},mode=700", "tmpfs", place], check=True)
    try:
        subprocess.run(["cp", "-a", f"{before}/.", place], check=True)
        fill = place / "fill"
        subprocess.run(["dd", "if=/dev/zero", f"of={fill}", "bs=4k"], check=False, capture_output=True)
        yield fill
    finally:
        subprocess.run(["umount", "-l", place], check=True)
        place.rmdir()
        shutil.move(before, place)


@pytest.mark.parametrize("which", ["state", "cache"])
def test_a_full_disk_of_the_host_is_the_host_s(
    scene: tuple[LocalVault, Hours, BackedUpHost], which: str
) -> None:
    vault, clock, host = scene
    place = host.state if which == "state" else host.state / "borg/.cache/borg"
    with full_disk(place) as fill:
        for _ in range(2):
            outcome = night(vault, clock)
            assert outcome.status is Status.FAILED
            assert outcome.message.startswith("web1 has no room for borg: 0 KiB left in "), outcome
            assert str(place) in outcome.message
            assert "storage" not in outcome.message + outcome.remedy
            assert "100%" in typed(outcome)[0]
            assert outcome.data["log"][-1].endswith("borg was not started"), "the agent looks before"
        fill.unlink()
        assert night(vault, clock).status is Status.OK


def test_a_disk_that_fills_up_under_borg_is_the_host_s(scene: tuple[LocalVault, Hours, BackedUpHost]) -> None:
    """The room was there when the agent looked: 4 MB of names have to go into the cache of files."""
    vault, clock, host = scene
    for number in range(1500):
        (host.data / f"{number}-{'x' * 200}").write_text(str(number))
    with full_disk(host.state, "size=1m") as fill:
        fill.unlink()
        left = os.statvfs(host.state)
        subprocess.run(["fallocate", "-l", str((left.f_bavail - 25) * left.f_bsize), fill], check=True)
        outcome = night(vault, clock)
        assert (outcome.status, "web1 has no room for borg: " in outcome.message) == (Status.FAILED, True), (
            outcome
        )
        assert str(host.state) in outcome.message
        fill.unlink()
    # What borg sent before is a commit or none; either way the next night goes on.


def test_a_host_without_inodes_is_without_room(scene: tuple[LocalVault, Hours, BackedUpHost]) -> None:
    vault, clock, host = scene
    with full_disk(host.state, "size=20m,nr_inodes=100") as fill:
        fill.unlink()
        for number in range(100):
            try:
                (host.state / f"file{number}").touch()
            except OSError:
                break
        outcome = night(vault, clock)
        assert outcome.message.startswith("web1 has no room for borg: no inode left in "), outcome
        assert "100%" in typed(outcome)[1]


# --- row 31: broken files of the host's borg ----------------------------------------------------------

HARM: dict[str, Callable[[Path], object]] = {
    "empty": lambda file: file.write_bytes(b""),
    "garbage": lambda file: file.write_bytes(os.urandom(200)),
    "half": lambda file: file.write_bytes(file.read_bytes()[: file.stat().st_size // 2]),
    "zeros": lambda file: file.write_bytes(bytes(file.stat().st_size)),
}


# A line of a broken file may still look right, before the garbage or behind it.
HARM["garbage behind"] = lambda file: file.write_bytes(file.read_bytes() + b"\n\x84\x00\xff")
HARM["garbage before"] = lambda file: file.write_bytes(b"\x84\xff\n" + file.read_bytes())


@pytest.mark.parametrize(
    ("scene", "name", "how"), pairwise(BORGS, ["chunks", "config", "files"], HARM), indirect=["scene"]
)
def test_a_broken_cache_costs_no_night(
    scene: tuple[LocalVault, Hours, BackedUpHost], name: str, how: str
) -> None:
    """borg makes good its `files` by itself, and 1.4 garbage in `chunks`; of the rest it only fails."""
    vault, clock, host = scene
    security = {
        path: path.read_bytes() for path in (host.state / "borg/.config").rglob("*") if path.is_file()
    }
    (file,) = (host.state / "borg/.cache/borg").glob(f"*/{name}")
    HARM[how](file)
    harmed = file.read_bytes()
    first, second = night(vault, clock), night(vault, clock)
    assert first.status.good, first
    assert second.status is Status.OK, second
    aside = file.parent.with_name(f"{file.parent.name}.broken")
    assert (first.status is Status.WARNING) == aside.exists()
    if aside.exists():
        assert (aside / name).read_bytes() == harmed, "what was broken can be looked at"
        assert f"the cache of borg on web1 was broken, is now {aside}" in first.message
        typed(first)
        assert not aside.exists()
    assert aside.exists() or name == "files" or first.status is Status.OK or first.message
    assert set(security) <= {p for p in (host.state / "borg/.config").rglob("*") if p.is_file()}


def _file_in_place_of(directory: Path) -> None:
    shutil.rmtree(directory)
    directory.touch()


# Entries that a crash leaves beside the files, or in their place (borg #1501, #3553).
LEFT: dict[str, Callable[[Path], object]] = {
    "txn.active without files": lambda cache: (cache / "txn.active").mkdir(),
    "txn.active that is a file": lambda cache: (cache / "txn.active").touch(),
    "lock that is a file": lambda cache: (cache / "lock.exclusive").touch(),
    "no config": lambda cache: (cache / "config").unlink(),
    "a file in its place": _file_in_place_of,
}


@pytest.mark.parametrize("what", LEFT)
def test_what_a_crash_left_in_the_cache_costs_no_night(
    scene: tuple[LocalVault, Hours, BackedUpHost], what: str
) -> None:
    vault, clock, host = scene
    (cache,) = (host.state / "borg/.cache/borg").glob("*[0-9a-f]")
    LEFT[what](cache)
    first = night(vault, clock)
    assert first.status is Status.WARNING, first
    assert f"the cache of borg on web1 was broken, is now {cache}.broken" in first.message
    assert night(vault, clock).status is Status.OK
    typed(first)


def test_only_one_copy_of_a_broken_cache_stays(scene: tuple[LocalVault, Hours, BackedUpHost]) -> None:
    vault, clock, host = scene
    for text in (b"first", b"second"):
        (file,) = (host.state / "borg/.cache/borg").glob("*[0-9a-f]/config")
        file.write_bytes(text)
        assert night(vault, clock).status is Status.WARNING
    assert [p.read_bytes() for p in (host.state / "borg/.cache/borg").glob("*.broken/config")] == [b"second"]


def test_the_second_try_is_allowed_whatever_min_interval_says(
    scene: tuple[LocalVault, Hours, BackedUpHost],
) -> None:
    """But only once within it, or a server that can make borg fail so starts backups as often as it likes."""
    vault, clock, host = scene
    borg = next(
        line for line in (host.confdir / "agent.conf").read_text().splitlines() if line.startswith("borg =")
    )
    host.setup("web1", [host.data], borg=borg.partition("= ")[2], extra_conf=["min_interval = 1h"])
    for words in ("the cache of borg on web1 was broken", "then zborg-agent: not now"):
        (host.state / "last-create").unlink()
        (file,) = (host.state / "borg/.cache/borg").glob("*[0-9a-f]/config")
        file.write_bytes(b"")
        assert words in night(vault, clock).message


GUARDS = ["nonce", "key-type", "location", "manifest-timestamp"]


@pytest.mark.parametrize(
    ("scene", "name", "how"),
    pairwise(BORGS, GUARDS, ["empty", "garbage", "garbage behind", "garbage before"]),
    indirect=["scene"],
)
def test_what_protects_is_left_alone_and_has_a_remedy(
    scene: tuple[LocalVault, Hours, BackedUpHost], name: str, how: str
) -> None:
    vault, clock, host = scene
    (file,) = (host.state / "borg/.config/borg/security").glob(f"*/{name}")
    before = file.read_bytes()
    HARM[how](file)
    harmed = file.read_bytes()
    for _ in range(2):
        outcome = night(vault, clock)
        assert (outcome.status, outcome.message) == (
            Status.FAILED,
            f"{file} on web1 is empty or broken (after a power failure?)",
        )
        assert file.read_bytes() == harmed
    assert not (host.state / "alarm").exists(), "no trick of the server's"
    typed(outcome)
    assert night(vault, clock).status is Status.OK
    assert night(vault, clock).status is Status.OK
    if name == "nonce":
        assert int(file.read_bytes(), 16) > int(before, 16) + (1 << 50), "no nonce serves twice"
    elif name != "manifest-timestamp":
        assert file.read_bytes() == before


def test_a_broken_record_of_the_repository_is_no_lost_key(
    scene: tuple[LocalVault, Hours, BackedUpHost],
) -> None:
    vault, clock, host = scene
    record = host.state / "repository-id"
    before = record.read_text()
    record.write_text("")
    outcome = night(vault, clock)
    assert str(record) in outcome.message
    typed(outcome)
    assert record.read_text() == before
    assert night(vault, clock).status is Status.OK


# --- an archive that an old borg renamed (CVE-2023-36811) ---------------------------------------------


def test_a_rename_by_an_old_borg_has_its_name_and_a_way_on(vault: LocalVault, clock: Hours) -> None:
    host = vault.add("web1")
    made = [night(vault, clock), night(vault, clock)]
    repository = vault.zfs.directory("tank/borg/web1")
    env = {
        "PATH": os.defpath,
        "BORG_BASE_DIR": str(vault.directory / "by-hand"),
        "BORG_KEYS_DIR": str(host.state / "borg/.config/borg/keys"),
        "BORG_PASSCOMMAND": f"cat {host.confdir}/passphrase",
        "BORG_RELOCATED_REPO_ACCESS_IS_OK": "yes",
    }
    argv = [borg_of("1.2"), "rename", f"{repository}::{made[1].data['archive']}", "renamed"]
    subprocess.run(argv, env=env, check=True, capture_output=True)
    outcome = night(vault, clock)
    assert outcome.status is Status.CONFLICT
    assert "CVE-2023-36811" in outcome.message
    (command,) = parse(outcome.remedy)[1]
    agent, _, flag = command.partition(" ")
    assert agent == "/usr/local/libexec/zborg-agent"
    host.local(flag).check_returncode()
    signed, then = night(vault, clock), night(vault, clock)
    assert (signed.status, "were signed" in signed.message) == (Status.WARNING, True), signed
    assert then.status is Status.OK, "and stays so"
    assert not (host.state / "sign-archives.allow").exists(), "it serves once"


def test_no_server_has_archives_signed(vault: LocalVault, clock: Hours) -> None:
    """A forged one stays a conflict, night after night, until root of the host has allowed it."""
    host = vault.add("web1")
    assert night(vault, clock).status is Status.OK
    permission = host.state / "sign-archives.allow"
    permission.touch(mode=0o666)
    permission.chmod(0o666)
    assert "must belong to root" in night(vault, clock).message
    raw = "--sign-archives"
    refused = host.call(raw)
    assert refused.returncode == 2
    assert b"no such verb" in refused.stderr
