"""One guest: booted, cut off, booted again, removed."""

from __future__ import annotations

import subprocess
import warnings
from collections.abc import Sequence
from pathlib import Path

from tests.lab import qemu, tools
from tests.lab.build import image
from tests.lab.cache import run_dir
from tests.lab.errors import CommandFailed, GuestDied, LabError
from tests.lab.remote import Remote
from tests.lab.rundir import RunDir, check_name, lab_key

# Ready takes about 10 s; a machine with other work may need several times that.
HANG = 900.0  # seconds; it only ends a hang: an emulated guest on a busy machine takes minutes
BOOT_TIMEOUT = 150.0
BOOT_TRIES = 3
# How long a running guest may take to answer before it counts as hung.
ANSWER_TIMEOUT = 25.0
_NO_CONNECTION = 255  # ssh's own status
# How long another process may be at work on the same guest: all its tries.
LOCK_TIMEOUT = BOOT_TRIES * (BOOT_TIMEOUT + 60)

_FRESH = """
pkill -x zfs || true
for pool in $(zpool list -H -o name); do zpool destroy -f "$pool"; done
rm -rf /vdev/*
wipefs -a -f -q /dev/vdb* || true
blkdiscard -f /dev/vdb
# udevd looks at a disk that was written to; while it does, the kernel refuses to look itself.
for try in 1 2 3 4 5 6; do
    udevadm settle --timeout=20
    blockdev --rereadpt /dev/vdb && break
    [ "$try" -lt 6 ] && sleep 0.5
done
udevadm settle --timeout=20
"""

_WRITE = """
mkdir -p "$(dirname "$1")"
(umask 077 && cat > "$1")
chmod "$2" "$1"
sync "$1"
"""


class Guest:
    """A guest of the lab. Every call that waits has a deadline and raises LabError after it."""

    address = "127.0.0.1"

    def __init__(self, name: str) -> None:
        self.name = check_name(name)
        self.run = RunDir(run_dir().absolute() / name)

    def __repr__(self) -> str:
        return f"Guest({self.name!r})"

    @property
    def port(self) -> int:
        """The loopback port of its sshd; the same until `down`."""
        return self.run.port()

    @property
    def host_key(self) -> str:
        """Its public host key: "ssh-ed25519 AAAA..."."""
        return self.run.public_host_key()

    @property
    def key_file(self) -> Path:
        """The private key that its root accepts."""
        return lab_key()

    @property
    def known_hosts(self) -> Path:
        """A known_hosts file with this guest alone."""
        return self.run.known_hosts

    @property
    def console(self) -> str:
        """The last lines it printed on its console."""
        return tools.tail(self.run.console)

    @property
    def is_running(self) -> bool:
        """Whether its QEMU lives; it may still not answer."""
        return qemu.running_pid(self.run) is not None

    def remote(self) -> Remote:
        """How root is reached; LabError when the guest was never up."""
        socket = self.run.socket("ssh")
        return Remote(self.address, self.port, lab_key(), self.known_hosts, socket)

    def ssh(
        self,
        argv: Sequence[str],
        input: str | None = None,
        timeout: float = HANG,
        check: bool = True,
    ) -> subprocess.CompletedProcess[str]:
        """Run `argv` as root in the guest. CommandFailed carries its error text, GuestDied the console's."""
        try:
            done = self.remote().run(argv, input=input, timeout=timeout, check=check)
        except CommandFailed as error:
            self._explain(error.returncode, error)
            raise
        self._explain(done.returncode)
        return done

    def _explain(self, status: int | None, cause: Exception | None = None) -> None:
        """Raise GuestDied where a command failed because there is no guest any more."""
        if status in (None, _NO_CONNECTION) and not self.is_running:
            raise GuestDied(self.name, self.console) from cause

    def sh(self, script: str, timeout: float = HANG) -> str:
        """Run a shell script as root, stopping at the first error; returns what it printed."""
        return self.ssh(["sh", "-eu", "-s"], input=script, timeout=timeout).stdout

    def write(self, path: str, text: str, mode: int = 0o600) -> None:
        """Write a file, making its folders; it survives a `kill` right after."""
        self.ssh(["sh", "-euc", _WRITE, "sh", path, f"{mode:o}"], input=text)

    def fresh(self) -> None:
        """Destroy every pool and wipe the data disk, without a reboot."""
        self.sh(_FRESH, timeout=180)

    def kill(self) -> None:
        """End the guest as a power cut does. Its disks stay as they are at this moment."""
        with self._locked():
            self._kill()

    def start(self) -> None:
        """Boot again with the same disks, host key and port, until it is ready; no-op if it is."""
        with self._locked():
            if not self.run.overlay.exists():
                raise LabError(f"{self.name}: no such guest, start it with: up {self.name}")
            if not self.answers():
                self._boot()

    def up(self, suite: str = "trixie") -> None:
        """Make the guest if it does not exist, boot it if it does not run and answer."""
        with self._locked():
            if self.answers():
                return
            built = image(suite)
            if not built.built:
                raise LabError(f"no image of {suite}: run scripts/lab build")
            self.run.prepare(built)
            self._boot()

    def down(self) -> None:
        """End the guest and delete its disks; no error when there is none."""
        with self._locked():
            qemu.stop(self.run)
            self._disconnect()
            self.run.delete_disks()

    def answers(self) -> bool:
        """Whether it runs and ssh gets an answer in time."""
        if not self.is_running:
            return False
        try:
            self.ssh(["true"], timeout=ANSWER_TIMEOUT)
        except LabError:
            return False
        return True

    def _boot(self) -> None:
        reason = ""
        for attempt in range(BOOT_TRIES):
            if attempt:
                warnings.warn(f"{reason}; booting again. Its console ends:\n{self.console}", stacklevel=3)
            self._kill()
            try:
                qemu.launch(self.run)
                qemu.wait_ready(self.run, BOOT_TIMEOUT)
                self.ssh(["true"], timeout=ANSWER_TIMEOUT)
            except LabError as error:
                reason = str(error)
            else:
                return
        self._kill()
        raise LabError(f"{reason} ({BOOT_TRIES} tries); its console ends:\n{self.console}")

    def _kill(self) -> None:
        qemu.kill(self.run)
        self._disconnect()

    def _disconnect(self) -> None:
        # A connection to the guest that was would swallow the first command to the next one.
        if self.run.port_file.exists():
            self.remote().close()

    def _locked(self) -> tools.Lock:
        return tools.locked(self.run.lock, timeout=LOCK_TIMEOUT)
