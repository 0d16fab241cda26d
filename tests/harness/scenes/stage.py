"""A world for golden files, in which the console script's own `run()` is called, with nothing left to chance.

This file, standins.py and plays.py alone know modules of zborg by name: what is behind the command line may
move, and then these are corrected and no golden file changes. ZFS is the fake that passes the real one's
tests, a host is a list of lines that its agent prints, the clock stands still until a scene turns it.
"""

from __future__ import annotations

import errno
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
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import tomli_w
import typer

import zborg
from tests.harness.fake_zfs import state as fake_zfs_state
from tests.harness.fake_zfs import zfs as fake_zfs
from tests.harness.fake_zfs.zfs import FakeZfs
from tests.harness.machines.keys import make_key
from tests.harness.scenes.plays import Play, PlayedTunnel
from tests.harness.scenes.standins import Clock, Far, InTurn, Local, Numbers
from zborg.cli.command import compose
from zborg.cli.main import application, run
from zborg.errors import CommandFailed
from zborg.hosts.ssh import probe
from zborg.hosts.ssh.reasons import explain
from zborg.interrupt import cancelled
from zborg.model import Endpoint, Pool, Scrub
from zborg.model.keys import fingerprint
from zborg.model.serial.report import from_dict, to_dict
from zborg.process import LocalRunner
from zborg.state import runs
from zborg.state.locks import Locks
from zborg.zfs.output.refusals import of_receiver

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f"
_ENVIRONMENT = {"TZ": "UTC", "NO_COLOR": "1", "TERM": "dumb", "LC_ALL": "C.UTF-8", "LOGNAME": "root"}
_LEFT_OUT = ("ZBORG_CONFIG", "SUDO_USER", "JOURNAL_STREAM", "FORCE_COLOR")
_ON_DISK = ("zg-----", "/tmp")  # a path as long: lines are wrapped by it


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
    waits: bool = False  # whether a wait takes its time by the clock, too
    tunnel: PlayedTunnel = field(init=False)
    key: str = field(init=False)  # the public part of the server's, made anew for each scene

    # --- what there is ---

    @property
    def fingerprint(self) -> str:
        return fingerprint(self.key)

    def config(self, *hosts: str, **tables: Mapping[str, Any]) -> None:
        """Write zborg.toml. A table here is laid over the usual one of that name."""
        base: dict[str, Any] = {
            "storage": {"dataset": "tank/borg", "zfs": "commands", "user": "root"},
            "backup": {
                "parallel": 1,
                "retries": 0,
                "prune_every": "0s",
                "verify_every": "0s",
                "drill_every": "0s",
            },
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
        """As if another run held it, one with the number of the only process that is on every machine."""
        with ExitStack() as held:
            with self.monkeypatch.context() as patch:
                patch.setattr(os, "getpid", lambda: 1)
                held.enter_context(Locks(self.directory / "state" / "locks", "zborg backup").hold(name))
            yield

    def breaks(self, zfs: FakeZfs, methods: Sequence[str], words: str, status: int = 1) -> None:
        """From now on these methods fail, as the command or (255) the way to its machine would."""

        def fail(method: str, _: tuple[object, ...]) -> None:
            if method in methods and status == 255:
                raise explain(
                    "target.offsite", Endpoint("root", "offsite.example.net", 22, KEY, "id"), 255, words
                )
            if method in methods:
                error = CommandFailed(("zfs", method), status, words)
                raise of_receiver(error) if method == "receive" else error

        zfs.fail = fail

    def pools(self, **changes: Any) -> None:
        """Both pools' last scrubs ended now; `changes` are of what `zpool status` says of the storage's."""
        for zfs, name in ((self.zfs, "tank"), (self.far, "vault")):
            changed = changes if zfs is self.zfs else {}
            fine = Pool(name, "ONLINE", Scrub.FINISHED, self.clock.now, 0, 0, 0.0, 1 << 40, 1 << 39)
            zfs.pools[name] = replace(fine, **changed)

    def night(self) -> None:
        """Something new on each host, and a day goes by; nothing of it is in the transcript."""
        self.pools()
        self.zborg("run", shown=False)
        self.clock.tick(days=1, minutes=-1)

    @contextmanager
    def disk_full(self) -> Iterator[None]:
        """No run can be recorded."""

        def full(*_: object) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        with self.monkeypatch.context() as patch:
            patch.setattr(runs, "atomic", SimpleNamespace(write=full))
            yield

    # --- what is done ---

    def _wait(self, seconds: float) -> bool:
        if self.waits:
            self.clock.tick(minutes=seconds / 60)
        return cancelled.is_set()

    def zborg(self, *words: str, tick: bool = True, stdin: str = "", shown: bool = True) -> int:
        """Run a command; what it printed is added to the transcript. A minute goes by after it."""
        out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True) for _ in range(2))
        handlers = {n: signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
        with self.monkeypatch.context() as patch:
            for name, stream in (("stdin", io.StringIO(stdin)), ("stdout", out), ("stderr", err)):
                patch.setattr(sys, name, stream)
            patch.setattr(sys, "argv", ["zborg", *words])
            patch.setenv("COLUMNS", str(self.columns))
            patch.setattr(os, "urandom", Numbers(os.urandom))
            patch.setattr(random, "random", lambda: 0.5)
            patch.setattr(cancelled, "wait", self._wait)
            patch.setattr(
                sys.modules["__main__"], "__package__", None, raising=False
            )  # or usage names pytest
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
        assert shown or code not in (2, 10), f"{words}: {err.buffer.getvalue().decode()}"
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

    def shows_runs(self, *commands: str) -> None:
        """All run files, or those of these commands, oldest first."""
        for path in sorted((self.directory / "state" / "runs").iterdir()):
            if commands and path.name.split(".")[1] not in commands:
                continue
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
        """Without what differs from run to run: where the scene lies, its keys, our pid, uids of hosts."""
        for public in self.directory.glob("*.pub"):
            text = text.replace(public.read_text().split()[1], "@KEY@")
        text = text.replace(str(self.directory), "@DIR@").replace(f".{os.getpid()} ", ".@PID@ ")
        text = re.sub(
            r"\bnumber [7-9]\d{4}\b", "number @UID@", text.replace(self.fingerprint, "@FINGERPRINT@")
        )
        return re.sub(rf"{re.escape(tempfile.gettempdir())}/(zborg-bug-|tmp)[a-z0-9_]{{8}}", r"@TMP@", text)


def commands() -> Iterator[tuple[str, ...]]:
    """Every group and every command of the application, as its words."""
    yield from _below(typer.main.get_command(application(())))


def _below(command: Any, *words: str) -> Iterator[tuple[str, ...]]:
    yield words
    for name, inner in getattr(command, "commands", {}).items():
        yield from _below(inner, *words, name)


def reread(report: Mapping[str, Any]) -> dict[str, Any]:
    """A report's JSON form after it was read. Raises as zborg does for what it cannot read."""
    return to_dict(from_dict(report))


def _laid_over(base: Mapping[str, Any], table: Mapping[str, Any]) -> dict[str, Any]:
    made = dict(base)
    for key, value in table.items():
        both = isinstance(value, Mapping) and isinstance(made.get(key), Mapping)
        made[key] = _laid_over(made[key], value) if both else value
    return made


def _modules() -> list[Any]:
    """All of zborg's: one that is first imported in a scene would go by the real clock."""
    names = [one.name for one in pkgutil.walk_packages(zborg.__path__, "zborg.")]
    scripts = {"zborg.hosts.wall", "zborg.borg.storage.below"}  # programs of their own
    return [
        importlib.import_module(name)
        for name in names
        if name not in scripts and not name.endswith("__main__")
    ]


@contextmanager
def staged() -> Iterator[Stage]:
    """A stage with state directory and zborg.toml of no host; its path is always of one length."""
    with ExitStack() as closing:
        closing.callback(time.tzset)  # once TZ is what it was
        monkeypatch = closing.enter_context(pytest.MonkeyPatch.context())
        # In memory where that can be: half of a scene's time is spent waiting for a disk.
        prefix, parent = ("zg-", "/dev/shm") if os.access("/dev/shm", os.W_OK) else _ON_DISK
        directory = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
        closing.callback(shutil.rmtree, directory)
        clock = Clock()
        for module in _modules():
            if vars(module).get("datetime") is datetime:
                monkeypatch.setattr(module, "datetime", clock.also)
            if vars(module).get("ThreadPoolExecutor") is ThreadPoolExecutor:
                monkeypatch.setattr(module, "ThreadPoolExecutor", InTurn)
            if vars(module).get("LocalRunner") is LocalRunner:
                monkeypatch.setattr(module, "LocalRunner", Local)
        guids = iter(range(1001, 10**6))
        for tests in (fake_zfs, fake_zfs_state):
            monkeypatch.setattr(tests, "new_guid", lambda: str(next(guids)))
        for name, value in _ENVIRONMENT.items():
            monkeypatch.setenv(name, value)
        time.tzset()
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
        monkeypatch.setattr(probe, "accepted_variables", lambda *_: ())
        monkeypatch.setattr(
            compose, "_zfs", lambda one, _: zfs if one.storage.dataset.startswith("tank") else far
        )
        monkeypatch.setattr(compose, "CommandZfs", lambda runner: far if isinstance(runner, Far) else zfs)
        monkeypatch.setattr(compose, "SshRunner", Far)
        monkeypatch.setattr(compose, "SshTunnel", lambda *_: tunnel)
        stage.key = make_key(directory / "id").public
        stage.state()
        stage.config()
        yield stage
