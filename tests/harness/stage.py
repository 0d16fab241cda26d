"""A world for golden files, in which the console script's own `run()` is called, with nothing left to chance.

The only place that knows modules of zborg by name: what is behind the command line may move, and then
this file is corrected and no golden file changes. ZFS is the fake that passes the real one's tests, a host
is a list of lines that its agent prints, the clock stands still until a scene turns it.
"""

from __future__ import annotations

import importlib
import io
import json
import os
import pkgutil
import random
import re
import shutil
import signal
import sqlite3
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from typing import Any, ClassVar

import pytest
import tomli_w

import zborg
from tests import fake_zfs, fake_zfs_state
from tests.fake_zfs import FakeZfs
from tests.harness.keys import make_key
from tests.harness.plays import Play, PlayedTunnel
from zborg.cli import compose
from zborg.cli.main import run
from zborg.errors import CommandFailed
from zborg.hosts.keys import fingerprint
from zborg.interrupt import cancelled
from zborg.model import MOST, Completed
from zborg.process import LocalRunner
from zborg.state.locks import Locks

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f"
BEGIN = datetime(2026, 2, 12, 2, 30, 0, tzinfo=UTC)
_ENVIRONMENT = {"TZ": "UTC", "NO_COLOR": "1", "TERM": "dumb", "LC_ALL": "C.UTF-8", "LOGNAME": "root"}
_LEFT_OUT = ("ZBORG_CONFIG", "SUDO_USER", "JOURNAL_STREAM", "FORCE_COLOR")

_ALGORITHMS = "".join(
    f"{kind} {names}\n"
    for kind, names in {
        "ciphers": "chacha20-poly1305@openssh.com,aes128-gcm@openssh.com,aes256-gcm@openssh.com",
        "macs": "hmac-sha2-256-etm@openssh.com,hmac-sha2-512-etm@openssh.com",
        "kexalgorithms": "sntrup761x25519-sha512@openssh.com,curve25519-sha256",
        "hostkeyalgorithms": "ssh-ed25519,rsa-sha2-512",
    }.items()
)


class _Asked(type(datetime)):  # type: ignore[misc]  # datetime's metaclass is `type`
    """Whatever is a datetime is one of these, too."""

    def __instancecheck__(cls, one: object) -> bool:
        return isinstance(one, datetime)


class Clock:
    """Stands still. `also` is put in the place of `datetime` in zborg's modules."""

    def __init__(self) -> None:
        self.now = BEGIN
        clock = self

        class Stopped(datetime, metaclass=_Asked):
            @classmethod
            def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]  # a plain one
                return clock.now.astimezone(tz) if tz else clock.now.replace(tzinfo=None)

        self.also = Stopped

    def __call__(self) -> datetime:
        return self.now

    def tick(self, hours: float = 0, *, minutes: float = 0, days: float = 0) -> None:
        self.now += timedelta(days=days, hours=hours, minutes=minutes)


class _InTurn(ThreadPoolExecutor):
    """One after the other: of what is done at once any may be first to end."""

    def __init__(self, max_workers: int | None = None, thread_name_prefix: str = "") -> None:
        super().__init__(1, thread_name_prefix)


class _Local(LocalRunner):
    """Runs programs in Python in this process: to start an interpreter takes longer than a whole scene.

    `answers` are the status and output of programs that are not run: what they tell is of the machine.
    """

    answers: ClassVar[dict[str, tuple[int, str]]] = {"pgrep": (1, ""), "ssh": (0, _ALGORITHMS)}

    def run(
        self, argv: Sequence[str], *, timeout: float = 60, stdin: str = "", most: int = MOST
    ) -> Completed:
        if argv[0] in self.answers:
            status, text = self.answers[argv[0]]
            if status:
                raise CommandFailed(tuple(argv), status, text)
            return Completed(status, text, "")
        if tuple(argv[:4]) != ("python3", "-I", "-S", "-c"):
            return super().run(argv, timeout=timeout, stdin=stdin, most=most)
        out, status = io.StringIO(), 0
        with pytest.MonkeyPatch.context() as patch:
            for name, value in (("stdin", io.StringIO(stdin)), ("stdout", out), ("argv", ["-c", *argv[5:]])):
                patch.setattr(sys, name, value)
            try:
                exec(compile(argv[4], "<program>", "exec"), {"__name__": "__main__"})
            except SystemExit as ended:
                status = ended.code if isinstance(ended.code, int) else 1
                if status:
                    raise CommandFailed(tuple(argv[:1]), status, str(ended.code)) from None
        return Completed(status, out.getvalue(), "")


