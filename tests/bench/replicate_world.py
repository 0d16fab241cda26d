"""Two guests of the lab for `scripts/bench replicate`: a vault that sends, an off-site that counts.

Every tool runs inside the vault, with the pool it reads, and pushes to the off-site by SSH with the same key.
There the key has a forced command, which writes down each command before it is carried out.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import tomli_w

from tests.bench.usage import task
from tests.harness.lab.inside import Inside
from tests.harness.worlds.world import authorize_root, make_pool
from tests.lab import Guest, qemu, tools, up_all
from tests.lab.cache import cache_dir
from zborg.hosts.ssh.algorithms import CIPHERS

SOURCE, TARGET = "tank", "vault"
FROM_PYPI = ("zfs-autobackup", "bzfs")
_GATEWAY = "10.0.2.2"  # the machine both guests run on, as each of them sees it
_CONFIG = "/etc/zborg-bench.toml"
_OTHERS = "/opt/bench"
_LOG = "/run/bench-commands"

# Builtins only, apart from the command itself: looking must not cost what is looked at.
_COUNT = f"""#!/bin/sh
read -r began rest </proc/uptime
sh -c "$SSH_ORIGINAL_COMMAND"
status=$?
read -r ended rest </proc/uptime
echo "$began $ended $SSH_CONNECTION $SSH_ORIGINAL_COMMAND" >>{_LOG}
exit $status
"""

# The second name of the off-site is for who keeps no connection of its own; it ends with each run.
_SSH_CONFIG = """
Host offsite offsite-shared
    HostName {gateway}
    Port {port}
    User root
    IdentityFile /root/.ssh/id_bench
    IdentitiesOnly yes
    UserKnownHostsFile /root/.ssh/known_bench
    HostKeyAlias offsite
Host offsite-shared
    ControlMaster auto
    ControlPath /run/bench-ssh-%C
    ControlPersist 60
