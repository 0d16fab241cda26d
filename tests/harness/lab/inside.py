"""zborg inside a guest: the README's main way, with the pool on zborg's own machine."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from importlib.metadata import requires
from pathlib import Path
from typing import Any

import tomli_w

import zborg
from tests.harness.worlds.world import authorize_root
from tests.lab import Guest, tools
from tests.lab.cache import cache_dir
from tests.lab.guest import HANG
from zborg.hosts import agent

_PLACE = "/opt/zborg"
_TOOLS = ("pytest", "pytest-timeout")
_SHIM = f'#!/bin/sh\nPYTHONPATH={_PLACE} exec python3 -m zborg.__main__ "$@"\n'
_CHECKOUT = Path(zborg.__file__).parents[1]
# README, "Setting up": the server, and a host that is the same machine.
_PREPARE = """
rm -rf /etc/zborg /var/lib/zborg /run/zborg
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

    def install(self, directory: Path, *, tests: bool = False) -> None:
        """zborg and its dependencies for the guest's Python, as it reaches no network; `tests`: those too."""
        version = self.guest.sh("python3 -c 'import sys; print(*sys.version_info[:2], sep=\".\")'").strip()
        packages = _packages(version)
        tree = directory / "tree"
        shutil.copytree(_CHECKOUT / "zborg", tree / "zborg", ignore=_no_caches)
        if tests:
            shutil.copytree(_CHECKOUT / "tests", tree / "tests", ignore=_no_caches)
            shutil.copy(_CHECKOUT / "pyproject.toml", tree)
        self._unpack(packages, tree)
        self.guest.write("/usr/local/bin/zborg", _SHIM, mode=0o755)
        self.guest.write("/usr/local/libexec/zborg-agent", agent.script(), mode=0o755)

    def prepare(self, dataset: str, copy: str = "") -> None:
        """The accounts, the agent, and a zborg.toml: the only host is the guest, its target is `copy`."""
        self.guest.sh(_PREPARE)
        endpoint = {"ssh": "ssh://root@127.0.0.1:22", "host_key": self.guest.host_key}
        target = endpoint | {"dataset": copy, "identity": "id_target"}
        table: dict[str, Any] = {
            "name": "self",
            "storage": {"dataset": dataset},
            "snapshots": {"keep": {"last": 5}},
            "hosts": {"self": endpoint},
            "targets": {"away": target} if copy else {},
        }
        self.guest.write("/etc/zborg/zborg.toml", tomli_w.dumps(table))

    def admit(self) -> None:
        """The server's key gets the agent and nothing else."""
        public = self.guest.sh("cat /etc/zborg/id_ed25519.pub").strip()
        authorize_root(self.guest, f'restrict,command="/usr/local/libexec/zborg-agent" {public}')

    def admit_sender(self) -> None:
        """A key that replication may use, on this side and on that of the target."""
        key = "/etc/zborg/id_target"
        self.guest.ssh(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key])
        authorize_root(self.guest, f"restrict {self.guest.sh(f'cat {key}.pub').strip()}")

    def report(self, *words: str, expect: int = 0, timeout: float = HANG) -> dict[str, Any]:
        done = self.guest.ssh(["zborg", *words, "--json"], check=False, timeout=timeout)
        assert done.returncode == expect, f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        table: dict[str, Any] = json.loads(done.stdout)
        return table

    def python(self, code: str) -> str:
        """What this code prints in the guest."""
        return self.guest.ssh(["env", "-C", _PLACE, "python3", "-c", code]).stdout

    def pytest(self, *words: str, timeout: float) -> str:
        """The outcome of zborg's own tests in the guest: all that pytest says."""
        argv = ["env", "-C", _PLACE, "ZBORG_INSIDE=1", "python3", "-m", "pytest", "-p", "no:cacheprovider"]
        done = self.guest.ssh([*argv, *words], check=False, timeout=timeout)
        return f"{done.stdout}\n{done.stderr}"

    def _unpack(self, *trees: Path) -> None:
        self.guest.sh(f"rm -rf {_PLACE}; mkdir -p {_PLACE}")
        words = [word for tree in trees for word in ("-C", str(tree), ".")]
        with subprocess.Popen(["tar", "-c", *words], stdout=subprocess.PIPE) as packing:
            argv = self.guest.remote().argv(
                ["tar", "-C", _PLACE, "-x", "--no-same-owner", "--warning=no-timestamp"]
            )
            subprocess.run(argv, stdin=packing.stdout, check=True, timeout=120)


def _packages(version: str) -> Path:
    """A folder with zborg's dependencies and tools of its tests; made again when they or the lock change."""
    listed = [line.partition(";")[::2] for line in requires("zborg") or ()]
    wanted = [
        name.strip() for name, extra in listed if not extra or name.partition("==")[0].strip() in _TOOLS
    ]
    recipe = "\n".join((version, *wanted, (_CHECKOUT / "requirements.lock").read_text()))
    made = cache_dir() / f"packages-{version}-{hashlib.sha256(recipe.encode()).hexdigest()[:16]}"
    with tools.locked(cache_dir() / "packages.lock", timeout=900):
        if not made.is_dir():
            part = Path(tempfile.mkdtemp(prefix=f"{made.name}.part-", dir=made.parent))
            part.chmod(0o755)
            _download(part, version, wanted)
            part.rename(made)
    return made


def _download(tree: Path, version: str, wanted: Sequence[str]) -> None:
    """As wheels of any Linux on this processor."""
    platforms = [f"manylinux_2_{minor}_x86_64" for minor in range(39, 16, -1)] + ["manylinux2014_x86_64"]
    argv = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-compile"]
    argv += ["--target", str(tree), "--python-version", version, "--only-binary=:all:"]
    argv += [word for platform in platforms for word in ("--platform", platform)]
    subprocess.run([*argv, *wanted], check=True, timeout=600)


def _no_caches(_: str, names: list[str]) -> list[str]:
    return [name for name in names if name == "__pycache__"]
