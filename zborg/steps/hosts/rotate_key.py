"""host rotate-key: a new key of the server for one host, in place of the one it has.

The new one is installed beside the old and tried before anything depends on it; the old one's line goes
last. Killed anywhere and run again it goes on with the same new key.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from zborg.config import Config, drop_in
from zborg.model import Host, Outcome, Report, Status
from zborg.model.enrolment import Entry
from zborg.planning.hosts.rotate_key import Rotation, ServerKey, plan
from zborg.steps.context import StepRun, inspect, select_hosts
from zborg.steps.hosts.enrol import public_key
from zborg.steps.hosts.rollback import Work, sure
from zborg.steps.init import make_key

_KIND = "key"


def rotate_key(run: StepRun, name: str, entry: Entry) -> Report:
    """Replace the key."""
    context = run.context
    (host,) = select_hosts(context.config, [name])
    path = drop_in.path_of(context.config, name)
    if host.reverse or not drop_in.is_ours(path, name):
        words = f"{path} is not what zborg has written for {name} alone: its identity must be changed by hand"
        return run.report([Outcome(_KIND, name, Status.FAILED, words, "docs/agent.md, The server's key")])
    found = _gather(run, host, entry)
    if run.dry_run:
        return run.planned(_lines(host, found))
    with context.locks.hold(f"host-{name}"):
        work = Work(_KIND, name, context.emit)
        outcomes = _Rotation(run, host, entry, work, found).execute()
    return run.recorded(outcomes, rule=inspect)


def _gather(run: StepRun, host: Host, entry: Entry) -> Rotation:
    config = run.context.config
    current = _key(host.endpoint.identity)
    shared = _key(config.identity) if Path(f"{config.identity}.pub").exists() else None
    own = [_key(str(path)) for path in own_keys(config, host.name) if Path(f"{path}.pub").exists()]
    return plan(current, shared, own, entry.authorized())


def _folder(config: Config) -> Path:
    return Path(config.identity).parent


def own_keys(config: Config, name: str) -> list[Path]:
    """The host's own keys, oldest first; one whose making was killed is without its public half."""
    return sorted(_folder(config).glob(f"id_{name}.*Z"))


def _key(path: str) -> ServerKey:
    return ServerKey(path, " ".join(public_key(path).split()[:2]))


def _lines(host: Host, found: Rotation) -> list[str]:
    new = found.new.path if found.new else "a new key"
    return [
        f"{host.name}: let {new} call the agent, and try it",
        f"write {new} as identity of {host.name}",
        *(f"{host.name}: take away the line of {key.path}" for key in found.retire),
    ]


@dataclass
class _Rotation:
    run: StepRun
    host: Host
    entry: Entry
    work: Work
    found: Rotation

    def execute(self) -> list[Outcome]:
        self.work.stays = self._configured
        return self.work.run(self._steps())

    def _configured(self) -> str:
        table = drop_in.read(self._path).get("hosts", {}).get(self.host.name, {})
        new = self.found.new and self.found.new.path
        return "the new key is in use already" if new and table.get("identity") == new else ""

    @property
    def _path(self) -> Path:
        return drop_in.path_of(self.run.context.config, self.host.name)

    @property
    def _new(self) -> ServerKey:
        assert self.found.new is not None  # the first step has made it
        return self.found.new

    def _steps(self) -> Iterator[tuple[str, Callable[[], str]]]:
        yield "new key", self._make
        yield "host", self._install
        yield "trial", self._try
        yield "configuration", self._configure
        yield "old key", self._retire

    def _make(self) -> str:
        if self.found.new:
            return f"{self._new.path} is there"
        path = _folder(self.run.context.config) / f"id_{self.host.name}.{self.run.started:%Y%m%dT%H%M%SZ}"
        self.work.note("new key", lambda: forget_key(path))
        sure(make_key(self.run.context.here, str(path), self.run.context.config.name))
        self.found = replace(self.found, new=_key(str(path)))
        return f"{path} made"

    def _install(self) -> str:
        if self._new.public in self.entry.authorized():
            return "knows the new key"
        self.work.note("host", lambda: self.entry.drop_key(self._new.public))
        self.entry.add_key(public_key(self._new.path))
        return "may be called with the new key"

    def _try(self) -> str:
        endpoint = replace(self.host.endpoint, identity=self._new.path)
        self.run.context.tunnel.ask(replace(self.host, endpoint=endpoint), "version")
        return "the agent answers to the new key"

    def _configure(self) -> str:
        drop_in.write_identity(self._path, self.host.name, self._new.path)
        return f"{self._path} names it"

    def _retire(self) -> str:
        """The shared key stays here: other hosts know it."""
        for key in self.found.retire:
            self.entry.drop_key(key.public)
        for path in own_keys(self.run.context.config, self.host.name):
            if str(path) != self._new.path:
                forget_key(path)
        return f"{', '.join(key.path for key in self.found.retire)}: the host knows it no more"


def forget_key(path: Path) -> None:
    """The public half first: a private one alone is nobody's key, and the next rotation clears it away."""
    Path(f"{path}.pub").unlink(missing_ok=True)
    path.unlink(missing_ok=True)
