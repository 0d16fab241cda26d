"""A host's agent on a bench: its verbs one by one, over real sshd, with real borg at both ends."""

from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.harness.machines.host import BackedUpHost
from tests.harness.machines.join import Joined

A1, A2 = "web1-2026-01-01T000000Z", "web1-2026-01-02T000000Z"
SNAPSHOT = "zborg_2026-01-02T000000Z"
# Names that would break out of JSON, of a shell word or of a line filter, were they not handled.
NAMES = (
    'quo"te',
    "back\\slash",
    'fake", "levelname": "ERROR", "message": "x',
    'tail", "time": 1, "type": "archive_progress", "finished": false}',
    "grün-ünïcode-日本",
    "$(touch pwned); `id` 'x'",
)
SECRET = "payroll"  # the directory's name, and so part of each path


class Lab:
    """A host, the server's directory of repositories, and what a verb must leave behind: nothing."""

    def __init__(
        self, directory: Path, shell: str, connector: str, *sshd_options: str, own_pids: bool = False
    ) -> None:
        self.shell = shell
        self.root = directory / "srv"
        (self.root / "web1").mkdir(parents=True)
        self.conf = (f"connector = {connector}",)
        self.host = BackedUpHost(
            directory / "host", shell=shell, sshd_options=sshd_options, own_pids=own_pids
        )
        self.data = self.host.data / SECRET
        self.data.mkdir()
        for number, name in enumerate(NAMES):
            (self.data / name).write_text(f"content {number}\n" * 100)
        self.configure()

    def configure(self, *extra: str, borg: str = "", paths: tuple[Path, ...] = ()) -> None:
        self.host.setup("web1", paths or (self.data,), borg=borg, extra_conf=(*self.conf, *extra))

    def verb(self, *words: str, serve: tuple[str, ...] = ()) -> Joined:
        """Run a verb to its end; it must leave no file and no process."""
        joined = self.host.verb(self.root, *words, serve=serve)
        self.assert_clean()
        return joined

    def ok(self, *words: str) -> Joined:
        joined = self.verb(*words)
        assert joined.status == 0, joined.stderr
        return joined

    def init(self, template: Path | None = None) -> Lab:
        """An initialised host; from the template, a copy of one, where there is one."""
        if not template:
            self.ok("init", "web1")
            return self
        for name, place in self._enrolled().items():
            shutil.rmtree(place)
            shutil.copytree(template / name, place)
        return self

    def save(self, template: Path) -> None:
        for name, place in self._enrolled().items():
            shutil.copytree(place, template / name)

    def _enrolled(self) -> dict[str, Path]:
        return {"srv": self.root, "state": self.host.state, "etc": self.host.confdir}

    def allow(self, *paths: Path, snapshot: str = SNAPSHOT, cap: int = 1_000_000) -> None:
        self.host.local("--allow-restore", snapshot, str(cap), *map(str, paths)).check_returncode()

    def restore(self, archive: str, ident: str, *paths: Path) -> Joined:
        return self.verb("restore", "web1", archive, ident, SNAPSHOT, *map(str, paths))

    def restored(self, ident: str) -> Path:
        return self.host.state / "restore" / ident

    def processes(self) -> list[str]:
        """All that the agent started, and itself: known by their environment, or by the script they run."""
        mark, script = f"={self.host.state}/".encode(), f"{self.host.agent}\0--clean".encode()
        found = []
        for entry in Path("/proc").iterdir():
            try:
                if not entry.name.isdigit():
                    continue
                line = (entry / "cmdline").read_bytes()
                if mark in (entry / "environ").read_bytes() or script in line:
                    found.append(f"{entry.name} {line!r}")
            except OSError:
                pass
        return found

    def stands(self) -> bool:
        """Whether borg has its connection: a relay for each direction, which rsh started."""
        return sum("F_SETPIPE_SZ" in line for line in self.processes()) == 2

    def holds_lock(self, pid: str) -> bool:
        try:
            return any(fd.readlink() == self.host.run / "lock" for fd in Path(f"/proc/{pid}/fd").iterdir())
        except OSError:
            return False  # it has ended

    def assert_clean(self) -> None:
        wait_until(lambda: not self.processes(), lambda: f"left running: {self.processes()}")
        left = [
            p.name for p in self.host.run.iterdir() if p.name != "lock" and not p.name.startswith("place.")
        ]
        assert left == []

    def script(self, name: str, text: str) -> str:
        """A stand-in for borg."""
        path = self.host.directory / name
        path.write_text("#!/bin/sh\n" + text)
        path.chmod(0o755)
        return str(path)

    def agent_pid(self) -> int:
        """The pid that holds the lock, once there is one (flock's file, or the symbolic link)."""
        pids: list[int] = []

        def running() -> bool:
            link, file = self.host.run / "lock.pid", self.host.run / "lock"
            text = str(link.readlink()) if link.is_symlink() else file.read_text() if file.exists() else ""
            pids[:] = [int(text)] if text.strip() and Path(f"/proc/{text.strip()}").exists() else []
            return bool(pids)

        wait_until(running, lambda: "no agent took the lock")
        return pids[0]


def wait_until(true: Callable[[], bool], complaint: Callable[[], str], timeout: float = 120) -> None:
    deadline = time.monotonic() + timeout
    while not true():
        assert time.monotonic() < deadline, complaint()
        time.sleep(0.02)


def output(joined: Joined) -> dict[str, Any]:
    """What borg printed: the prefixed lines, as JSON."""
    lines = [line[2:] for line in joined.stderr.splitlines() if line.startswith("= ")]
    value: dict[str, Any] = json.loads("\n".join(lines))
    return value


def over_fifos(lab: Lab) -> None:
    """The host has no /proc, as FreeBSD has none: the agent relays by FIFOs, and asks id(1) who it is."""
    text = lab.host.agent.read_text()
    for there in ("/proc/$$/fd/3", "/proc/self/status"):
        assert there in text
        text = text.replace(there, f"/nonexistent{there}")
    lab.host.agent.write_text(text)


def without(lab: Lab, missing: str) -> None:
    """The host no longer has this program."""
    tools = lab.host.directory / f"without-{missing}"
    tools.mkdir()
    for tool in Path("/usr/bin").iterdir():
        if tool.name != missing:
            (tools / tool.name).symlink_to(tool)
    text, found = re.subn(r"(?m)^safe_path=.*$", f"safe_path={tools}", lab.host.agent.read_text())
    assert found == 1
    lab.host.agent.write_text(text)
