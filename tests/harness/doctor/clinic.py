"""A whole world for doctor: real sshd, agent, borg and keys, the in-memory ZFS, and all as it should be."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.harness.fake_zfs.zfs import FakeZfs
from tests.harness.steps import audit, backup, begin_ledger, snapshot
from tests.harness.worlds.local import LocalVault
from zborg.cli.doctor import parsed
from zborg.config import Config
from zborg.config.salvage import salvage
from zborg.errors import CommandFailed
from zborg.hosts.ssh.probe import accepted_variables
from zborg.model import MAX_OUTPUT, Child, Completed, Machine, Report, Scrub, utc_now
from zborg.process import LocalRunner
from zborg.steps.doctor.schedule import Roots
from zborg.steps.doctor.step import DoctorInputs, doctor
from zborg.zfs import argv
from zborg.zfs.sink import HELLO, HERE

_SET = {
    "readonly": "off",
    "checksum": "on",
    "sync": "standard",
    "compression": "lz4",
    "recordsize": "1048576",
    "atime": "off",
    "dedup": "off",
    "exec": "off",
    "setuid": "off",
    "devices": "off",
    "snapdir": "hidden",
    "quota": "0",
    "refquota": "0",
    "refreservation": "0",
}
_RECEIVED = {
    "mountpoint": "none",
    "canmount": "off",
    "readonly": "on",
    "volmode": "none",
    "quota": str(4 << 40),
    "snapshot_limit": "20000",
    "filesystem_limit": "200",
}
_FEATURES = {
    "lz4_compress": "active",
    "zstd_compress": "active",
    "large_blocks": "active",
    "longname": "enabled",
}


class ThisMachine(LocalRunner):
    """With a cron that runs, and without a systemd; this one's own are not the test's affair."""

    def __init__(self) -> None:
        super().__init__()
        self.processes = ["systemd", "cron", "sshd"]
        self.units: dict[str, str] = {}  # what `systemctl show` says, by "UNIT KEY"

    def run(
        self, argv_: Sequence[str], *, timeout: float = 60, stdin: str = "", max_bytes: int = MAX_OUTPUT
    ) -> Completed:
        if argv_[:2] == ["ps", "-A"]:
            return Completed(0, "\n".join([*self.processes, ""]), "")
        if argv_[0] == "systemctl":
            key = argv_[-1].removeprefix("--property=")
            if not self.units:
                raise CommandFailed(tuple(argv_), 1, "System has not been booted with systemd as init system")
            return Completed(0, f"{key}={self.units.get(f'{argv_[2]} {key}', 'inactive')}\n", "")
        return super().run(argv_, timeout=timeout, stdin=stdin, max_bytes=max_bytes)


# As OpenZFS 2.3.9 prints it.
DELEGATED = """\
---- Permissions on vault/zborg --------------------------------------
Local+Descendent permissions:
\tuser zborg-sink create,mount,receive:append,userprop
"""


class ZfsWords:
    """A model.Runner on which `zfs` speaks of a FakeZfs; other commands are this machine's own."""

    def __init__(self, zfs: FakeZfs, settings: Mapping[str, str]) -> None:
        self.zfs, self._local, self._settings = zfs, LocalRunner(), dict(settings)
        self.own: dict[tuple[str, str], str] = {}  # by dataset and property
        self.version = "zfs-2.3.9-1\nzfs-kmod-2.3.9-1\n"
        self.delegated = DELEGATED
        self.features = dict(_FEATURES)
        self.has_sink = False
        self.home = ""  # of every account

    def run(
        self, argv_: Sequence[str], *, timeout: float = 60, stdin: str = "", max_bytes: int = MAX_OUTPUT
    ) -> Completed:
        if self.has_sink and tuple(argv_) == HELLO:
            return Completed(0, HERE, "")
        if argv_[0] == "zfs":
            return self._zfs(tuple(argv_))
        if list(argv_[:2]) == ["zpool", "get"]:
            assert tuple(argv_) == argv.pool_features(argv_[-1])
            rows = [("size", "1T"), *((f"feature@{key}", value) for key, value in self.features.items())]
            return Completed(0, "".join(f"{key}\t{value}\n" for key, value in rows), "")
        if argv_[:2] == ["getent", "passwd"] and self.home:
            return Completed(0, f"{argv_[2]}:x:999:999::{self.home}:/bin/sh\n", "")
        if argv_[:2] == ["id", "-Gn"]:
            return Completed(0, f"{argv_[2]}\n", "")
        return self._local.run(argv_, timeout=timeout, stdin=stdin, max_bytes=max_bytes)

    def start(self, argv_: Sequence[str], *, stdin: int, stdout: int) -> Child:
        return self._local.start(argv_, stdin=stdin, stdout=stdout)

    def _zfs(self, words: tuple[str, ...]) -> Completed:
        if words == ("zfs", "version"):
            return Completed(0, self.version, "")
        if self.has_sink and words != argv.dataset_properties(words[-1]):
            refusal = f"zborg: E_SINK_COMMAND refused by the sink: it does not do {words}"
            raise CommandFailed(words, 4, refusal)
        if words[1] == "allow":
            return Completed(0, self.delegated, "")
        if words == argv.dataset_properties(words[-1]):
            own = {**_RECEIVED, **{key: value for (_, key), value in self.own.items()}}
            return Completed(0, "".join(f"{words[-1]}\t{k}\t{v}\n" for k, v in own.items()), "")
        assert words[:5] == ("zfs", "get", "-Hp", "-o", "value"), words
        keys, names = words[5].split(","), words[6:]
        return Completed(0, "".join(f"{self._value(name, key)}\n" for name in names for key in keys), "")

    def _value(self, name: str, key: str) -> str:
        """Inherited from its parent, where nobody set it."""
        chain = [name.rsplit("/", depth)[0] for depth in range(name.count("/") + 1)]
        found = next((self.own[one, key] for one in chain if (one, key) in self.own), None)
        return found if found is not None else self._settings[key]


