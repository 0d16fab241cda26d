"""Code that runs inside one host's `borg serve`: what it reaches under each wall, and without any.

Which walls there are depends on the kernel and on what is installed, and so do the cases; test_walls_lab.py
says which a guest has to have. One more has no wall at all and every attack succeeds there: that shows that
the others are held off by the wall under test, and by nothing else of this machine.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from tests.harness.machines.hostile.intruder import BORG, Surroundings, answer, fill, surroundings
from tests.harness.machines.walls import NOTHING, Case, cases
from tests.harness.processes.unprivileged import USER, Unprivileged, as_nobody
from tests.harness.worlds.local import LocalVault
from zborg.borg.storage.confine import confine
from zborg.errors import CommandFailed
from zborg.hosts import SCRIPTS, serve
from zborg.hosts.serve import LocalServe
from zborg.hosts.tunnel import SshTunnel
from zborg.hosts.wall import landlock_abi
from zborg.process import LocalRunner

CASES = cases(landlock_abi(), Path("/usr/bin/bwrap").exists())


@dataclass
class Walled:
    """Two repositories, and a `borg serve` of web1 that does what the attacker says."""

    tunnel: SshTunnel
    home: Path
    other: Path
    victim: list[str]  # begins the command line of what runs as web2's `borg serve` would

    def attack(self, around: Surroundings) -> dict[str, bool]:
        (self.home / "orders.py").write_text(around.orders(self.other))
        self.tunnel.try_serve("web1")
        return dict(answer(self.home))


def walled(directory: Path, case: Case, patch: pytest.MonkeyPatch, wall: str = "auto") -> Walled:
    directory.chmod(0o711)
    vault = LocalVault(directory)
    vault.user, vault.borg = USER, str(directory / "borg")
    Path(vault.borg).write_text(BORG)
    Path(vault.borg).chmod(0o755)
    homes = [vault.zfs.directory(f"tank/borg/{name}") for name in ("web1", "web2")]
    for home in homes:
        vault.zfs.create(f"tank/borg/{home.name}", {})
        fill(home)
    owned = confine(LocalRunner(), [str(home) for home in homes], "" if case.own else USER)
    patch.setattr(serve, "SCRIPTS", scripts_without(directory / "scripts", case.without))

    def prefix(own: int | None) -> list[str]:
        return as_nobody([directory], directory / "covers", own)

    def runner(own: int | None, env: Mapping[str, str]) -> Unprivileged:
        return Unprivileged(prefix(own), env)

    local = LocalServe(replace(vault.config.storage, wall=wall), vault.zfs, runner)
    tunnel = SshTunnel(directory / "known_hosts", LocalRunner(), local, None)
    home, other = homes
    return Walled(tunnel, home, other, prefix(owned[str(other)].uid if case.own else None))


def scripts_without(directory: Path, edits: Iterable[tuple[str, str]]) -> Path:
    """serve.sh, and wall.py for a kernel or a system that is without something."""
    directory.mkdir()
    text = (SCRIPTS / "wall.py").read_text()
    for old, new in edits:
        assert old in text
        text = text.replace(old, new)
    (directory / "wall.py").write_text(text)
    shutil.copy(SCRIPTS / "serve.sh", directory)
    return directory


@pytest.mark.parametrize("case", CASES.values(), ids=list(CASES))
def test_code_in_borg_serve_reaches_nothing_beyond_its_own_repository(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: Case
) -> None:
    place = walled(tmp_path, case, monkeypatch)
    before = stored(place.other)
    with surroundings(f"zborg-walls-{os.getpid()}", place.victim) as around:
        found = place.attack(around)
    assert not {name for name, done in found.items() if done}, found
    assert stored(place.other) == before
    wall = place.tunnel.wall("web1")
    assert wall and wall.stands and wall.no_network
    assert wall.words == case.words


def test_without_a_wall_each_of_these_attacks_succeeds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = walled(tmp_path, NOTHING, monkeypatch)
    with surroundings(f"zborg-walls-{os.getpid()}", place.victim) as around:
        found = place.attack(around)
    held = {name for name, done in found.items() if not done}
    # Root closes the parent in any case; and some kernels let nobody trace but a parent its child.
    assert held <= {"list the repositories", "trace another"}, found
    wall = place.tunnel.wall("web1")
    assert wall and not wall.stands and wall.words == NOTHING.words


def test_nothing_is_served_without_a_wall_where_one_is_required(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = walled(tmp_path, NOTHING, monkeypatch, wall="require")
    (place.home / "orders.py").write_text("done['run'] = True")
    with pytest.raises(CommandFailed, match="no wall can stand here"):
        place.tunnel.try_serve("web1")
    assert not (place.home / "done.json").exists()


def test_a_required_wall_that_stands_serves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = walled(tmp_path, CASES["a number for each host"], monkeypatch, wall="require")
    (place.home / "orders.py").write_text("done['run'] = True")
    place.tunnel.try_serve("web1")
    assert answer(place.home) == {"run": True}


def stored(home: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in home.rglob("*") if path.is_file()}


def test_a_reader_reads_below_one_directory_and_does_nothing_else(tmp_path: Path) -> None:
    """What audit's reader does before it looks at anything."""
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    for directory in (inside, outside):
        directory.mkdir()
        (directory / "file").write_text("x")
    code = (
        "import os, sys, types\n"
        "wall = types.ModuleType('wall')\n"
        "exec(open(sys.argv[1]).read(), wall.__dict__)\n"
        "os.chdir(sys.argv[2])\n"
        "assert wall.read_only('.')\n"
        "assert open('file').read() == 'x' and os.listdir('.') == ['file']\n"
        "asked = (sys.argv[3], 0), ('/etc/passwd', 0), ('file', os.O_WRONLY), ('new', os.O_CREAT)\n"
        "for path, flags in asked:\n"
        "    try:\n"
        "        os.open(path, flags)\n"
        "    except PermissionError:\n"
        "        continue\n"
        "    sys.exit(path)\n"
    )
    argv = [sys.executable, "-c", code, str(SCRIPTS / "wall.py"), str(inside), str(outside / "file")]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
