"""An off-site host whose sshd has two keys: the everyday one has the sink, the other reads.

Its `zfs` writes down what it is asked, and lists and sends what an in-memory off-site has.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from tests.harness.checkout import CHECKOUT
from tests.harness.fake_zfs.child import FakeChild
from tests.harness.machines.keys import make_key
from tests.harness.machines.sshd import Sshd
from tests.harness.steps import replicate
from tests.harness.worlds.local import LocalVault
from zborg.errors import Exit
from zborg.hosts.ssh.connection import SshRunner
from zborg.hosts.ssh.host_keys import write_known_hosts
from zborg.model import Endpoint, Machine, Snapshot, Stream, Target
from zborg.process import LocalRunner
from zborg.steps.context import Context
from zborg.zfs import argv
from zborg.zfs.commands import CommandZfs

ROOT = "vault/zborg"
_ZFS = """#!/bin/sh
cd {directory}
for word; do printf '[%s]' "$word"; done >>asked
echo >>asked
case "$1 $4" in
    "list filesystem") cat datasets ;;
    "list snapshot") cat snapshots ;;
    get*) cat properties ;;
    send*)
        for last; do :; done
        echo "full	$last	9" >&2
        exec cat "${{last#*@}}" ;;
esac
"""
_FORCED = """
import sys
import zborg.cli.offsite.forced
zborg.cli.offsite.forced.PATH = "{directory}:" + zborg.cli.offsite.forced.PATH
from zborg.__main__ import run
sys.argv = ["zborg", "sink", {options} "vault/zborg"]
run()
"""


@dataclass
class Offsite:
    """The off-site's sshd with two keys: the everyday one has the sink, the other reads."""

    directory: Path
    sshd: Sshd
    everyday: Path
    reader: Path

    @property
    def endpoint(self) -> Endpoint:
        return Endpoint(self.sshd.user, "127.0.0.1", self.sshd.port, self.sshd.host_key, str(self.everyday))

    @property
    def done(self) -> list[list[str]]:
        """What was asked of zfs beside listings."""
        lines = (self.directory / "asked").read_text().splitlines()
        words = [line[1:-1].split("][") for line in lines]
        return [one for one in words if one[0] not in ("list", "get")]

    def ask(self, command: str) -> subprocess.CompletedProcess[bytes]:
        words = [*self.sshd.client(self.reader), command]
        return subprocess.run(words, input=b"", capture_output=True, timeout=120, check=False)

    def hold(self, vault: LocalVault) -> None:
        """All that the in-memory off-site has, as `zfs` prints and sends it."""
        names = [one.name for one in vault.far.datasets(ROOT)]
        found = vault.far.snapshots(ROOT)
        columns = argv.DATASET_COLUMNS.split(",")
        self._write("datasets", [_row(columns, {"name": name, "mounted": "no"}) for name in names])
        self._write("snapshots", [_row(argv.SNAPSHOT_COLUMNS.split(","), _facts(one)) for one in found])
        marks = [f"{one.full}\t{key}\t{value}" for one in found for key, value in one.properties.items()]
        self._write("properties", marks)
        for one in found:
            with (self.directory / one.snapname).open("wb") as file:
                child = vault.far.send(Stream(one.full), file.fileno())
                assert isinstance(child, FakeChild) and child.wait() == 0
                child.close()
        self._write("asked", [])

    def _write(self, name: str, lines: list[str]) -> None:
        (self.directory / name).write_text("".join(f"{line}\n" for line in lines))


def _row(columns: list[str], facts: dict[str, str]) -> str:
    usual = {"receive_resume_token": "-", "mountpoint": "none", "encryption": "off"}
    return "\t".join(facts.get(column) or usual.get(column) or "1" for column in columns)


def _facts(one: Snapshot) -> dict[str, str]:
    created = str(int(one.created.timestamp()))
    numbers = {"createtxg": str(one.createtxg), "creation": created, "userrefs": "0", "clones": "-"}
    return {"name": one.full, "guid": one.guid, **numbers}


@contextmanager
def offsite(base: Path) -> Iterator[Offsite]:
    (base / "zfs").write_text(_ZFS.format(directory=base))
    (base / "zfs").chmod(0o755)
    sshd = Sshd(base / "sshd")
    keys = {}
    for name, options in (("everyday", ""), ("reader", '"--read",')):
        keys[name] = make_key(base / name)
        (base / f"{name}.py").write_text(_FORCED.format(directory=base, options=options))
        forced = f"PYTHONPATH={CHECKOUT} {sys.executable} {base}/{name}.py"
        sshd.authorize(f'restrict,command="{forced}" {keys[name].public}')
    with sshd:
        yield Offsite(base, sshd, keys["everyday"].private, keys["reader"].private)


class Away:
    """Called with a world it replicates what that has; the world it returns reaches its off-site by ssh."""

    def __init__(self, offsite: Offsite, vault: LocalVault, closing: ExitStack) -> None:
        self.offsite, self._vault, self._closing = offsite, vault, closing

    def __call__(self, context: Context) -> Context:
        assert replicate(context).exit is Exit.OK
        self.offsite.hold(self._vault)
        known, endpoint = self._vault.state / "known_targets", self.offsite.endpoint
        write_known_hosts(known, {"target.offsite": endpoint})

        def machine(target: Target) -> Machine:
            runner = SshRunner("target.offsite", target.endpoint, known, LocalRunner())
            self._closing.callback(runner.close)
            return Machine(runner, CommandZfs(runner))

        target = replace(context.config.targets[0], endpoint=endpoint, reader=endpoint.user)
        return replace(context, config=replace(context.config, targets=(target,)), target=machine)
