"""A vault with a ledger: nights that end with an audit, and hosts that misuse their own `borg serve`."""

from __future__ import annotations

import hashlib
import os
import shlex
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from tests.harness.machines.borgs import borg_of
from tests.harness.machines.host import BackedUpHost, find_borg
from tests.harness.machines.hostile.rpc import Rpc
from tests.harness.machines.keys import KeyPair
from tests.harness.steps import audit, backup, begin_ledger, compact, snapshot, verify_hosts
from tests.harness.watch import HANG
from tests.harness.worlds.local import LocalVault
from tests.harness.worlds.steps import Hours, of, world
from zborg.borg.storage.repository import last_transactions
from zborg.hosts.serve import LocalServe
from zborg.model import Outcome, Report, Status
from zborg.model.ledger.sessions import Purpose, Session
from zborg.process import LocalRunner


@dataclass
class AuditedVault:
    """One host, and a clock that goes on by hours. Real borg, sshd, agent and reader."""

    vault: LocalVault
    clock: Hours
    host: BackedUpHost

    @property
    def home(self) -> Path:
        return self.vault.zfs.directory("tank/borg/web1")

    @property
    def last(self) -> int:
        return last_transactions(LocalRunner(), [str(self.home)]).get(str(self.home), 0)

    def backed_up(self, size: int = 100_000) -> Outcome:
        (self.host.data / f"file{self.clock.now:%d%H}").write_bytes(os.urandom(size))
        self.clock.tick()
        return of(backup(world(self.vault, self.clock)), "web1")

    def audited(self) -> Outcome:
        """After a snapshot."""
        self.clock.tick()
        snapshot(world(self.vault, self.clock), label="always")
        self.clock.tick()
        return of(self.report(), "web1")

    def report(self) -> Report:
        return audit(world(self.vault, self.clock))

    def verified(self, at: str = "") -> Outcome:
        """What verify says of the host."""
        self.clock.tick()
        return of(verify_hosts(world(self.vault, self.clock), ["web1"], at), "web1")

    def tree(self, number: int = -1) -> Path:
        """What lies in a snapshot, the oldest being 0: to be changed as a failing disk does."""
        snapshots = [one for one in self.vault.zfs.snapshots("tank/borg/web1") if one.name]
        return Path(self.vault.zfs.contents(snapshots[number], ""))

    def night(self) -> Outcome:
        """A good backup, and what audit says of it."""
        made = self.backed_up()
        assert made.status.good, made
        return self.audited()

    def pruned(self, keep: int = 1) -> Outcome:
        """A good backup of other data, and the host prunes behind it; what audit says of both."""
        for path in self.host.data.glob("file*"):
            path.write_bytes(os.urandom(path.stat().st_size))
        conf = self.host.confdir / "agent.conf"
        usual = conf.read_text()
        conf.write_text(f"{usual}keep_last = {keep}\n")
        self.vault.backup["prune_every"] = 1
        made = self.backed_up()
        self.vault.backup["prune_every"] = 0
        conf.write_text(usual)
        assert "pruned" in made.data, made
        return self.audited()

    def compacted(self, *approve: int) -> Outcome:
        """By name, so whatever can be freed is."""
        self.clock.tick()
        return of(compact(world(self.vault, self.clock), ["web1"], approve), "web1")

    @property
    def size(self) -> int:
        """Bytes of its segments."""
        return sum(path.stat().st_size for path in self.home.glob("data/*/*"))

    def archives(self) -> list[str]:
        """As the host sees them, all of them extracted to the end; not again where no byte is another."""
        state = _digest(self.home, self.host.state / "borg")
        if state not in _archives:
            names = self._reads("list", "--short", "ssh://web1/./web1").split()
            for name in names:
                self._reads("extract", "--dry-run", f"ssh://web1/./web1::{name}")
            _archives[state] = names
        return [*_archives[state]]

    def checks(self) -> bool:
        """Whether borg finds the repository whole, with a key that reads all of it."""
        self._reads("check", "--verify-data", "ssh://web1/./web1")
        return True

    def _reads(self, *words: str) -> str:
        """What the host's borg prints, with its key and its memory, and a `borg serve` without the tunnel."""
        serve = self.vault.directory / "serve"
        repository = ["--restrict-to-repository", str(self.home)]
        command = shlex.join([find_borg(), "serve", "--append-only", *repository])
        serve.write_text(f"cd {shlex.quote(str(self.home.parent))} && exec {command}\n")
        env = {
            "PATH": os.defpath,
            "BORG_BASE_DIR": str(self.host.state / "borg"),
            "BORG_PASSCOMMAND": f"cat {self.host.confdir}/passphrase",
            "BORG_HOST_ID": "host:web1",
            "BORG_RSH": f"/bin/sh {serve}",
        }
        argv = [borg_of("1.4"), *words]
        done = subprocess.run(argv, env=env, capture_output=True, text=True, timeout=HANG, check=False)
        assert done.returncode in (0, 1), done
        return done.stdout

    @contextmanager
    def served(self, purpose: Purpose = Purpose.BACKUP) -> Iterator[None]:
        """As while zborg serves the repository: what the host does now is within a run."""
        sessions = world(self.vault, self.clock).sessions
        sessions.begin("web1", Session(purpose, "20260212T144933Z-0001", self.clock.now, self.last))
        yield
        sessions.end("web1", self.last)

    @contextmanager
    def rpc(self) -> Iterator[Rpc]:
        """Raw calls through `borg serve`, its repository open."""
        serve = LocalServe(
            self.vault.config.storage, self.vault.zfs, lambda own, env: LocalRunner(own or "", env)
        )
        with Rpc(serve, "serve web1") as rpc:
            rpc.call("open", path=b"/./web1", append_only=False, exclusive=True)
            yield rpc

    def borg(self, *words: str, version: str = "1.4") -> str:
        """A borg command of the host's own choice through the real tunnel; what it printed."""
        wrapper = self.host.directory / "own-borg"
        yes = "BORG_RELOCATED_REPO_ACCESS_IS_OK=yes BORG_DELETE_I_KNOW_WHAT_I_AM_DOING=YES"
        wrapper.write_text(f"#!/bin/sh\n{yes} exec {borg_of(version)} {shlex.join(words)}\n")
        wrapper.chmod(0o755)
        conf = (self.host.confdir / "agent.conf").read_text()
        self.host.setup("web1", [self.host.data], borg=str(wrapper), extra_conf=["report_paths = yes"])
        (host,) = (one for one in self.vault.config.hosts if one.name == "web1")
        printed: list[str] = []

        def listen(_: object, lines: Sequence[str]) -> None:
            printed.extend(lines)

        status = self.vault.tunnel().verb(host, ["create", "web1", "web1-2026-02-12T000000Z"], listen)
        (self.host.confdir / "agent.conf").write_text(conf)
        assert status in (0, 1), printed
        return "\n".join(printed)