"""

# /proc/uptime as the clock: it needs no process.
_TIMED = """
: >/run/bench-said
read -r began rest </proc/uptime
{command} >/run/bench-said 2>&1 </dev/null || {{ tail -n 20 /run/bench-said >&2; exit 1; }}
read -r ended rest </proc/uptime
echo "$began $ended"
pkill -x ssh || :
"""


@dataclass(frozen=True, slots=True)
class Cost:
    """What one run took. Processor seconds are those of the whole guest, as its QEMU was charged for them."""

    wall: float
    vault: float
    offsite: float
    commands: int
    connections: int
    receiving: float  # seconds from the first receive's beginning to the last one's end

    @property
    def cpu(self) -> float:
        return self.vault + self.offsite


class Benchmarked:
    """Both guests with pools, tools and keys; `versions` says what is compared."""

    def __init__(self, names: Sequence[str]) -> None:
        self.vault, self.offsite = up_all(names)
        for guest, pool in ((self.vault, SOURCE), (self.offsite, TARGET)):
            guest.fresh()
            make_pool(guest, pool)
        with tempfile.TemporaryDirectory() as directory:
            Inside(self.vault).install(Path(directory))
        _unpack(_syncoid(), self.vault, "/", "--skip-old-files")
        for name in FROM_PYPI:
            with tempfile.TemporaryDirectory() as directory:
                self._from_pypi(name, Path(directory))
        self._keys()
        self.versions = self._versions()

    def _from_pypi(self, name: str, directory: Path) -> None:
        """Each in a folder of its own: it is no dependency of ours, and sees none."""
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        folder, packed = directory / name, directory / "packed.tar"
        subprocess.run([*pip, "--no-compile", "--target", str(folder), name], check=True, timeout=300)
        subprocess.run(["tar", "-C", str(folder), "-cf", str(packed), "."], check=True, timeout=60)
        _unpack(packed, self.vault, f"{_OTHERS}/{name}")

    def _keys(self) -> None:
        self.vault.sh("rm -f /root/.ssh/id_bench*; mkdir -p -m 700 /root/.ssh")
        self.vault.sh("ssh-keygen -q -t ed25519 -N '' -f /root/.ssh/id_bench")
        public = self.vault.sh("cat /root/.ssh/id_bench.pub").strip()
        self.vault.write("/root/.ssh/known_bench", f"offsite {self.offsite.host_key}\n")
        config = _SSH_CONFIG.format(gateway=_GATEWAY, port=self.offsite.port)
        self.vault.write("/root/.ssh/config", config)
        self.offsite.write("/usr/local/bin/bench-count", _COUNT, mode=0o755)
        authorize_root(self.offsite, f'restrict,command="/usr/local/bin/bench-count" {public}')

    def _versions(self) -> Mapping[str, str]:
        asked = {
            "OpenZFS": "zfs version | head -1",
            "OpenSSH": "ssh -V 2>&1 | cut -d' ' -f1",
            "Python": "python3 --version",
            "syncoid": "syncoid --version 2>&1 | head -1",
            "zfs-autobackup": f"ls {_OTHERS}/zfs-autobackup | grep zfs.*dist-info",
            "bzfs": f"ls {_OTHERS}/bzfs | grep dist-info",
        }
        said = {name: re.search(r"\d+(\.\d+)+\w*", self.vault.sh(command)) for name, command in asked.items()}
        return {name: found.group() if found else "?" for name, found in said.items()}

    # --- the ways --------------------------------------------------------------------------------

    def configure(self, dataset: str, copy: str) -> None:
        """A zborg.toml for one root."""
        target = {
            "ssh": f"ssh://root@{_GATEWAY}:{self.offsite.port}",
            "host_key": self.offsite.host_key,
            "dataset": copy,
        }
        table = {
            "name": "bench",
            "state_dir": "/var/lib/zborg-bench",
            "identity": "/root/.ssh/id_bench",
            "storage": {"dataset": dataset},
            "targets": {"offsite": target},
        }
        self.vault.write(_CONFIG, tomli_w.dumps(table))
        self.vault.sh("install -d -m 0700 /var/lib/zborg-bench/locks /var/lib/zborg-bench/runs")

    @property
    def ways(self) -> dict[str, str]:
        """Command lines by tool. Each as its manual has it for a push of what exists: nothing is
        snapshotted, pruned or compressed on the way."""
        python = "PYTHONPATH={0}/{1} python3 -m {2}"
        autobackup = python.format(_OTHERS, "zfs-autobackup", "zfs_autobackup.ZfsAutobackup")
        bzfs = python.format(_OTHERS, "bzfs", "bzfs_main.bzfs")
        return {
            "zborg": f"zborg replicate --config {_CONFIG}",
            "syncoid": f"syncoid --recursive --skip-parent --no-sync-snap --compress=none "
            f"{root('syncoid')} root@offsite:{copy('syncoid')}",
            "zfs-autobackup": f"{autobackup} --verbose --utc --no-snapshot --no-thinning --strip-path 2 "
            f"--snapshot-format zborg_%Y-%m-%dT%H%M%SZ --ssh-target offsite-shared bench "
            f"{copy('zfs-autobackup')}",
            "bzfs": f"{bzfs} --recursive --skip-parent {root('bzfs')} root@offsite:{copy('bzfs')}",
        }

    def raw(self, snapshot: str, target: str, *, same_cipher: bool) -> str:
        cipher = f"-c {CIPHERS} " if same_cipher else ""
        return f"zfs send -L -e -c {snapshot} | ssh {cipher}offsite zfs receive -s -u {target}"

    def timed(self, command: str) -> Cost:
        """Run a command line in the vault to its end. LabError with its last words when it fails."""
        self.offsite.sh(f": >{_LOG}; sync")
        self.vault.sh("sync")
        before = [self._processor(guest) for guest in (self.vault, self.offsite)]
        began, ended = self._run(command)
        after = [self._processor(guest) for guest in (self.vault, self.offsite)]
        seen = [line.split(" ", 6) for line in self.offsite.sh(f"cat {_LOG}").splitlines()]
        takes = [(float(one[0]), float(one[1])) for one in seen if "receive" in one[6] or "recv" in one[6]]
        receiving = max(end for _, end in takes) - min(begin for begin, _ in takes) if takes else 0.0
        used = [end - begin for begin, end in zip(before, after, strict=True)]
        return Cost(ended - began, used[0], used[1], len(seen), len({one[3] for one in seen}), receiving)

    def _run(self, command: str) -> tuple[float, float]:
        began, ended = self.vault.sh(_TIMED.format(command=f"{{ {command}; }}"), timeout=3600).split()
        return float(began), float(ended)

    def _processor(self, guest: Guest) -> float:
        pid = qemu.running_pid(guest.run)
        assert pid is not None, f"{guest.name} has ended"
        return task(pid).own


def root(tool: str) -> str:
    """A tool's own datasets: what one leaves there must not trouble another."""
    return f"{SOURCE}/bench-{tool}"


