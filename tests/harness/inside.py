"""zborg inside a guest: the README's main way, with the pool on zborg's own machine."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from importlib.metadata import requires
from pathlib import Path
from typing import Any

import tomli_w

import zborg
from tests.harness.world import authorize_root
from tests.lab import Guest

_PLACE = "/opt/zborg"
_SHIM = f'#!/bin/sh\nPYTHONPATH={_PLACE} exec python3 -m zborg.cli.start "$@"\n'
_HOSTS = Path(zborg.__file__).parent / "hosts"
# README, "Setting up": the server, and a host that is the same machine.
_PREPARE = """
rm -rf /etc/zborg /var/lib/zborg /run/zborg
id zborg-serve >/dev/null 2>&1 || useradd --system zborg-serve
install -d -m 0700 /etc/zborg
cat >/etc/zborg/agent.conf <<EOF
name = self
path = /srv/data
EOF
chmod 0600 /etc/zborg/agent.conf
/usr/local/libexec/zborg-agent --setup self
"""


class Inside:
    """One guest that is backup server and backed-up host at once."""

    def __init__(self, guest: Guest) -> None:
        self.guest = guest

    def install(self, directory: Path) -> None:
        """zborg with its dependencies for the guest's Python; the guest itself reaches no network."""
        version = self.guest.sh("python3 -c 'import sys; print(*sys.version_info[:2], sep=\".\")'").strip()
        tree = directory / "tree"
        _packages(tree, version)
        shutil.copytree(Path(zborg.__file__).parent, tree / "zborg", ignore=_no_caches)
        self._unpack(tree)
        self.guest.write("/usr/local/bin/zborg", _SHIM, mode=0o755)
        self.guest.write("/usr/local/libexec/zborg-agent", (_HOSTS / "agent.sh").read_text(), mode=0o755)

    def prepare(self, dataset: str) -> None:
        """The accounts, the agent, and a zborg.toml whose only host is the guest."""
        self.guest.sh(_PREPARE)
        endpoint = {"ssh": "ssh://root@127.0.0.1:22", "host_key": self.guest.host_key}
        table: dict[str, Any] = {
            "name": "self",
            "storage": {"dataset": dataset},
            "snapshots": {"keep": {"last": 5}},
            "hosts": {"self": endpoint},
        }
        self.guest.write("/etc/zborg/zborg.toml", tomli_w.dumps(table))

    def admit(self) -> None:
        """The server's key gets the agent and nothing else."""
        public = self.guest.sh("cat /etc/zborg/id_ed25519.pub").strip()
        authorize_root(self.guest, f'restrict,command="/usr/local/libexec/zborg-agent" {public}')

    def report(self, *words: str, expect: int = 0, timeout: float = 180) -> dict[str, Any]:
        done = self.guest.ssh(["zborg", *words, "--json"], check=False, timeout=timeout)
        assert done.returncode == expect, f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        table: dict[str, Any] = json.loads(done.stdout)
        return table

    def _unpack(self, tree: Path) -> None:
        self.guest.sh(f"rm -rf {_PLACE}; mkdir -p {_PLACE}")
        with subprocess.Popen(["tar", "-C", str(tree), "-c", "."], stdout=subprocess.PIPE) as packing:
            argv = self.guest.remote().argv(
                ["tar", "-C", _PLACE, "-x", "--no-same-owner", "--warning=no-timestamp"]
            )
            subprocess.run(argv, stdin=packing.stdout, check=True, timeout=120)


def _packages(tree: Path, version: str) -> None:
    """zborg's dependencies, as wheels of any Linux on this processor."""
    wanted = [line.partition(";")[0].strip() for line in requires("zborg") or () if "extra ==" not in line]
    platforms = [f"manylinux_2_{minor}_x86_64" for minor in range(39, 16, -1)] + ["manylinux2014_x86_64"]
    argv = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-compile"]
    argv += ["--target", str(tree), "--python-version", version, "--only-binary=:all:"]
    argv += [word for platform in platforms for word in ("--platform", platform)]
    subprocess.run([*argv, *wanted], check=True, timeout=600)


def _no_caches(_: str, names: list[str]) -> list[str]:
    return [name for name in names if name == "__pycache__"]
