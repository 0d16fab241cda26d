"""What a restore takes on the host's disk, and what stays of a stopped one. Real agent, sshd, borgs."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.harness.machines.agent import A1, A2, Lab, output
from tests.harness.machines.borgs import BORGS, borg_of
from tests.harness.steps import backup, restore_files, snapshot
from tests.harness.worlds.local import LocalVault
from tests.harness.worlds.steps import Hours, world
from zborg.errors import Exit
from zborg.model import Outcome
from zborg.model.text import remedy

MIB = 1 << 20


def blocks(path: Path) -> int:
    """Bytes that a file occupies."""
    return path.stat().st_blocks * 512


# --- sparse files ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", BORGS)
def test_a_file_of_holes_is_restored_under_a_cap_of_its_blocks(agent: Lab, version: str) -> None:
    """256 MiB that occupy 4 KiB; a hole between data; hard links to such a file, which count once."""
    agent.configure(borg=borg_of(version))
    names = ("disk", "middle", "linked")
    disk, middle, linked = (agent.data / name for name in names)
    with disk.open("wb") as file:
        file.write(b"begin")
        file.truncate(256 * MIB)
    with middle.open("wb") as file:
        file.write(os.urandom(MIB))
        file.seek(64 * MIB)
        file.write(os.urandom(MIB))
    linked.hardlink_to(middle)
    agent.ok("create", "web1", A2)
    agent.allow(agent.data, cap=100 * MIB)
    done = agent.restore(A2, "r", agent.data)
    assert done.status == 0, done.stderr
    back = [Path(f"{agent.restored('r')}{agent.data}") / name for name in names]
    assert [one.stat().st_size for one in back] == [256 * MIB, 65 * MIB, 65 * MIB]
    # A hole is as good as borg's chunks, of up to 8 MiB each.
    assert blocks(back[0]) <= 9 * MIB and blocks(back[1]) <= 2 * 9 * MIB
    assert back[1].read_bytes() == middle.read_bytes()
    assert back[1].stat().st_ino == back[2].stat().st_ino
    assert output(done)["bytes"] <= 30 * MIB


def test_a_file_without_holes_over_the_cap_is_stopped(agent: Lab) -> None:
    (agent.data / "dense").write_bytes(os.urandom(20 * MIB))
    agent.ok("create", "web1", A2)
    agent.allow(agent.data, cap=10 * MIB)
    done = agent.restore(A2, "r", agent.data)
    assert done.status == 2 and f"over {10 * MIB} bytes" in done.stderr
    assert "what was extracted is removed" in done.stderr
    assert not agent.restored("r").exists()


# --- what stays -----------------------------------------------------------------------------------------


@contextmanager
def immutable(path: Path) -> Iterator[None]:
    subprocess.run(["chattr", "+i", str(path)], check=True)
    try:
        yield
    finally:
        subprocess.run(["chattr", "-i", str(path)], check=True)


@pytest.fixture
def stopped(vault: LocalVault, clock: Hours) -> Iterator[Stopped]:
    yield Stopped(vault, clock)


class Stopped:
    """A host whose restore passes the cap, with something below its directory that resists removal."""

    def __init__(self, vault: LocalVault, clock: Hours) -> None:
        self.host, self.clock, self.context = vault.add("web1"), clock, world(vault, clock)
        (self.host.data / "big").write_bytes(os.urandom(3 * MIB))

    def restore(self, *, borg: str = "", cap: int = MIB, then: Sequence[Path] = ()) -> Outcome:
        """`then` is restored after the host's data."""
        paths = [self.host.data, *then]
        if then:
            self.host.setup("web1", paths)
        backup(self.context)
        self.clock.tick()
        snapshot(self.context)
        if borg:
            self.host.setup("web1", paths, borg=borg)
        (name,) = [one.snapname for one in self.context.storage.zfs.snapshots("tank/borg/web1")]
        wanted = list(map(str, paths))
        self.host.local("--allow-restore", name, str(cap), *wanted).check_returncode()
        self.clock.tick()
        report = restore_files(self.context, "web1", wanted, "")
        assert report.exit is Exit.FAILED
        return report.outcomes[0]

    @property
    def directory(self) -> Path:
        (found,) = (self.host.state / "restore").iterdir()
        return found