class _Far(_Local):
    """In the place of one through SSH: what it is asked to run is run here."""

    once = False

    def __init__(self, *_: object, **__: object) -> None:
        super().__init__()

    def close(self) -> None:
        """There is no connection."""


@dataclass
class Stage:
    """Hosts, a storage and an off-site below one directory. `text` is the transcript of what was done."""

    directory: Path
    clock: Clock
    zfs: FakeZfs
    far: FakeZfs
    monkeypatch: pytest.MonkeyPatch
    plays: dict[str, Play]
    text: str = ""
    columns: int = 80
    tunnel: PlayedTunnel = field(init=False)
    key: str = field(init=False)  # the public part of the server's, made anew for each scene

    # --- what there is ---

    def config(self, *hosts: str, **tables: Mapping[str, Any]) -> None:
        """Write zborg.toml. A table here is laid over the usual one of that name."""
        base: dict[str, Any] = {
            "storage": {"dataset": "tank/borg", "zfs": "commands", "user": "root"},
            "backup": {"parallel": 1, "retries": 0, "prune_every": "0s"},
            "snapshots": {"max_age": "26h", "keep": {"last": 2}},
            "log": {"to": "file"},
            "targets": {"offsite": self.machine("offsite") | {"dataset": "vault/zborg", "max_age": "26h"}},
            "hosts": {name: self.machine(name) for name in hosts},
        }
        for name, table in tables.items():
            base[name] = _laid_over(base.get(name, {}), table)
        self.write(
            "zborg.toml", tomli_w.dumps({"name": "vault", "state_dir": "state", "identity": "id"} | base)
        )

    def machine(self, name: str) -> dict[str, Any]:
        return {"ssh": f"ssh://root@{name}.example.net:22", "host_key": KEY}

    def write(self, name: str, text: str, mode: int = 0o600) -> Path:
        path = self.directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(mode)
        return path

    def host(self, name: str, play: Play | None = None) -> None:
        """Its dataset, and what its agent will say."""
        if f"tank/borg/{name}" not in {one.name for one in self.zfs.datasets("tank/borg")}:
            self.zfs.create(f"tank/borg/{name}", {})
        self.plays[name] = play or Play()

    def hosts(self, plays: Mapping[str, Play], **tables: Mapping[str, Any]) -> None:
        """All of these, and zborg.toml for them; each has a repository already."""
        for name, play in plays.items():
            self.host(name, play)
            self.tunnel.made(name)
        self.config(*plays, **tables)

    def home(self, name: str) -> Path:
        return self.zfs.directory(f"tank/borg/{name}")

    def state(self) -> None:
        """As `zborg init` leaves it."""
        for name in ("", "locks", "runs"):
            (self.directory / "state" / name).mkdir(mode=0o700, exist_ok=True)

    @contextmanager
    def locked(self, name: str) -> Iterator[None]:
        """As if another run held it."""
        with Locks(self.directory / "state" / "locks", "zborg backup").hold(name):
            yield

    # --- what is done ---

    def zborg(self, *words: str, tick: bool = True, stdin: str = "", shown: bool = True) -> int:
        """Run a command; what it printed is added to the transcript. A minute goes by after it."""
        random.seed(1)
        out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True) for _ in range(2))
        handlers = {n: signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
        with self.monkeypatch.context() as patch:
            for name, stream in (("stdin", io.StringIO(stdin)), ("stdout", out), ("stderr", err)):
                patch.setattr(sys, name, stream)
            patch.setattr(sys, "argv", ["zborg", *words])
            patch.setenv("COLUMNS", str(self.columns))
            patch.setattr(os, "urandom", _Numbers(os.urandom))
            try:
                run()
            except SystemExit as ended:
                code = ended.code
        for number, handler in handlers.items():
            signal.signal(number, handler)
        cancelled.clear()
        assert isinstance(code, int)
        if shown:
            command = " ".join(["zborg", *(repr(word) if " " in word else word for word in words)])
            self.text += f"$ {self.masked(command)}\nexit {code}\n"
            for stream in (out, err):
                printed = self.masked(stream.buffer.getvalue().decode())
                name = "stdout" if stream is out else "stderr"
                self.text += f"--- {name}\n{printed}" if printed else ""
            self.text += "\n"
        if tick:
            self.clock.tick(minutes=1)
        return code

    def says(self, words: str) -> None:
        """A line of the scene's own in the transcript."""
        self.text += f"# {words}\n\n"

    def shows(self, title: str, text: str) -> None:
        """Add what lies somewhere: a file, a message."""
        text = self.masked(text)
        self.text += f"=== {title}\n{text}" + ("" if text.endswith("\n") else "\n") + "\n"

    def shows_runs(self) -> None:
        """All run files, oldest first."""
        for path in sorted((self.directory / "state" / "runs").iterdir()):
            self.shows(f"runs/{path.name}", json.dumps(json.loads(path.read_text()), indent=1))

    def shows_history(self) -> None:
        """All rows of the history; when each was written is of the real clock, and left out."""
        with sqlite3.connect(self.directory / "state" / "history.db") as database:
            for table in ("runs", "outcomes"):
                cursor = database.execute(f"SELECT * FROM {table} ORDER BY 1, 2, 3, 4")
                names = [column[0] for column in cursor.description]
                rows = [dict(zip(names, row, strict=True)) for row in cursor]
                lines = [json.dumps({k: v for k, v in row.items() if k != "recorded"}) for row in rows]
                self.shows(f"history.db, {table}", "\n".join(lines))
        database.close()

    def masked(self, text: str) -> str:
        """Without what differs from run to run: where the scene lies, and numbers of processes."""
        text = text.replace(str(self.directory), "@DIR@").replace(self.key.split()[1], "@KEY@")
        text = text.replace(fingerprint(self.key), "@FINGERPRINT@")
        text = re.sub(rf"{re.escape(tempfile.gettempdir())}/(zborg-bug-|tmp)[a-z0-9_]{{8}}", r"@TMP@", text)
        return re.sub(r"\bpid \d+", "pid @PID@", text)


class _Numbers:
    """In the place of os.urandom: ids of runs are counted from 1 in each command."""

    def __init__(self, real: Any) -> None:
        self._real, self._count = real, 0

    def __call__(self, size: int) -> bytes:
        if size != 2:
            return bytes(self._real(size))
        self._count += 1
        return self._count.to_bytes(2, "big")


def _laid_over(base: Mapping[str, Any], table: Mapping[str, Any]) -> dict[str, Any]:
    made = dict(base)
    for key, value in table.items():
        both = isinstance(value, Mapping) and isinstance(made.get(key), Mapping)
        made[key] = _laid_over(made[key], value) if both else value
    return made


def _modules() -> list[Any]:
    """All of zborg's: one that is first imported in a scene would go by the real clock."""
    names = [one.name for one in pkgutil.walk_packages(zborg.__path__, "zborg.")]
    scripts = {"zborg.hosts.wall", "zborg.borg.below"}  # programs of their own
    return [importlib.import_module(name) for name in names if name not in scripts]


@contextmanager
def staged() -> Iterator[Stage]:
    """A stage with state directory and zborg.toml of no host; its path is always of one length."""
    with ExitStack() as closing:
        monkeypatch = closing.enter_context(pytest.MonkeyPatch.context())
        directory = Path(tempfile.mkdtemp(prefix="zg-", dir="/tmp"))
        closing.callback(shutil.rmtree, directory)
        clock = Clock()
        for module in _modules():
            if vars(module).get("datetime") is datetime:
                monkeypatch.setattr(module, "datetime", clock.also)
            if vars(module).get("ThreadPoolExecutor") is ThreadPoolExecutor:
                monkeypatch.setattr(module, "ThreadPoolExecutor", _InTurn)
            if vars(module).get("LocalRunner") is LocalRunner:
                monkeypatch.setattr(module, "LocalRunner", _Local)
        guids = iter(range(1001, 10**6))
        for tests in (fake_zfs, fake_zfs_state):
            monkeypatch.setattr(tests, "new_guid", lambda: str(next(guids)))
        for name, value in _ENVIRONMENT.items():
            monkeypatch.setenv(name, value)
        for name in _LEFT_OUT:
            monkeypatch.delenv(name, raising=False)
        zfs = FakeZfs(directory / "pool", clock=clock)
        far = FakeZfs(directory / "far", pools=("vault",), clock=clock)
        zfs.create("tank/borg", {})
        far.create("vault/zborg", {"mountpoint": "none"})
        stage = Stage(directory, clock, zfs, far, monkeypatch, {})
        monkeypatch.chdir(directory)
        tunnel = PlayedTunnel(stage.plays, stage.home, clock)
        stage.tunnel = tunnel
        monkeypatch.setattr(compose, "_zfs", lambda *_: zfs)
        monkeypatch.setattr(compose, "CommandZfs", lambda runner: far if isinstance(runner, _Far) else zfs)
        monkeypatch.setattr(compose, "SshRunner", _Far)
        monkeypatch.setattr(compose, "SshTunnel", lambda *_: tunnel)
        stage.key = make_key(directory / "id").public
        stage.state()
        stage.config()
        yield stage