def copy(tool: str) -> str:
    return f"{TARGET}/bench-{tool}"


def make_roots(world: Benchmarked, tools: Sequence[str], datasets: int) -> None:
    """The same datasets for every tool."""
    for tool in tools:
        names = " ".join(f"{root(tool)}/d{number:03}" for number in range(datasets))
        script = f"zfs create {root(tool)}; for one in {names}; do zfs create $one; done"
        world.vault.sh(script, timeout=600)


def fill(world: Benchmarked, tools: Sequence[str]) -> None:
    """The first snapshot of each dataset, by one stream for each tool."""
    for tool in tools:
        raw = world.vault.sh(f"zfs list -H -t snapshot -o name {root(tool)}/d000 | tail -1").partition("@")[2]
        send = f"zfs snapshot {root(tool)}@{raw.strip()}; zfs send -R -L -e -c {root(tool)}@{raw.strip()}"
        world.vault.sh(f"{send} | ssh offsite zfs receive -u {copy(tool)}", timeout=900)
        world.vault.sh(f"zfs destroy {root(tool)}@{raw.strip()}")
        world.offsite.sh(
            f"zfs destroy {copy(tool)}@{raw.strip()}; zfs set mountpoint=none readonly=on {copy(tool)}"
        )
    world.vault.sh(f"zfs set autobackup:bench=child {root('zfs-autobackup')}")


def news(world: Benchmarked, tools: Sequence[str]) -> str:
    """A few KiB more in every dataset, and a snapshot as zborg takes it, of all in one go. Its name."""
    time.sleep(1.1)  # names are to the second
    name = world.vault.sh("date -u +zborg_%Y-%m-%dT%H%M%SZ").strip()
    run = "20260212T144933Z-4f3a"
    for tool in tools:
        world.vault.sh(
            f"for one in /{root(tool)}/*; do head -c 4096 /dev/urandom >>$one/news; done; "
            f"zfs snapshot -r -o zborg:run={run} -o zborg:state=ok {root(tool)}@{name}; "
            f"zfs destroy {root(tool)}@{name}",
            timeout=600,
        )
    return name


def arrived(world: Benchmarked, tool: str) -> bool:
    """Whether all snapshots of all datasets are there, by guid."""
    here, there = (
        {
            (name.removeprefix(place), guid)
            for line in guest.sh(f"zfs list -Hp -t snapshot -r -o name,guid {place}").splitlines()
            for name, guid in [line.split("\t")]
        }
        for guest, place in ((world.vault, root(tool)), (world.offsite, copy(tool)))
    )
    return here <= there


def _syncoid() -> Path:
    """Debian's sanoid of the guests' release with what it depends on, unpacked; kept for the next time."""
    place = cache_dir() / "bench-syncoid-trixie.tar"
    if not place.exists():
        part = place.with_suffix(".part.tar")
        wanted = "--include=sanoid,perl,mbuffer,pv,lzop,procps"
        tools.run(["mmdebstrap", "--quiet", "--variant=extract", wanted, "trixie", str(part)], timeout=600)
        part.rename(place)
    return place


def _unpack(archive: Path, guest: Guest, place: str, *options: str) -> None:
    argv = ["tar", "-C", place, "-x", "--no-same-owner", "--warning=no-timestamp", *options]
    guest.sh(f"mkdir -p {place}")
    with archive.open("rb") as packed:
        subprocess.run(guest.remote().argv(argv), stdin=packed, check=True, timeout=600)
