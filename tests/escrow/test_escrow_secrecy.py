"""Nothing in clear: on the server during all of it, and on a custodian's machine whose proof is killed."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.harness.machines.custodian import argv, both, environment, programs, prove
from tests.harness.processes.children import alive, number_in
from tests.harness.steps import accept, challenge, escrow_status, reseal
from tests.harness.watch import descendants, until
from tests.harness.worlds.site import NAME, Site
from tests.harness.worlds.steps import of
from zborg.model import Status

MEMORY = Path("/dev/shm")
_REGION = re.compile(r"([0-9a-f]+)-([0-9a-f]+) (\S+)")
_LARGEST = 256 << 20


def memory_of(pid: int) -> Iterator[bytes]:
    """What a process may write to, region by region: its heap, its stacks, what it mapped."""
    regions = [_REGION.match(line) for line in Path(f"/proc/{pid}/maps").read_text().splitlines()]
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as file:
        for found in filter(None, regions):
            begin, end = int(found[1], 16), int(found[2], 16)
            if found[3].startswith("rw") and end - begin <= _LARGEST:
                try:
                    file.seek(begin)
                    yield file.read(end - begin)
                except OSError:  # of a device
                    continue


def files_of(*places: Path) -> list[Path]:
    """Whatever vanishes meanwhile is somebody else's."""
    walked = (Path(top) / name for place in places for top, _, names in os.walk(place) for name in names)
    return [path for path in walked if path.is_file() and not path.is_symlink()]


def contents(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def holding(paths: Sequence[Path], needles: dict[str, bytes]) -> list[tuple[str, str]]:
    return [(name, str(path)) for path in paths for name, one in needles.items() if one in contents(path)]


@dataclass
class Needles:
    """What must be nowhere; read from the host once it is looked for, and not before."""

    site: Site

    def read(self) -> dict[str, bytes]:
        exported = self.site.host.sh("/usr/local/libexec/zborg-agent --key-export")
        passphrase = exported.partition("# Passphrase:\n")[2].partition("\n")[0]
        lines = exported.partition("BORG_KEY")[2].splitlines()[1:]
        assert len(passphrase) == 64
        assert len(lines) > 3
        return {"passphrase": passphrase.encode(), "key": lines[0].encode(), "its end": lines[-2].encode()}


def test_the_server_never_has_a_key_in_clear(site: Site, tmp_path: Path) -> None:
    """Its memory, its state, its pool and its temporary files, with all of escrow behind it."""
    before = set(Path(tempfile.gettempdir()).iterdir()) | set(MEMORY.iterdir())
    ready, go = os.pipe(), os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            done = _all_of_it(site, tmp_path)
            os.write(ready[1], b"y" if done else b"n")
            os.read(go[0], 1)
        finally:
            os._exit(0)
    try:
        assert os.read(ready[0], 1) == b"y"
        needles = Needles(site).read()
        sealed = (site.vault.state / "escrow" / f"{NAME}.age").read_bytes()
        control = sealed.splitlines()[1]  # what the server does have
        seen = {pid: list(memory_of(pid)) for pid in descendants(pid)}
        assert any(control in region for region in seen[pid]), "the search finds what is there"
        for name, needle in needles.items():
            assert not [one for one, regions in seen.items() for region in regions if needle in region], name
        new = (set(Path(tempfile.gettempdir()).iterdir()) | set(MEMORY.iterdir())) - before
        paths = files_of(site.vault.state, site.vault.directory / "pool", site.folder, tmp_path, *new)
        assert any(control in contents(path) for path in paths)
        assert holding([*paths, *(one for one in new if one.is_file())], needles) == []
    finally:
        os.write(go[1], b"y")
        os.waitpid(pid, 0)
        for end in (*ready, *go):
            os.close(end)


def _all_of_it(site: Site, place: Path) -> bool:
    """Seal, challenge, accept and show; the proof itself is another process's, on another machine."""
    file = place / "challenge"
    reports = [reseal(site.context()), challenge(site.context(), file)]
    done = prove(file, site.secret, both(place / "bin"), "--json")
    reports += [accept(site.context(), done.answer), escrow_status(site.context())]
    return all(of(report, NAME).status is Status.OK for report in reports)


def test_a_proof_leaves_nothing_behind(site: Site, tmp_path: Path) -> None:
    file, before = tmp_path / "challenge", set(MEMORY.iterdir())
    challenge(site.context(), file)
    home = tmp_path / "home"
    home.mkdir()
    path = both(tmp_path / "bin")
    env = dict(environment(path, HOME=str(home), TMPDIR=str(home)))
    done = subprocess.run(argv(file, site.secret), env=env, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    assert list(home.rglob("*")) == []
    assert [one for one in set(MEMORY.iterdir()) - before if one.name.startswith("zborg-prove-")] == []


@pytest.mark.parametrize("signal", [9, 15])
def test_a_proof_that_is_killed_leaves_no_secret(site: Site, tmp_path: Path, signal: int) -> None:
    """While borg has read both: what stays after SIGKILL is ciphertext, and the key goes with the process."""
    file, marker, before = tmp_path / "challenge", tmp_path / "marker", set(MEMORY.iterdir())
    challenge(site.context(), file)
    slow = tmp_path / "slow-borg"
    reads = 'cat "$BORG_KEY_FILE" >/dev/null && $BORG_PASSCOMMAND >/dev/null'
    slow.write_text(f"#!/bin/sh\n{reads} && echo $$ >{marker}\nexec /usr/bin/sleep 600\n")
    slow.chmod(0o755)
    path = programs(tmp_path / "bin", borg=str(slow), age="/usr/bin/age")
    process = subprocess.Popen(argv(file, site.secret), env=dict(environment(path)), stderr=subprocess.PIPE)
    borg = number_in(marker)
    keys = list(memory_of(process.pid))
    needles = Needles(site).read()
    assert any(needles["passphrase"] in region for region in keys), "it had the key"
    process.send_signal(signal)
    process.communicate(timeout=60)
    until(lambda: not alive(borg), "borg has ended with it")
    left = [one for one in set(MEMORY.iterdir()) - before if one.name.startswith("zborg-prove-")]
    assert len(left) == (1 if signal == 9 else 0)
    try:
        found = files_of(*left, tmp_path)
        assert len(found) >= 3
        assert holding(found, needles) == []
        assert all(one.stat().st_mode & 0o777 == 0o700 for one in left)
    finally:
        for one in left:
            subprocess.run(["rm", "-rf", "--", str(one)], check=True)
