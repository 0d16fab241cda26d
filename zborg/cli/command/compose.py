"""The one place that builds concrete adapters and hands them to the steps."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from zborg.cli.command.live import Way, listener
from zborg.cli.command.options import Common
from zborg.config import Config, find, load
from zborg.hosts.serve import LocalServe, RemoteServe
from zborg.hosts.ssh.connection import SshRunner
from zborg.hosts.ssh.host_keys import write_known_hosts
from zborg.hosts.tunnel import Serve, SshTunnel
from zborg.model import Endpoint, Machine, Notifier, Notify, Runner, Target, Zfs, utc_now
from zborg.model.events import Warned
from zborg.process import LocalRunner
from zborg.state.directory import narrow, prepare_state
from zborg.state.frozen import Frozen
from zborg.state.locks import Locks
from zborg.state.sessions import Sessions
from zborg.steps.context import Context
from zborg.steps.observe.history import recorded_runs
from zborg.steps.observe.log import logged, place
from zborg.zfs.choice import Adapter, Choice, choose
from zborg.zfs.commands import CommandZfs

# Aliases in known_hosts. Names of hosts and targets have no dot, so none can be taken for another.
_STORAGE = "zborg.storage"


@contextmanager
def compose(
    common: Common,
    *,
    make_state: bool = False,
    pinned: Mapping[str, Endpoint] | None = None,
    config: Config | None = None,
) -> Iterator[Context]:
    """A Context for one command; connections are closed at the end.

    Without a `config` it is loaded. `pinned` are machines that zborg.toml does not name, or not yet; they
    are in this command's reach alone.
    """
    config = config or load(find(common.config or None))
    # Under systemd stderr is the journal, which has each line already.
    silent = common.json or (place(config) == "journal" and "JOURNAL_STREAM" in os.environ)
    way = Way.SILENT if silent else Way.QUIET if common.quiet else Way.USUAL
    with ExitStack() as closing, listener(way, verbose=common.verbose) as emit:
        if make_state and common.dry_run:  # a dry run makes nothing: its locks and known_hosts go with it
            config = replace(config, state_dir=Path(closing.enter_context(TemporaryDirectory())))
        state = prepare_state(config.state_dir, make=make_state)
        known_hosts = state / "known_hosts"
        if pinned:  # a file of its own: other runs write theirs meanwhile
            known_hosts = state / f"known_hosts.{'.'.join(pinned)}"
        known_hosts = _known_hosts(known_hosts, _endpoints(config) | dict(pinned or {}), closing)
        # doctor has a probe per area: a machine that does not let us in is not tried for each of them.
        world = _World(config, known_hosts, closing, once=common.command == "doctor")
        storage = world.storage()
        zfs = _zfs(config, storage)
        emit = emit if common.dry_run else logged(config, emit)
        if not common.dry_run and (narrowed := narrow(state)):
            emit(Warned("state", narrowed))
        runs = recorded_runs(config, state, zfs, emit)
        runs.prune()
        yield Context(
            config=config,
            here=LocalRunner(),
            storage=Machine(storage, zfs),
            target=world.target,
            tunnel=SshTunnel(known_hosts, LocalRunner(), world.serve(zfs), config.storage.serving),
            locks=Locks(state / "locks", f"zborg {' '.join(sys.argv[1:])}"),
            runs=runs,
            frozen=Frozen(state / "frozen"),
            sessions=Sessions(state / "sessions"),
            clock=utc_now,
            emit=emit,
            notifiers=notifiers_of(config.notify),
        )


def _known_hosts(path: Path, endpoints: Mapping[str, Endpoint], closing: ExitStack) -> Path:
    """Where the pinned keys are now: elsewhere for this command alone, if the state's disk takes nothing."""
    try:
        write_known_hosts(path, endpoints)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
            raise
        path = Path(closing.enter_context(TemporaryDirectory())) / "known_hosts"
        write_known_hosts(path, endpoints)
    return path


def notifiers_of(settings: Notify) -> tuple[Notifier, ...]:
    """One for each service that the settings name; loads none of their libraries where there is none."""
    if not settings.anybody:
        return ()
    from zborg.notify import notifiers

    return tuple(notifiers(settings))


def chosen(config: Config) -> Choice:
    """Which adapter speaks to the storage's ZFS. Raises ConfigError."""

    def missing() -> str:
        from zborg.zfs.libzfs import missing

        return missing(config.storage.dataset.split("/")[0])

    return choose(config.storage.zfs, str(config.storage.endpoint or ""), missing)


def _zfs(config: Config, storage: Runner) -> Zfs:
    commands = CommandZfs(storage)
    if chosen(config).adapter is Adapter.COMMANDS:
        return commands
    from zborg.zfs.libzfs import LibZfs

    return LibZfs(commands)


def _endpoints(config: Config) -> dict[str, Endpoint]:
    found = {host.name: host.endpoint for host in config.hosts}
    found |= {_alias(target): target.endpoint for target in config.targets}
    if config.storage.endpoint:
        found[_STORAGE] = config.storage.endpoint
    return found


def _alias(target: Target) -> str:
    return f"target.{target.name}"


class _World:
    """Adapters for one configuration."""

    def __init__(self, config: Config, known_hosts: Path, closing: ExitStack, *, once: bool = False) -> None:
        self._config, self._known_hosts, self._closing, self._once = config, known_hosts, closing, once
        self._local = LocalRunner()
        self._targets: dict[tuple[str, Endpoint], Machine] = {}

    def storage(self) -> Runner:
        endpoint = self._config.storage.endpoint
        return self._ssh(_STORAGE, endpoint, share=True) if endpoint else self._local

    def target(self, target: Target) -> Machine:
        """One connection for all that is done there; a restore may come with an endpoint of its own."""
        key = target.name, target.endpoint
        if key not in self._targets:
            runner = self._ssh(_alias(target), target.endpoint, share=True)
            self._targets[key] = Machine(runner, CommandZfs(runner))
        return self._targets[key]

    def serve(self, zfs: Zfs) -> Serve:
        storage = self._config.storage
        if storage.serving is None:
            return LocalServe(storage, zfs, lambda own, env: LocalRunner(own or storage.user, env))
        return RemoteServe(self._ssh(_STORAGE, storage.serving), require=storage.wall == "require")

    def _ssh(self, alias: str, endpoint: Endpoint, *, share: bool = False) -> SshRunner:
        runner = SshRunner(alias, endpoint, self._known_hosts, self._local, share=share)
        runner.once = self._once
        self._closing.callback(runner.close)
        return runner
