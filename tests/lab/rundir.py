"""A guest's folder: its disks, host key, port and log. Nothing here starts a process that stays."""

from __future__ import annotations

import hashlib
import io
import os
import re
import socket
import stat
import tarfile
from dataclasses import dataclass
from pathlib import Path

from tests.lab import tools
from tests.lab.build import Image
from tests.lab.cache import cache_dir
from tests.lab.errors import LabError

DATA_DISK_SIZE = "8G"

# Below the range the kernel gives to outgoing connections, so a guest that is killed and
# started again finds its port still free.
PORTS = range(22200, 23200)

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")


def check_name(name: str) -> str:
    """`name` if it can name a guest, its folder and its sockets; else LabError."""
    if not _NAME.fullmatch(name):
        raise LabError(f"{name!r}: a guest's name is up to 40 of a-z, 0-9 and -")
    return name


@dataclass(frozen=True)
class RunDir:
    """Paths of one guest. The folder must be absolute: QEMU leaves the working directory."""

    folder: Path

    @property
    def name(self) -> str:
        """The guest's name."""
        return self.folder.name

    @property
    def overlay(self) -> Path:
        """What the guest wrote to its root disk."""
        return self.folder / "root.qcow2"

    @property
    def data_disk(self) -> Path:
        """The blank disk the callers make pools on; /dev/vdb in the guest."""
        return self.folder / "d1.qcow2"

    @property
    def identity(self) -> Path:
        """A tar as a disk: host key, root's authorized key, host name, hostid."""
        return self.folder / "identity.tar"

    @property
    def kernel(self) -> Path:
        """Link to the kernel of the image the overlay was made on."""
        return self.folder / "kernel"

    @property
    def initrd(self) -> Path:
        """Link to the initrd of the image the overlay was made on."""
        return self.folder / "initrd"

    @property
    def console(self) -> Path:
        """What the guest printed since its last start."""
        return self.folder / "console.log"

    @property
    def pid_file(self) -> Path:
        """QEMU's process id."""
        return self.folder / "pid"

    @property
    def port_file(self) -> Path:
        """The loopback port that leads to the guest's sshd."""
        return self.folder / "port"

    @property
    def host_key(self) -> Path:
        """The private host key, made on the host so that it is known before the first boot."""
        return self.folder / "host_key"

    @property
    def known_hosts(self) -> Path:
        """For ssh: the guest's host key under its address and port."""
        return self.folder / "known_hosts"

    @property
    def lock(self) -> Path:
        """Held while the guest is started, killed or removed."""
        return self.folder.parent / f".{self.name}.lock"

    def socket(self, purpose: str) -> Path:
        """A short path for a socket (their limit is 108 bytes), its own for every run folder."""
        mark = hashlib.sha256(str(self.folder).encode()).hexdigest()[:6]
        return socket_dir() / f"{self.name}-{mark}.{purpose}"

    def port(self) -> int:
        """The guest's port; LabError when it was never up."""
        try:
            return int(self.port_file.read_text())
        except (OSError, ValueError) as error:
            raise LabError(f"{self.name}: no such guest, start it with: up {self.name}") from error

    def public_host_key(self) -> str:
        """The host key as known_hosts and authorized_keys write it, without the comment."""
        try:
            words = self.host_key.with_suffix(".pub").read_text().split()
        except OSError as error:
            raise LabError(f"{self.name}: no such guest, start it with: up {self.name}") from error
        return " ".join(words[:2])

    def prepare(self, image: Image) -> None:
        """Make whatever is missing for a first start; existing disks are left as they are."""
        self.folder.mkdir(parents=True, exist_ok=True)
        make_key(self.host_key, f"zborg-lab {self.name}")
        if self.overlay.exists():
            return
        self._claim_port()
        self.known_hosts.write_text(f"[127.0.0.1]:{self.port()} {self.public_host_key()}\n")
        self._write_identity()
        for link, target in ((self.kernel, image.kernel), (self.initrd, image.initrd)):
            link.unlink(missing_ok=True)
            link.symlink_to(target.resolve())
        self._create_disks(image)

    def _create_disks(self, image: Image) -> None:
        create = ["qemu-img", "create", "-q", "-f", "qcow2"]
        tools.run([*create, str(self.data_disk), DATA_DISK_SIZE])
        # The overlay last, under its name when complete: it marks the guest as made.
        part = self.overlay.with_suffix(".part")
        tools.run([*create, "-b", str(image.root.resolve()), "-F", "raw", str(part)])
        part.rename(self.overlay)

    def delete_disks(self) -> None:
        """Forget all the guest wrote; its keys, port and last log stay."""
        for path in (self.overlay, self.data_disk, self.identity, self.pid_file):
            path.unlink(missing_ok=True)

    def _claim_port(self) -> None:
        with tools.locked(self.folder.parent / ".ports.lock", timeout=30):
            if self.port_file.exists() and _is_free(self.port()):
                return
            others = {read_int(path) for path in self.folder.parent.glob("*/port")}
            for port in PORTS:
                if port not in others and _is_free(port):
                    self.port_file.write_text(f"{port}\n")
                    return
        raise LabError(f"no free port from {PORTS.start} to {PORTS.stop - 1}")

    def _write_identity(self) -> None:
        public = lab_key().with_suffix(".pub").read_text()
        # ZFS writes the hostid into a pool: the same at every start, another for each guest.
        hostid = hashlib.sha256(self.name.encode()).digest()[:3] + b"\x01"
        content = {
            "etc/hostname": (f"{self.name}\n".encode(), 0o644),
            "etc/hosts": (f"127.0.0.1 localhost\n127.0.1.1 {self.name}\n".encode(), 0o644),
            "etc/hostid": (hostid, 0o644),
            "etc/ssh/ssh_host_ed25519_key": (self.host_key.read_bytes(), 0o600),
            "root/.ssh/authorized_keys": (public.encode(), 0o600),
        }
        with tarfile.open(self.identity, "w", format=tarfile.USTAR_FORMAT) as tar:
            for name, (data, mode) in content.items():
                member = tarfile.TarInfo(name)
                member.size, member.mode = len(data), mode
                tar.addfile(member, io.BytesIO(data))
        self.identity.chmod(0o600)


def socket_dir() -> Path:
    """A short folder that is this user's alone."""
    folder = Path("/tmp") / f"zborg-lab-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    # Anyone may make names in /tmp: a folder of another user would give them our connection.
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise LabError(f"{folder} is not a private folder of this user: remove it")
    return folder


def lab_key() -> Path:
    """The key that root of every guest accepts, made at first use."""
    key = cache_dir() / "id_ed25519"
    with tools.locked(cache_dir() / ".key.lock", timeout=30):
        make_key(key, "zborg-lab")
    return key


def make_key(path: Path, comment: str) -> None:
    """Make an ed25519 key pair at `path` and `path`.pub, unless there is one."""
    public = path.with_suffix(".pub")
    if path.exists() and public.exists():
        return
    path.unlink(missing_ok=True)
    tools.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", str(path)])


def read_int(path: Path) -> int | None:
    """The number a small file holds, or None."""
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
