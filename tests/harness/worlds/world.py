"""A whole zborg world: a storage guest, perhaps an off-site one, hosts on loopback, one zborg.toml."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tomli_w

from tests.harness.machines.host import BackedUpHost
from tests.harness.machines.keys import KeyPair
from tests.lab import CommandFailed, Guest
from tests.lab.guest import HANG

ZBORG = Path(sys.executable).parent / "zborg"
_USER = "zborg-serve"

# The storage as its administrator prepares it by hand: see README.md, "Setting up".
_PREPARE_STORAGE = f"""
id {_USER} >/dev/null 2>&1 || useradd --system --home-dir /home/{_USER} --shell /bin/sh {_USER}
install -d -m 0755 /home/{_USER} /home/{_USER}/.ssh
"""


# zpool partitions the disk. udevd watches it, and whenever a writer closes it reads the partitions again,
# which takes them away just when zpool wants to open one: so tell it not to watch this disk.
_MAKE_POOL = """
zpool list {pool} >/dev/null 2>&1 && exit
mkdir -p /etc/udev/rules.d
echo 'ACTION!="remove", KERNEL=="vdb*", OPTIONS="nowatch"' >/etc/udev/rules.d/99-nowatch.rules
udevadm control --reload
udevadm trigger --action=change --settle /dev/vdb
for try in 1 2 3 4 5 6; do
    udevadm settle --timeout=20
    zpool create -f {pool} /dev/vdb && exit
    sleep 1
done
exit 1
"""


def prepare_storage(guest: Guest, pool: str, key: str, serve_key: str) -> None:
    """A pool, the unprivileged user of `borg serve`, and zborg's keys: one for root, one for that user."""
    make_pool(guest, pool)
    guest.sh(_PREPARE_STORAGE)
    forced = f"/usr/local/libexec/zborg-serve /{pool}/borg /{pool}/zborg-scratch"
    line = f'restrict,command="{forced}" {serve_key}\n' if serve_key else ""
    guest.write(f"/home/{_USER}/.ssh/authorized_keys", line, mode=0o644)
    authorize_root(guest, f"restrict {key}" if key else "")


def serve_key_beside(key: Path) -> Path:
    return key.with_name("serve_ed25519")


def prepare_target(guest: Guest, pool: str, key: str) -> None:
    """A pool and a parent below which nothing can mount over a live system."""
    make_pool(guest, pool)
    make_parent(guest, f"{pool}/zborg")
    authorize_root(guest, key)


def make_parent(guest: Guest, dataset: str) -> None:
    """What README.md has an administrator make on a target, unless it is there."""
    guest.sh(
        f"zfs list {dataset} >/dev/null 2>&1 || zfs create -o mountpoint=none -o canmount=off "
        f"-o readonly=on -o volmode=none {dataset}"
    )


def make_pool(guest: Guest, pool: str) -> None:
    try:
        guest.sh(_MAKE_POOL.format(pool=pool))
    except CommandFailed:  # whoever holds the disk, a power cycle ends it
        guest.kill()
        guest.start()
        guest.sh(_MAKE_POOL.format(pool=pool))


def authorize_root(guest: Guest, key: str) -> None:
    """In sshd's second file: the lab writes the first one anew at every boot."""
    if key:
        keys = "/root/.ssh/authorized_keys2"
        guest.sh(f"touch {keys}; grep -qF '{key}' {keys} || echo '{key}' >>{keys}; sync {keys}")


