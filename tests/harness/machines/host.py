"""A backed-up host on loopback: its sshd, its agent, its configuration and its data in one directory."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.harness.machines.join import Joined, Pair
from tests.harness.machines.keys import KeyPair, make_key
from tests.harness.machines.sshd import Sshd
from tests.harness.places import ALONE
from tests.harness.watch import all_pids, command_line, until
from zborg.hosts.agent import script

_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._/=@+-")


def find_borg() -> str:
    """The one of scripts/setup; else (in a guest) beside this Python or in PATH. Raises FileNotFoundError."""
    here = (Path(sys.prefix) / "borg-1.4" / "bin", Path(sys.executable).parent)
    beside = os.pathsep.join([*map(str, here), os.environ.get("PATH", os.defpath)])
    found = shutil.which("borg", path=beside)
    if not found:
        raise FileNotFoundError("borg: neither in PATH nor beside this Python")
    return found


def encode(words: Sequence[str]) -> str:
    """The agent's command line: words apart by spaces, other bytes than its plain ones as \\0ooo."""
    return " ".join(
        "".join(chr(b) if chr(b) in _PLAIN else f"\\0{b:03o}" for b in word.encode(errors="surrogateescape"))
        for word in words
    )


def throttled(host: BackedUpHost, rate: int = 4096) -> str:
    """A borg that sends `rate` KiB/s, so that a backup has a middle."""
    wrapper = host.directory / "throttled-borg"
    wrapper.write_text(f'#!/bin/sh\nexec {find_borg()} --upload-ratelimit {rate} "$@"\n')
    wrapper.chmod(0o755)
    return str(wrapper)


@contextmanager
def locked(repository: Path, base: Path, *prefix: str) -> Iterator[None]:
    """A borg of another host id has the repository's lock; at the end kill -9, and the lock is left."""
    env = {**os.environ, "BORG_HOST_ID": "elsewhere", "BORG_BASE_DIR": str(base)}
    argv = [*prefix, find_borg(), "with-lock", str(repository), "sleep", "300"]
    with subprocess.Popen(argv, env=env, stdin=subprocess.DEVNULL, start_new_session=True) as process:
        try:
            until(lambda: list(repository.glob("lock.exclusive/elsewhere*")), "it has the lock")
            yield
        finally:
            os.killpg(process.pid, 9)


def creating(host: BackedUpHost) -> int | None:
    """borg's pid on the host while it creates an archive."""
    for pid in all_pids():
        words = command_line(pid).split(b"\0")
        if b"create" in words and os.fsencode(host.data) in words:
            return pid
    return None


@contextmanager
def slowed(host: BackedUpHost) -> Iterator[None]:
    """A borg that creates an archive there runs a fifth of the time."""
    ending = threading.Event()

    def brake() -> None:
        while not ending.wait(0.2):
            pid = creating(host)
            if pid is not None:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGSTOP)
                    ending.wait(0.8)
                    os.kill(pid, signal.SIGCONT)

    thread = threading.Thread(target=brake)
    thread.start()
    try:
        yield
    finally:
        ending.set()
        thread.join()


