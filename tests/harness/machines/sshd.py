"""A real sshd of one's own, on loopback, on a free port, gone when its context ends."""

from __future__ import annotations

import getpass
import shutil
import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.harness.machines.keys import make_key

START = 60.0  # seconds until a started sshd must have answered
ATTEMPTS = 5  # another process may take the free port before sshd binds it
_CONFIG = """\
ListenAddress {address}
Port {port}
HostKey {directory}/host_key
PidFile none
AuthorizedKeysFile {directory}/authorized_keys
AuthenticationMethods publickey
StrictModes no
UsePAM no
UseDNS no
PermitRootLogin prohibit-password
PasswordAuthentication no
MaxStartups 100
MaxSessions 100
Subsystem sftp internal-sftp
SetEnv HOME={directory}/home
"""

# As the lab's machines have it: the newest takes a tenth of a second of each connection.
_KEX = "KexAlgorithms curve25519-sha256,curve25519-sha256@libssh.org"


class Sshd:
    """One sshd, as the current user, with everything it owns in `directory`.

    `extra` are further lines of sshd_config, e.g. "AcceptEnv *". Before a start it may get another
    `address`, and with `prefix` a command that starts it in namespaces of its own.
    """

    def __init__(self, directory: Path, extra: Sequence[str] = ()) -> None:
        self.directory = directory
        self.user = getpass.getuser()
        self.port = 0
        self.address = "127.0.0.1"
        self.prefix: tuple[str, ...] = ()
        self._extra = tuple(extra)
        self._process: subprocess.Popen[bytes] | None = None
        directory.mkdir(parents=True, exist_ok=True)
        pair = make_key(directory / "host_key", comment="")
        self.host_key = " ".join(pair.public.split()[:2])
        (directory / "authorized_keys").touch(mode=0o600)
        # bash reads ~/.bashrc when sshd starts it: an empty home, or the account's own rc files would run
        # before every forced command, and speak into what the tests read.
        (directory / "home").mkdir(mode=0o700, exist_ok=True)

    def authorize(self, line: str) -> None:
        """Add one line of authorized_keys, options and all."""
        with open(self.directory / "authorized_keys", "a") as file:
            file.write(line + "\n")

    def start(self, port: int = 0) -> Self:
        """Return once it answers, on a free port unless it is given.

        Raises RuntimeError with its log when it does not within START seconds.
        """
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # its privilege separation directory
        for _ in range(ATTEMPTS):
            self.port = port or free_port()
            self._process = subprocess.Popen(
                self._argv(), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
            if self._answers():
                return self
            self.stop()
        raise RuntimeError(f"sshd does not answer: {self.log()}")

    def log(self) -> str:
        log = self.directory / "log"
        return log.read_text() if log.exists() else ""

    def client(self, identity: Path, *options: str) -> list[str]:
        """An ssh command line for this sshd and no other; the remote command is to be appended."""
        known = self.directory / "known_hosts"
        known.write_text(f"harness {self.host_key}\n")
        argv = ["ssh", "-T", "-F", "none", "-p", str(self.port), "-i", str(identity)]
        for option in (
            "HostKeyAlias=harness",
            f"UserKnownHostsFile={known}",
            "GlobalKnownHostsFile=none",
            "StrictHostKeyChecking=yes",
            "IdentitiesOnly=yes",
            "BatchMode=yes",
            *options,
        ):
            argv += ["-o", option]
        return [*argv, f"{self.user}@127.0.0.1"]

    @property
    def pid(self) -> int:
        """Of the one that listens; each connection has a child of it. With `prefix`: of its parent."""
        assert self._process is not None  # started
        return self._process.pid

    def stop(self) -> None:
        if self._process:
            self._process.kill()
            self._process.wait()
            self._process = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _argv(self) -> list[str]:
        config = self.directory / "sshd_config"
        lines = _CONFIG.format(address=self.address, port=self.port, directory=self.directory)
        named = any(line.startswith("KexAlgorithms") for line in self._extra)
        further = self._extra if named else (_KEX, *self._extra)
        config.write_text(lines + "".join(f"{line}\n" for line in further))
        sshd = shutil.which("sshd", path="/usr/sbin:/usr/local/sbin:/sbin") or "/usr/sbin/sshd"
        argv = [*self.prefix, sshd, "-D", "-f", str(config), "-E", str(self.directory / "log")]
        # Should the tests be killed, their sshd goes too.
        return ["setpriv", "--pdeathsig", "KILL", *argv] if shutil.which("setpriv") else argv

    def _answers(self) -> bool:
        deadline = time.monotonic() + START
        while time.monotonic() < deadline and self._process and self._process.poll() is None:
            try:
                with socket.create_connection((self.address, self.port), timeout=1) as connection:
                    if connection.recv(4) == b"SSH-":
                        return True
            except OSError:
                pass
            time.sleep(0.02)
        return False


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