class World:
    """A directory with a zborg.toml and everything it names. `key` is the server's key pair.

    Several worlds may share two guests when each has a `dataset` and a `copy` (its parent on the
    off-site guest) of its own.
    """

    def __init__(
        self,
        directory: Path,
        key: KeyPair,
        vault: Guest,
        offsite: Guest | None = None,
        *,
        dataset: str = "tank/borg",
        copy: str = "vault/zborg",
    ) -> None:
        self.directory, self.key, self.vault, self.offsite = directory, key, vault, offsite
        self.dataset, self.copy = dataset, copy
        self.state = directory / "state"
        self.config = directory / "zborg.toml"
        self.hosts: dict[str, BackedUpHost] = {}
        self.settings: dict[str, Any] = {}

    def add(self, host: BackedUpHost) -> None:
        self.hosts[host.name] = host

    def write_config(self, **tables: Any) -> None:
        """Write zborg.toml; `tables` replace or add top-level tables."""
        self.settings = {
            "name": "vault",
            "state_dir": "state",
            "identity": str(self.key.private),
            "storage": self._storage(),
            "backup": {"timeout": "10m", "retries": 0},
            "snapshots": {"keep": {"last": 3, "daily": 14, "weekly": 8}},
            "hosts": {name: self._host(host) for name, host in self.hosts.items()},
        }
        if self.offsite:
            self.settings["targets"] = {"offsite": self._endpoint(self.offsite) | {"dataset": self.copy}}
        self.settings |= tables
        self._dump(self.config, self.settings)

    def variant(self, name: str, **tables: Any) -> str:
        """Another file beside zborg.toml with these top-level tables; for --config."""
        path = self.directory / f"{name}.toml"
        self._dump(path, self.settings | tables)
        return str(path)

    def _dump(self, path: Path, settings: dict[str, Any]) -> None:
        path.write_text(tomli_w.dumps(settings))
        path.chmod(0o600)

    def _storage(self) -> dict[str, str]:
        serve_identity = str(serve_key_beside(self.key.private))
        return {"dataset": self.dataset, "serve_identity": serve_identity} | self._endpoint(self.vault)

    def _endpoint(self, guest: Guest) -> dict[str, str]:
        return {
            "ssh": f"ssh://root@{guest.address}:{guest.port}",
            "host_key": guest.host_key,
            "identity": str(self.key.private),
        }

    def _host(self, host: BackedUpHost) -> dict[str, str]:
        return {
            "ssh": f"ssh://{host.sshd.user}@127.0.0.1:{host.sshd.port}",
            "host_key": host.sshd.host_key,
            "identity": str(self.key.private),
        }

    def argv(self, *words: str) -> list[str]:
        return [str(ZBORG), *words]

    def environment(self) -> dict[str, str]:
        return {**os.environ, "ZBORG_CONFIG": str(self.config), "NO_COLOR": "1"}

    def zborg(self, *words: str, timeout: float = HANG) -> subprocess.CompletedProcess[str]:
        """Run one command as cron would."""
        return subprocess.run(
            self.argv(*words),
            env=self.environment(),
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=timeout,
            check=False,
        )

    def start(self, *words: str) -> subprocess.Popen[str]:
        """Start one command and return; the caller ends it."""
        return subprocess.Popen(
            self.argv(*words),
            env=self.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            stdin=subprocess.DEVNULL,
        )

    def forget(self, *names: str) -> None:
        """Datasets made by hand are no hosts': until somebody says so, their snapshots are not rotated."""
        for name in names:
            self.report("host", "forget", name)

    def report(self, *words: str, expect: int | None = 0, timeout: float = HANG) -> dict[str, Any]:
        """Run with --json and return the report; `expect` is the exit code that is asserted."""
        done = self.zborg(*words, "--json", timeout=timeout)
        assert expect is None or done.returncode == expect, (
            f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        )
        table: dict[str, Any] = json.loads(done.stdout)
        assert table["zborg"] == 1
        return table


def guids(guest: Guest, root: str) -> dict[str, str]:
    """Every snapshot below `root`, as NAME -> guid, NAME without the root."""
    listed = guest.ssh(["zfs", "list", "-Hp", "-r", "-t", "snapshot", "-o", "name,guid", root]).stdout
    rows = (line.split("\t") for line in listed.splitlines())
    return {name.removeprefix(root): guid for name, guid in rows}


def outcomes(report: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """A report's outcomes by subject."""
    return {outcome["subject"]: outcome for outcome in report["outcomes"]}


def only(report: dict[str, Any]) -> dict[str, Any]:
    """The one outcome of a report."""
    (outcome,) = report["outcomes"]
    found: dict[str, Any] = outcome
    return found


def wait_all(children: Sequence[subprocess.Popen[str]], timeout: float) -> list[int]:
    return [child.wait(timeout) for child in children]