class BackedUpHost:
    """Stands in for one host. `shell` is "sh" (the machine's own) or "busybox" (it and all its tools).

    With `own_pids` its processes are a world of their own, without this machine's other hosts and servers.
    """

    def __init__(
        self,
        directory: Path,
        *,
        shell: str = "sh",
        sshd_options: Sequence[str] = (),
        agent: str = "",
        key: KeyPair | None = None,
        own_pids: bool = False,
    ) -> None:
        self.directory = directory
        self.confdir = directory / "etc"
        self.data = directory / "data"
        self.state = directory / "state"
        self.run = directory / "run"
        self.name = ""
        for path in (self.confdir, self.data):
            path.mkdir(parents=True, mode=0o700)
        self.sshd = Sshd(directory / "sshd", sshd_options)
        if own_pids:
            self.sshd.prefix = ALONE.prefix
        self.key = key or make_key(directory / "id_ed25519")
        self.agent = self._install(agent or script(), shell)
        self._sh = str(directory / "bin" / "sh") if shell == "busybox" else "/bin/sh"
        command = f"{self._sh} {self.agent} {self.confdir}"
        self.sshd.authorize(f'restrict,command="{command}" {self.key.public}')

    def setup(
        self, name: str, paths: Sequence[Path], *, borg: str = "", extra_conf: Sequence[str] = ()
    ) -> Self:
        """Write agent.conf and a passphrase; a second call changes agent.conf alone.

        `--setup` tries the key with the host's borg, which may be a trap by then.
        """
        self.name = name
        lines = [f"name = {name}", f"state_dir = {self.state}", f"run_dir = {self.run}"]
        lines += [f"borg = {borg or find_borg()}", *(f"path = {path}" for path in paths), *extra_conf]
        conf = self.confdir / "agent.conf"
        conf.write_text("".join(f"{line}\n" for line in lines))
        conf.chmod(0o600)
        if not (self.confdir / "passphrase").exists():
            self.local("--setup", name).check_returncode()
        return self

    def local(self, *words: str) -> subprocess.CompletedProcess[str]:
        """The agent as root calls it at a terminal."""
        argv = [self._sh, str(self.agent), str(self.confdir), *words]
        env = {k: v for k, v in os.environ.items() if k != "SSH_ORIGINAL_COMMAND"}
        return subprocess.run(
            argv, env=env, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=120
        )

    def ssh(self, *words: str, options: Sequence[str] = ()) -> list[str]:
        """The command line that sends `words` to the agent."""
        return [*self.sshd.client(self.key.private, *options), "--", encode(words)]

    def call(
        self, raw: str | bytes, *options: str, timeout: float = 120
    ) -> subprocess.CompletedProcess[bytes]:
        """Send one command line as it stands, with nothing at the other end of the tunnel."""
        argv: list[str | bytes] = [*self.sshd.client(self.key.private, *options), "--", raw]
        return subprocess.run(argv, capture_output=True, stdin=subprocess.DEVNULL, timeout=timeout)

    def pair(self, root: Path, *words: str, serve: Sequence[str] = ()) -> Pair:
        """A verb, joined to `borg serve` for root/NAME (or to `serve`). The caller waits."""
        env = {
            "PATH": os.defpath,
            "BORG_HOST_ID": f"server:{self.name}",
            "BORG_BASE_DIR": str(root / ".borg"),
        }
        argv = [find_borg(), "serve", "--append-only", "--restrict-to-repository", str(root / self.name)]
        return Pair(self.ssh(*words), serve or argv, self.directory, right_cwd=root, right_env=env)

    def verb(self, root: Path, *words: str, serve: Sequence[str] = (), timeout: float = 120) -> Joined:
        """`pair`, waited for. Raises subprocess.TimeoutExpired."""
        with self.pair(root, *words, serve=serve) as pair:
            return pair.wait(timeout)

    def __enter__(self) -> Self:
        self.sshd.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.sshd.stop()

    def _install(self, text: str, shell: str) -> Path:
        """A copy of the agent; for busybox with the two lines changed that name sh and PATH."""
        if shell == "busybox":
            tools = self._busybox_tools()
            text, shells = re.subn(r"(?m)^sh=.*$", f"sh={tools}/sh", text)
            text, paths = re.subn(r"(?m)^safe_path=.*$", f"safe_path={tools}", text)
            if (shells, paths) != (1, 1):
                raise ValueError("the agent has no single line sh= and safe_path=")
        installed = self.directory / "zborg-agent"
        installed.write_text(text)
        installed.chmod(0o755)
        return installed

    def _busybox_tools(self) -> Path:
        """A PATH with busybox under every name it knows, and python3; nothing of GNU."""
        tools = self.directory / "bin"
        tools.mkdir()
        busybox = shutil.which("busybox")
        if not busybox:
            raise FileNotFoundError("busybox is not installed")
        names = subprocess.run([busybox, "--list"], capture_output=True, text=True, check=True).stdout.split()
        for name in names:
            (tools / name).symlink_to(busybox)
        (tools / "python3").symlink_to(Path(sys.executable).resolve())
        return tools
