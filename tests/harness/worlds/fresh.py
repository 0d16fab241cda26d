"""A host that nobody has touched yet: a real sshd in a mount namespace of its own, at the real paths.

/etc, /root, /run, /usr/local and /var/lib are overlays whose upper layers lie in a tmpfs of that namespace:
what is written there is seen there alone, and is exactly what `changed` lists. Linux and root only.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
import stat
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.harness.machines.host import find_borg
from tests.harness.machines.keys import KeyPair, make_key
from tests.harness.machines.sshd import free_port

START = 60.0  # seconds until sshd must have answered
# The whole of it runs inside the namespace; $1 is the test's directory, $2 the port, $3 borg.
_ENTER = r"""
set -eu
top=$1/top
mkdir -p "$top"
mount -t tmpfs -o mode=700 tmpfs "$top"
for place in etc root run usr/local var/lib; do
    [ -d "/$place" ] || continue
    upper=$top/upper/$place moving=$top/moving/$place
    mkdir -p "$upper" "$moving"
    mount -t overlay overlay -o "lowerdir=/$place,upperdir=$upper,workdir=$moving" "/$place"
done
rm -rf /etc/ssh /etc/zborg /run/zborg /var/lib/zborg /usr/local/libexec
rm -rf /root/.ssh /root/.bashrc /root/.profile
mkdir -p /etc/ssh/sshd_config.d /root/.ssh /run/sshd /usr/local/bin
chmod 0700 /root /root/.ssh
cp "$1/host_key" "$1/host_key.pub" /etc/ssh
mv /etc/ssh/host_key /etc/ssh/ssh_host_ed25519_key
mv /etc/ssh/host_key.pub /etc/ssh/ssh_host_ed25519_key.pub
ln -sf "$3" /usr/local/bin/borg
cp "$1/operator.pub" /root/.ssh/authorized_keys
cat >/etc/ssh/sshd_config <<END
Include /etc/ssh/sshd_config.d/*.conf
ListenAddress 127.0.0.1
Port $2
HostKey /etc/ssh/ssh_host_ed25519_key
PidFile /run/sshd-fresh.pid
PermitRootLogin prohibit-password
PasswordAuthentication no
UsePAM no
UseDNS no
AcceptEnv LANG LC_*
MaxStartups 100
KexAlgorithms curve25519-sha256,curve25519-sha256@libssh.org
END
exec /usr/sbin/sshd -D -E "$1/log"
"""


class FreshHost:
    """A machine with sshd, borg and age, and no trace of zborg. `operator` opens root's account."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir(parents=True)
        self.host_key = " ".join(make_key(directory / "host_key", comment="").public.split()[:2])
        self.operator: KeyPair = make_key(directory / "operator")
        self.port = 0
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"ssh://root@127.0.0.1:{self.port}"

    @property
    def root(self) -> Path:
        """Its file system as it sees it."""
        assert self._process is not None
        return Path(f"/proc/{self._process.pid}/root")

    def sh(self, script: str) -> str:
        """Run a script on it, as its root at a terminal would. Raises CalledProcessError."""
        assert self._process is not None
        argv = ["nsenter", f"--mount=/proc/{self._process.pid}/ns/mnt", "--", "sh", "-c", script]
        return subprocess.run(argv, check=True, capture_output=True, text=True, timeout=120).stdout

    def changed(self) -> dict[str, tuple[str, int, int, str]]:
        """Every path that differs from the machine below: kind, mode, owner, digest of its text."""
        upper = self.root / str(self.directory / "top" / "upper").lstrip("/")
        found = {}
        for path in sorted(upper.rglob("*")):
            name = "/" + str(path.relative_to(upper))
            if name.startswith("/run/") and not name.startswith("/run/zborg"):
                continue  # sshd's, and other programs'
            facts = path.lstat()
            kind = stat.filemode(facts.st_mode)[0]
            text = hashlib.sha256(path.read_bytes()).hexdigest() if kind == "-" else ""
            found[name] = (kind, stat.S_IMODE(facts.st_mode), facts.st_uid, text)
        return found

    def start(self) -> Self:
        self.port = free_port()
        argv = ["setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--propagation", "private", "--"]
        argv += ["sh", "-c", _ENTER, "fresh", str(self.directory), str(self.port), find_borg()]
        with open(self.directory / "enter.log", "wb") as log:
            self._process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        deadline = time.monotonic() + START
        while not self._answers():
            if time.monotonic() > deadline or self._process.poll() is not None:
                told = (self.directory / "enter.log").read_text()
                self.stop()
                raise RuntimeError(f"the fresh host does not answer: {told}")
            time.sleep(0.02)
        return self

    def stop(self) -> None:
        """Its mounts go with its last process."""
        if self._process:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
                return connection.recv(4) == b"SSH-"
        except OSError:
            return False

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def custodian(directory: Path) -> tuple[Path, str]:
    """A key pair of age: the file with the secret one, and the public one."""
    keygen = shutil.which("age-keygen")
    if not keygen:
        raise FileNotFoundError("age is not installed")
    secret = directory / f"custodian.{os.urandom(3).hex()}"
    subprocess.run([keygen, "-o", str(secret)], check=True, capture_output=True)
    public = subprocess.run([keygen, "-y", str(secret)], check=True, capture_output=True, text=True).stdout
    return secret, public.strip()