def typed(outcome: Outcome) -> list[subprocess.CompletedProcess[str]]:
    """The remedy's commands, as root on the host types them."""
    _, commands = remedy.parse(outcome.remedy)
    assert commands, outcome
    return [subprocess.run(["sh", "-c", one], capture_output=True, text=True) for one in commands]


def test_an_immutable_file_stays_is_reported_and_the_remedy_removes_it(stopped: Stopped) -> None:
    """borg brings the flag back once the file is whole, so the cap is passed by what comes after it."""
    after = stopped.host.directory / "after"
    after.mkdir()
    (after / "more").write_bytes(os.urandom(8 * MIB))
    with immutable(stopped.host.data / "big"):
        outcome = stopped.restore(cap=5 * MIB, then=[after])
    assert "removed" not in outcome.message.replace("could be removed", "")
    assert f"1 file with 3.0 MiB stay in {stopped.directory} on web1" in outcome.message
    assert outcome.data["left_bytes"] > 3 * MIB - 1 and outcome.data["left_files"] == 1
    assert "on web1, as root:" in outcome.remedy
    assert [one.returncode for one in typed(outcome)] == [0, 0]
    assert not list((stopped.host.state / "restore").iterdir())


def test_what_is_mounted_below_is_not_emptied(stopped: Stopped, tmp_path: Path) -> None:
    """`rm -r` would go on into another file system."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "precious").write_text("live")
    script = f'mkdir mnt && mount --bind {elsewhere} mnt\nexec {borg_of("1.4")} "$@"\n'
    outcome = stopped.restore(borg=mounting(stopped, script))
    try:
        assert (elsewhere / "precious").read_text() == "live"
        assert f"stay in {stopped.directory} on web1" in outcome.message
        assert "unmount" in outcome.remedy
        listing = subprocess.run(
            ["sh", "-c", remedy.parse(outcome.remedy)[1][0]], capture_output=True, text=True, check=True
        )
        assert f" {stopped.directory}/mnt " in listing.stdout
    finally:
        subprocess.run(["umount", f"{stopped.directory}/mnt"], check=True)
    assert typed(outcome)[1].returncode == 0
    assert not list((stopped.host.state / "restore").iterdir())


def test_a_mount_on_the_directory_itself_is_reported(stopped: Stopped) -> None:
    """Busy, and what was in that file system before nobody knows."""
    script = f'mount -t tmpfs zborg-test "$PWD" && cd "$PWD"\nexec {borg_of("1.4")} "$@"\n'
    outcome = stopped.restore(borg=mounting(stopped, script))
    try:
        stays = rf"with \d\.\d MiB stay in {stopped.directory} on web1"  # borg is ended in the middle of it
        assert re.search(stays, outcome.message), outcome
    finally:
        subprocess.run(["umount", str(stopped.directory)], check=True)
    assert typed(outcome)[1].returncode == 0
    assert not list((stopped.host.state / "restore").iterdir())


def mounting(stopped: Stopped, script: str) -> str:
    """borg, which first does what `script` says when it extracts."""
    path = stopped.host.directory / "mounting-borg"
    path.write_text(
        f'#!/bin/sh\ncase " $* " in *" extract "*) ;; *) exec {borg_of("1.4")} "$@" ;; esac\n{script}'
    )
    path.chmod(0o755)
    return str(path)


def test_only_the_directory_of_this_restore_is_believed(stopped: Stopped) -> None:
    """What a host says is left goes into commands for root."""
    lie = 'printf \'= {"left": "/", "files": 1, "bytes": 1, "mounted": false}\\n\' >&2; exit 2'
    agent = stopped.host.agent
    text = agent.read_text()
    assert text.count("        remove_restored\n") == 1
    agent.write_text(text.replace("        remove_restored\n", f"        {lie}\n"))
    outcome = stopped.restore()
    assert "chattr" not in outcome.remedy and "left" not in outcome.data


def test_a_restore_that_fails_otherwise_names_its_directory(agent: Lab) -> None:
    """A part may be all that somebody needs."""
    agent.ok("create", "web1", A1)
    agent.configure("restore = yes", borg=agent.script("failing", f'{borg_of("1.4")} "$@"; exit 2\n'))
    done = agent.restore(A1, "r", agent.data)
    assert done.status == 2 and f"what was extracted is in {agent.restored('r')}" in done.stderr
    assert (Path(f"{agent.restored('r')}{agent.data}")).is_dir()
