"""What a guest is made of, and the hash that tells one recipe from another.

A recipe is data: per stage the packages and the script files that make it. Its key covers
exactly what the stage reads, and the keys of the stages before it, so that changing the boot
script makes a new disk (seconds) and not new kernel modules (minutes).
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field, replace
from pathlib import Path

FILES = Path(__file__).parent / "files"

HOST_PACKAGES = (
    "qemu-system-x86",
    "qemu-utils",
    "mmdebstrap",
    "zstd",
    "xz-utils",
    "cpio",
    "e2fsprogs",
    "openssh-client",
)

# What an image that is already built needs to run.
RUN_PACKAGES = ("qemu-system-x86", "qemu-utils", "openssh-client")

# Needed besides when not root: mmdebstrap and the disk stage then use a user namespace.
USER_PACKAGES = ("uidmap",)

_MODULE_PACKAGES = (
    *("linux-headers-cloud-amd64", "gcc", "make", "libc6-dev", "libelf-dev"),
    *("autoconf", "automake", "libtool", "gawk", "file"),
    *("kmod", "python3-minimal", "xz-utils", "ca-certificates"),
)
_ROOT_PACKAGES = (
    *("kmod", "udev", "iproute2", "busybox-static", "passwd", "util-linux", "procps"),
    *("zfsutils-linux", "openssh-server", "borgbackup", "python3", "rsync"),
)

# What only one release needs. Trixie has no py-libzfs, and no need of bubblewrap: its Landlock is new enough.
_SUITE_PACKAGES: dict[str, tuple[str, ...]] = {
    "trixie": (),
    "bookworm": ("python3-libzfs", "bubblewrap"),
}

# The releases the lab knows; the first is the default.
SUITES = tuple(_SUITE_PACKAGES)


@dataclass(frozen=True)
class Stage:
    """One cached step: its key is a hash of everything here."""

    name: str
    suite: str
    packages: tuple[str, ...] = ()
    files: dict[str, str] = field(default_factory=dict)
    after: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """16 hexadecimal digits, the same for the same content on every machine."""
        content = {
            "name": self.name,
            "suite": self.suite,
            "packages": sorted(self.packages),
            "files": self.files,
            "after": self.after,
        }
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]

    def changed(self, **values: object) -> Stage:
        """The same stage with some fields replaced."""
        return replace(self, **values)  # type: ignore[arg-type]  # its own fields


@dataclass(frozen=True)
class Recipe:
    """The three stages that make one guest image, in the order they are built."""

    modules: Stage
    root: Stage
    disk: Stage

    @property
    def stages(self) -> tuple[Stage, Stage, Stage]:
        """In build order."""
        return (self.modules, self.root, self.disk)


def recipe(suite: str = "trixie", files: Path = FILES) -> Recipe:
    """The recipe of one Debian release; ValueError for a release the lab does not know."""
    if suite not in _SUITE_PACKAGES:
        raise ValueError(f"unknown suite {suite!r}: choose from {', '.join(_SUITE_PACKAGES)}")
    modules = Stage("modules", suite, _MODULE_PACKAGES, _read(files, "modules.sh"))
    root = Stage("root", suite, _ROOT_PACKAGES + _SUITE_PACKAGES[suite])
    scripts = _read(files, "tree.sh", "early.sh", "boot.sh", "inittab", "sshd_config")
    disk = Stage("disk", suite, (), scripts, (modules.key, root.key))
    return Recipe(modules, root, disk)


def _read(files: Path, *names: str) -> dict[str, str]:
    return {name: (files / name).read_text() for name in names}