_archives: dict[str, list[str]] = {}  # of what was read, by the digest of all of it


def _digest(*trees: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(path for tree in trees for path in tree.rglob("*") if path.is_file()):
        digest.update(f"{path}\n{path.stat().st_size}\n".encode() + path.read_bytes())
    return digest.hexdigest()


@dataclass(frozen=True)
class _Made:
    """What is laid in place again for the next test. Nothing of its sshd, which is made anew."""

    files: Path
    key: KeyPair
    zfs: Any
    far: Any
    now: datetime


_made: dict[Path, _Made] = {}


def audited_vault(vault: LocalVault, clock: Hours, *, borg: str = "1.4") -> AuditedVault:
    """Three nights old, with three archives, none of them with a finding; one at a time for each borg.

    The nights of the first are those of all that follow in this process. All of them lie at one place, since
    archives and the host's configuration have its paths.
    """
    place = vault.directory.parent / f"audited-{borg}"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    if place not in _made:
        return _first(vault, clock, place, borg)
    made = _made[place]
    vault.settle(place, made.key)
    host = vault.add("web1")
    _copy(made.files, place)
    vault.zfs.remember(made.zfs)
    vault.far.remember(made.far)
    host.name, clock.now = "web1", made.now
    return AuditedVault(vault, clock, host)


def _first(vault: LocalVault, clock: Hours, place: Path, borg: str) -> AuditedVault:
    vault.settle(place)
    begin_ledger(world(vault, clock))
    host = vault.add("web1")
    host.setup("web1", [host.data], borg=borg_of(borg))
    made = AuditedVault(vault, clock, host)
    for _ in range(3):
        outcome = made.night()
        assert outcome.status is Status.OK, outcome
    files = place.with_name(f"{place.name}.made")
    _copy(place, files)
    shutil.rmtree(files / "web1" / "sshd")
    vault.events.clear()
    _made[place] = _Made(files, vault.key, vault.zfs.remembered(), vault.far.remembered(), clock.now)
    return made


def _copy(source: Path, target: Path) -> None:
    target.mkdir(exist_ok=True)
    argv = ["cp", "-a", "--reflink=auto", f"{source}/.", str(target)]
    subprocess.run(argv, check=True, timeout=HANG, stdin=subprocess.DEVNULL)
