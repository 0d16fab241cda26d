"""A backup server without hosts and one fresh host: real sshd, borg and age, the in-memory ZFS."""

from __future__ import annotations

import hashlib
import os
import re
import signal
import subprocess
import traceback
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from tests.harness.machines.host import find_borg
from tests.harness.steps import enroll
from tests.harness.watch import kill, until
from tests.harness.worlds.fresh import FreshHost, custodian
from tests.harness.worlds.local import LocalVault
from zborg.config import Config, drop_in, load
from zborg.errors import Exit
from zborg.hosts.enrol import OperatorEntry, text
from zborg.hosts.operator import by_operator
from zborg.hosts.ssh.connection import SshRunner
from zborg.hosts.ssh.host_keys import write_known_hosts
from zborg.model import Event, Host, Report
from zborg.model.enrolment import Request
from zborg.process import LocalRunner
from zborg.steps.context import Context

NAME = "web1"
_RUNNER_PLACE = Path("/nonexistent")
_ID = re.compile(r"[0-9a-f]{64}")


class Site:
    """`data` on the host is what is to be backed up; `secret` is the custodian's age key."""

    def __init__(self, directory: Path) -> None:
        (directory / "vault").mkdir(parents=True)
        self.directory = directory
        self.vault = LocalVault(directory / "vault")
        self.host = FreshHost(directory / "host").start()
        self.secret, public = custodian(directory)
        self.folder = directory / "etc"
        (self.folder / "hosts.d").mkdir(parents=True)
        self.path = self.folder / "zborg.toml"
        self.path.write_text(
            f'{drop_in.INCLUDE}\nname = "vault"\nstate_dir = "{self.vault.state}"\n'
            f'identity = "{self.vault.key.private}"\n'
            f'[storage]\ndataset = "tank/borg"\nuser = "root"\n[escrow]\ncustodians = ["{public}"]\n'
        )
        self.path.chmod(0o600)
        self.data = directory / "data"
        self.data.mkdir()
        (self.data / "file").write_text("of web1")
        self._runners: list[SshRunner] = []

    @property
    def config(self) -> Config:
        return replace(load(self.path), storage=self.vault.config.storage)

    @property
    def request(self) -> Request:
        config = self.config
        endpoint = self.vault.endpoint(self.host.port, self.host.host_key)
        host = next((h for h in config.hosts if h.name == NAME), Host(NAME, endpoint, 3600, 60))
        key, paths = self.vault.key.public, (str(self.data),)
        return Request(host, "vault", key, paths, (), 500 << 30, config.custodians)

    def context(self, emit: Callable[[Event], None] | None = None) -> Context:
        self.vault.endpoints[NAME] = self.request.host.endpoint
        write_known_hosts(self.vault.state / "known_hosts", self.vault.endpoints)
        return replace(self.vault.context(emit), config=self.config)

    def entry(self, script: str = "") -> OperatorEntry:
        authenticate = by_operator(str(self.host.operator.private))
        runner = SshRunner(NAME, self.request.host.endpoint, _RUNNER_PLACE, LocalRunner(), authenticate)
        self._runners.append(runner)
        return OperatorEntry(runner, script or text(self.request), sudo=False)

    def add(self, script: str = "", context: Context | None = None) -> Report:
        return enroll(context or self.context(), self.request, self.entry(script))

    def killed_at(self, title: str, work: Callable[[Context], object] | None = None) -> None:
        """`add`, or other work, in a process that kills itself at the moment when this step begins."""

        def emit(event: Event) -> None:
            if event.kind == "started" and event.message == title:
                os.kill(os.getpid(), signal.SIGKILL)

        do = work or (lambda context: self.add(context=context))
        assert self._in_child(lambda: do(self.context(emit))) == signal.SIGKILL

    def killed_when(self, look: Callable[[], bool]) -> None:
        """`add` in a process that is killed as soon as `look` sees it; then the host's side has ended too."""

        def killer(child: int) -> None:
            until(look, "the point to kill at")
            kill(child)

        assert self._in_child(self.add, killer) == signal.SIGKILL
        idle = "exec 9</run/zborg/lock && flock -n 9 && echo idle || :"
        until(lambda: "idle" in self.host.sh(idle), "the agent has ended")

    def _in_child(self, work: Callable[[], object], meanwhile: Callable[[int], None] | None = None) -> int:
        """The signal that ended it, 0 for none. The parent's ZFS then learns what the child's has made."""
        pid = os.fork()
        if pid == 0:
            try:
                work()
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(0)
        if meanwhile:
            meanwhile(pid)
        _, status = os.waitpid(pid, 0)
        self.remember()
        return os.WTERMSIG(status)

    def remember(self) -> None:
        known = {dataset.name for dataset in self.vault.zfs.datasets("tank/borg")}
        for place in self.vault.zfs.directory("tank/borg").iterdir():
            if f"tank/borg/{place.name}" not in known:
                self.vault.zfs.create(f"tank/borg/{place.name}", {})

    @property
    def home(self) -> Path:
        return self.vault.zfs.directory(f"tank/borg/{NAME}")

    def server_tree(self) -> dict[str, str]:
        """Every file of the server that is no lock, report or generated list of keys, with its digest."""
        found = {}
        for top in (self.folder, self.vault.state / "escrow", self.vault.directory / "pool"):
            for path in sorted(top.rglob("*")):
                digest = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
                found[str(path.relative_to(self.directory))] = digest
        return found

    def shape(self) -> set[str]:
        """Names, modes and owners on both sides, without what differs from one repository to the next."""
        host = [f"{name} {kind} {mode:o} {uid}" for name, (kind, mode, uid, _) in self.host.changed().items()]
        lines = [*host, *self.server_tree()]
        return {line for line in lines if "/var/lib/zborg/borg/" not in line and "/pool/" not in line}

    def escrow(self) -> str:
        """What the custodian reads."""
        sealed = self.vault.state / "escrow" / f"{NAME}.age"
        argv = ["age", "--decrypt", "-i", str(self.secret), str(sealed)]
        return subprocess.run(argv, check=True, capture_output=True, text=True).stdout

    def rescue(self) -> dict[str, str]:
        """As README says for a host that is gone: its files, by the custodian's copy alone."""
        place = self.directory / "rescue"
        place.mkdir()
        exported = self.escrow()
        passphrase = exported.split("# Passphrase:\n")[1].split("\n")[0]
        (place / "key").write_text(exported[exported.index("BORG_KEY") :])
        env = {"PATH": os.defpath, "BORG_BASE_DIR": str(place / "base"), "BORG_PASSPHRASE": passphrase}
        env |= {"BORG_RELOCATED_REPO_ACCESS_IS_OK": "yes"}
        borg = [find_borg()]

        def run(*words: str) -> str:
            done = subprocess.run([*borg, *words], cwd=place, env=env, capture_output=True, text=True)
            assert done.returncode == 0, done.stderr
            return done.stdout

        run("key", "import", str(self.home), str(place / "key"))
        found = {}
        for archive in run("list", "--short", str(self.home)).split():
            run("extract", f"{self.home}::{archive}")
        for path in sorted(place.rglob("*")):
            if path.is_file() and not path.is_relative_to(place / "base") and path.name != "key":
                found["/" + str(path.relative_to(place))] = path.read_text()
        return found

    def close(self) -> None:
        for runner in self._runners:
            runner.close()
        self.host.stop()


def enrolled_site(directory: Path) -> Iterator[Site]:
    """A site whose host was enrolled, for as long as a fixture lasts."""
    made = Site(directory)
    report = made.add()
    assert report.exit is Exit.OK, report.outcomes
    yield made
    made.close()