class Clinic:
    """One host that was backed up and witnesses the ledger, one target behind a sink, a line of cron's.

    Nothing is wrong.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.vault = LocalVault(directory)
        self.vault.state.chmod(0o700)
        self.host = self.vault.add("web1")
        self.near, self.far = ZfsWords(self.vault.zfs, _SET), ZfsWords(self.vault.far, _RECEIVED)
        self.near.own["tank/borg/web1", "quota"] = str(500 << 30)
        self.near.own["tank/zborg-slack", "refreservation"] = str(1 << 30)
        self.far.has_sink = True
        slack = {"mountpoint": "none", "canmount": "off", "refreservation": str(1 << 30)}
        self.vault.zfs.create("tank/zborg-slack", slack)
        for zfs, pool in ((self.vault.zfs, "tank"), (self.vault.far, "vault")):
            zfs.pools[pool] = replace(zfs.pools[pool], scrub=Scrub.FINISHED, finished=utc_now())
        self.etc = directory / "etc"
        (self.etc / "cron.d").mkdir(parents=True)
        self.cron = self.etc / "cron.d" / "zborg"
        self.program = directory / "bin" / "zborg"
        self.program.parent.mkdir()
        self.program.write_text("#!/bin/sh\n")
        self.program.chmod(0o755)
        self.cron.write_text(f"30 2 * * *  root  {self.program} run\n")
        self.toml = directory / "zborg.toml"
        (directory / "hosts.d").mkdir(mode=0o700)
        self._write()
        self.machine = ThisMachine()
        self.config_changes: dict[str, Any] = {}
        begin_ledger(self.vault.context())
        for step in (backup, snapshot, audit, backup):  # the second is given the ledger's checkpoint
            report = step(self.vault.context())
            assert report.exit == 0, report.outcomes

    def _write(self) -> None:
        host, key = self.vault.endpoints["web1"], self.vault.key.private
        self.toml.write_text(
            f'include = ["hosts.d/*.toml"]\nname = "test"\nstate_dir = "{self.vault.state}"\n'
            f'identity = "{key}"\n[storage]\ndataset = "tank/borg"\nuser = "root"\n'
            f'borg = "{self.vault.borg}"\n'
            f'[targets.offsite]\nssh = "ssh://zborg-sink@127.0.0.1:1"\nhost_key = "{host.host_key}"\n'
            f'dataset = "vault/zborg"\n[hosts.web1]\nssh = "{host}"\nhost_key = "{host.host_key}"\n'
        )
        self.toml.chmod(0o600)

    def inputs(self) -> DoctorInputs:
        found, mistakes = salvage(self.toml)
        config = replace(found, **self.config_changes) if found else None
        context = None
        if config:
            context = replace(
                self.vault.context(),
                config=config,
                storage=Machine(self.near, self.vault.zfs),
                target=lambda _: Machine(self.far, self.vault.far),
            )
        roots = Roots(etc=self.etc, units=(self.etc / "systemd",), tabs=False, booted=self.etc / "booted")
        words = "the zfs command, on this machine"
        return DoctorInputs(
            self.toml,
            config,
            mistakes,
            context,
            self.machine,
            utc_now,
            words,
            accepted_variables,
            parsed,
            roots,
        )

    def look(self, *only: str) -> Report:
        return doctor(self.inputs(), only=only)

    @property
    def config(self) -> Config:
        found = self.inputs().config
        assert found is not None
        return found

    def close(self) -> None:
        self.vault.close()


class Plant:
    """Changes that are taken back when the test ends."""

    def __init__(self, clinic: Clinic) -> None:
        self.clinic, self._undo = clinic, ExitStack()

    def text(self, path: Path, text: str, mode: int | None = None) -> None:
        if path.exists():
            old, bits = path.read_text(), path.stat().st_mode
            self._undo.callback(path.chmod, bits)
            self._undo.callback(path.write_text, old)
        else:
            self._undo.callback(path.unlink)
        path.write_text(text)
        if mode is not None:
            path.chmod(mode)

    def replaced(self, path: Path, old: str, new: str) -> None:
        assert old in path.read_text()
        self.text(path, path.read_text().replace(old, new))

    def mode(self, path: Path, mode: int) -> None:
        self._undo.callback(path.chmod, path.stat().st_mode)
        path.chmod(mode)

    def away(self, path: Path) -> None:
        elsewhere = self.clinic.directory / f"away-{path.name}"
        path.rename(elsewhere)
        self._undo.callback(elsewhere.rename, path)

    def attribute(self, thing: Any, name: str, value: Any) -> None:
        self._undo.callback(setattr, thing, name, getattr(thing, name))
        setattr(thing, name, value)

    def entry(self, table: Any, key: Any, value: Any) -> None:
        if key in table:
            self._undo.callback(table.__setitem__, key, table[key])
        else:
            self._undo.callback(table.__delitem__, key)
        table[key] = value

    def without(self, table: Any, key: Any) -> None:
        self._undo.callback(table.__setitem__, key, table.pop(key))

    def later(self, undo: Any, *arguments: Any) -> None:
        self._undo.callback(undo, *arguments)

    def close(self) -> None:
        self._undo.close()


@contextmanager
def planting(clinic: Clinic) -> Iterator[Plant]:
    plant = Plant(clinic)
    try:
        yield plant
    finally:
        plant.close()
