"""What nobody may learn: no socket listens on the host, no secret leaves it, no file name is told."""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import Lab
from tests.harness.machines.host import BackedUpHost, creating, throttled
from tests.harness.places import Network, network
from tests.harness.processes import backup_process
from tests.harness.watch import command_line, descendants, environment, newest_pair, passed, until
from tests.harness.worlds.local import LocalVault
from tests.harness.worlds.world import World

MIB = 1 << 20
NEW = 6 * MIB


# --- the host's sockets -------------------------------------------------------------------------------


@pytest.fixture
def namespace() -> Iterator[Network]:
    with network() as made:
        yield made


@pytest.fixture
def lonely(namespace: Network, tmp_path: Path) -> Iterator[LocalVault]:
    """A vault whose one host lives in the namespace."""
    vault = LocalVault(tmp_path)
    host = vault.add("web1", place=namespace)
    host.setup("web1", [host.data], borg=throttled(host))
    (host.data / "new").write_bytes(os.urandom(NEW))
    yield vault
    vault.close()


def test_nothing_listens_on_the_host_during_a_backup(namespace: Network, lonely: LocalVault) -> None:
    before = namespace.sockets()
    assert len(before) == 1, before  # its sshd, and that is seen
    process = backup_process.start(lonely)
    events = lonely.directory / "events"
    until(lambda: "progress web1" in events.read_text(), "borg is at work")
    serve = until(lambda: newest_pair(lonely.state, "host-web1"), "borg serve runs")[1]
    until(lambda: passed(serve, "rchar") > NEW // 2, "half of it was sent")
    during = namespace.sockets()
    assert any(b"create" in command_line(pid) for pid in namespace.pids())  # it was the middle indeed
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 0, out
    assert during == before


# --- the host's secrets, on the storage guest and in zborg --------------------------------------------


@dataclass(frozen=True)
class Held:
    """A backup that stands still in its middle, and what must not be found anywhere but on the host."""

    world: World
    process: subprocess.Popen[str]
    borg: int
    host: BackedUpHost
    needles: dict[str, bytes]
    file_name: str

    def samples(self) -> dict[str, bytes]:
        """Command lines and environments of zborg and all that it started."""
        found = {}
        for pid in descendants(self.process.pid):
            found[f"cmdline of {pid}"] = command_line(pid)
            found[f"environment of {pid}"] = environment(pid)
        return found


_SECRET = "zborg-secret-" + secrets.token_hex(16)


@pytest.fixture(scope="module")
def held(lab: Lab) -> Iterator[Held]:
    world = lab.world("secrecy")
    host = lab.host(world, "secret1")
    name = f"private-{secrets.token_hex(8)}"
    (host.data / name).write_bytes(os.urandom(NEW))
    (host.confdir / "passphrase").write_text(f"{_SECRET}\n")
    world.write_config()
    world.report("init")
    host.setup("secret1", [host.data], borg=throttled(host))
    process = world.start("backup", "-v")
    borg = until(lambda: creating(host), "borg creates on the host", 90)
    pair = until(lambda: newest_pair(world.state, "host-secret1"), "borg serve runs")
    until(lambda: passed(pair[1], "rchar") > NEW // 2, "half of it was sent")
    os.kill(borg, signal.SIGSTOP)
    try:
        needles = {"passphrase": _SECRET.encode(), "key file": key_body(host)}
        yield Held(world, process, borg, host, needles, name)
    finally:
        if process.poll() is None:  # the last test has not let it go on
            os.kill(borg, signal.SIGCONT)
            process.kill()
            process.communicate(timeout=120)


def key_body(host: BackedUpHost) -> bytes:
    """The first line of the key proper: unique, and as grep finds it."""
    (key,) = (host.state / "borg" / ".config" / "borg" / "keys").iterdir()
    return key.read_bytes().splitlines()[1]


@pytest.mark.lab
def test_no_secret_is_on_the_storage(held: Held) -> None:
    guest = held.world.vault
    # The needles arrive on stdin and live in a file outside what is searched, so that grep finds only leaks.
    guest.ssh(["sh", "-c", "umask 077; cat >/run/needles"], input=text_of(held.needles))
    serving = guest.ssh(["pgrep", "-u", "zborg-serve", "-f", "serve --append-only"]).stdout.split()
    assert len(serving) == 1  # the backup is going on
    # One name that certainly is there proves that the search sees a repository's files.
    assert "/tank/borg/secret1/config" in guest.sh("grep -rl append_only /tank/borg/secret1")
    places = "/tank /home /root /tmp /var /etc"
    assert guest.sh(f"grep -rlaF -f /run/needles {places} 2>/dev/null || :") == ""
    looks = "for one in /proc/[0-9]*; do cat $one/cmdline $one/environ 2>/dev/null; done"
    assert guest.sh(f"({looks}) | tr '\\0' '\\n' | grep -acF append-only || :").strip() != "0"
    assert guest.sh(f"({looks}) | tr '\\0' '\\n' | grep -aF -f /run/needles || :") == ""
    guest.sh("rm /run/needles")


def text_of(needles: dict[str, bytes]) -> str:
    return "".join(f"{needle.decode()}\n" for needle in needles.values())


@pytest.mark.lab
def test_no_secret_is_in_zborg_or_its_children(held: Held) -> None:
    samples = held.samples()
    assert any(b"zborg" in sample for sample in samples.values())
    assert sum(b"ssh" in sample for sample in samples.values()) >= 2
    files = [held.world.config, *held.world.state.rglob("*"), *temporary_files(held)]
    samples |= {str(path): path.read_bytes() for path in files if path.is_file()}
    for what, needle in held.needles.items():
        assert [where for where, sample in samples.items() if needle in sample] == [], what


def temporary_files(held: Held) -> list[Path]:
    """Files in /tmp that were written since the backup started, without the tests' own."""
    begun = (held.host.data / held.file_name).stat().st_mtime
    found = []
    for path in Path("/tmp").iterdir():
        if path.is_file() and path.stat().st_mtime >= begun:
            found.append(path)
    return found


@pytest.mark.lab
def test_file_names_of_the_host_are_not_told(held: Held) -> None:
    """report_paths is no by default. Last, because it lets the backup go on."""
    os.kill(held.borg, signal.SIGCONT)
    out, err = held.process.communicate(timeout=120)
    assert held.process.returncode == 0, out + err
    assert "secret1: started" in err
    told = {"stdout": out, "stderr": err}
    told |= {str(path): path.read_text(errors="replace") for path in held.world.state.rglob("*.json")}
    report = next(json.loads(text) for where, text in told.items() if ".backup." in where)
    numbers = report["outcomes"][0]["data"]
    assert (numbers["files"], numbers["original_bytes"] >= NEW) == (1, True)  # it was backed up
    assert [where for where, text in told.items() if held.file_name in text] == []
