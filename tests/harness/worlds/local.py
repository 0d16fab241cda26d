"""A vault without a lab: FakeZfs with real directories, real `borg serve`, real sshd on loopback."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.harness.fake_zfs.zfs import FakeZfs
from tests.harness.machines.host import BackedUpHost, find_borg
from tests.harness.machines.keys import KeyPair, make_key
from tests.harness.places import Place
from zborg.config import Config
from zborg.hosts.serve import LocalServe
from zborg.hosts.ssh.host_keys import write_known_hosts
from zborg.hosts.tunnel import Serve, SshTunnel
from zborg.model import Emit, Endpoint, Event, Host, Machine, Policy, Reverse, Storage, Target, utc_now
from zborg.process import LocalRunner
from zborg.state.frozen import Frozen
from zborg.state.locks import Locks
from zborg.state.runs import Runs
from zborg.state.sessions import Sessions
from zborg.steps.context import Context
from zborg.steps.observe.history import recorded_runs


class LocalVault:
    """Everything the steps need, below one directory. `events` collects what they emit.

    With the `key` of an earlier one it is that vault again, without its snapshots.
    """

    def __init__(self, directory: Path, key: KeyPair | None = None) -> None:
        self.settle(directory, key)
        self.user = "root"  # who runs `borg serve`
        self.borg = find_borg()  # the storage's
        self.elsewhere: Endpoint | None = None  # the storage, of which this machine plays the part
        self.serve: Serve | None = None  # how it is started; as a child of ours unless given
        self.hosts: dict[str, BackedUpHost] = {}
        self.endpoints: dict[str, Endpoint] = {}
        self.timeouts: dict[str, int] = {}
        self.stalled_after = 0
        self.window = 0
        self.reverse: dict[str, Reverse] = {}
        self.backup: dict[str, Any] = {
            "parallel": 4,
            "retries": 0,
            "jitter": 0,
            "prune_every": 0,
            "verify_every": 0,
            "drill_every": 0,
            "drill_max_age": 0,
        }
        self.keep = Policy(last=2)
        self.events: list[Event] = []

    def settle(self, directory: Path, key: KeyPair | None = None) -> None:
        """Begin in this directory, with the settings that it has; before there are hosts."""
        self.directory = directory
        self.key: KeyPair = key or make_key(directory / "id_ed25519")
        self.zfs = FakeZfs(directory / "pool")
        self.far = FakeZfs(directory / "far", pools=("vault",))
        self.zfs.create("tank/borg", {})
        self.far.create("vault/zborg", {"mountpoint": "none"})
        self.state = directory / "state"
        for name in ("locks", "runs"):
            (self.state / name).mkdir(parents=True, mode=0o700, exist_ok=True)

    def add(
        self,
        name: str,
        *,
        dataset: bool = True,
        extra_conf: tuple[str, ...] = (),
        sshd_options: tuple[str, ...] = (),
        place: Place | None = None,
        agent: str = "",
    ) -> BackedUpHost:
        """A host with a file to back up, its sshd running (in `place`, if given); the caller stops it.

        `agent` is the text of another agent than this checkout's.
        """
        host = BackedUpHost(self.directory / name, key=self.key, sshd_options=sshd_options, agent=agent)
        if place:
            host.sshd.address, host.sshd.prefix = place.address, place.prefix
        (host.data / "file").write_text(f"of {name}")
        host.setup(name, [host.data], extra_conf=extra_conf)
        host.sshd.start()
        self.hosts[name] = host
        endpoint = self.endpoint(host.sshd.port, host.sshd.host_key)
        self.endpoints[name] = replace(endpoint, address=host.sshd.address)
        if dataset:
            self.zfs.create(f"tank/borg/{name}", {})
        return host

    def endpoint(self, port: int, host_key: str) -> Endpoint:
        return Endpoint("root", "127.0.0.1", port, host_key, str(self.key.private))

    def close(self) -> None:
        for host in self.hosts.values():
            host.sshd.stop()

    @property
    def config(self) -> Config:
        hosts = tuple(
            Host(
                name,
                endpoint,
                3600,
                self.timeouts.get(name, 60),
                self.reverse.get(name),
                stalled_after=self.stalled_after,
            )
            for name, endpoint in self.endpoints.items()
        )
        target = Target("offsite", self.endpoint(1, "ssh-ed25519 AAAA"), "vault/zborg", 86400)
        return Config(
            path=self.directory / "zborg.toml",
            name="test",
            state_dir=self.state,
            storage=Storage("tank/borg", self.elsewhere, self.user, self.borg),
            allow_partial=False,
            **self.backup,
            keep=self.keep,
            snapshot_max_age=86400,
            scrub_max_age=86400,
            targets=(target,),
            hosts=hosts,
            identity=str(self.key.private),
            window=self.window,
        )

    def runs_of(self, machine: str) -> Runs:
        """The reports of another machine's own zborg."""
        (self.directory / machine).mkdir(exist_ok=True)
        return Runs(self.directory / machine)

    def tunnel(self, borg: str = "") -> SshTunnel:
        """`borg` is what serves the repositories, the real one unless given."""
        known_hosts = self.state / "known_hosts"
        write_known_hosts(known_hosts, self.endpoints)
        storage = replace(self.config.storage, borg=borg or self.config.storage.borg)
        serve = self.serve or LocalServe(storage, self.zfs, lambda own, env: LocalRunner(own or "", env))
        return SshTunnel(known_hosts, LocalRunner(), serve, None)

    def context(self, emit: Emit | None = None) -> Context:
        return Context(
            config=self.config,
            here=LocalRunner(),
            storage=Machine(LocalRunner(), self.zfs),
            target=lambda _: Machine(LocalRunner(), self.far),
            tunnel=self.tunnel(),
            locks=Locks(self.state / "locks", "zborg test"),
            runs=recorded_runs(self.config, self.state, self.zfs, emit or self.events.append),
            frozen=Frozen(self.state / "frozen"),
            sessions=Sessions(self.state / "sessions"),
            clock=utc_now,
            emit=emit or self.events.append,
        )
