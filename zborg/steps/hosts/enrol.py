"""host add and host accept: from a machine with sshd and borg to a host that is backed up.

Each step checks, does, and notes how to take back what it made. When a later one fails all that this run
made is taken back, newest first; but never a repository that holds an archive, with its key: then the
same command goes on where it stopped. What is there already is left as it is, so killed anywhere and run
again it ends the same.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from zborg.borg.storage.repository import entries, last_transactions, repository_id
from zborg.config import drop_in
from zborg.errors import ConfigError, Conflict, HostKeyChanged, Unreachable, ZborgError
from zborg.interrupt import cancelled
from zborg.model import Dataset, Outcome, Report, Status
from zborg.model.enrolment import Entry, Request
from zborg.model.results import backup_of
from zborg.model.text.remedy import command, quoted
from zborg.planning.hosts.enrol import Plan, ServerFacts, plan
from zborg.retry import retry
from zborg.state.locks import Lock
from zborg.steps.backup.host import HostRun
from zborg.steps.context import Context, StepRun, inspect, missing
from zborg.steps.escrow.facts import escrow_of
from zborg.steps.hosts.obstacles import elsewhere, other_borg, other_key, unfinished
from zborg.steps.hosts.rollback import Work, sure
from zborg.steps.init import make_datasets
from zborg.steps.ledger.begun import may_be_compacting
from zborg.steps.mounts import check_mounted

_KIND = "enrolment"
_PUBLIC = re.compile(r"[a-z0-9@.-]+ [A-Za-z0-9+/]+={0,2}( [^\x00-\x1f\x7f]*)?")
_WAITS = (
    0.5,
) * 4  # seconds between tries of the first connection: sshd has just read its configuration again


def look(context: Context, request: Request, entry: Entry | None) -> Plan:
    """What would change where; changes nothing. Raises ConfigError for what is missing in zborg.toml."""
    drop_in.check_included(context.config, request.host.name)
    host = entry.probe() if entry else None
    planned = plan(request, _server(context, request), host, context.clock())
    own = (
        *elsewhere(context.config, request.host),
        *unfinished(context, request.host),
        *other_borg(context, request.host),
    )
    problems = [*own, *planned.problems]
    if host:
        problems += other_key(request, host)
    return replace(planned, problems=tuple(problems))


def enroll(run: StepRun, request: Request, entry: Entry | None) -> Report:
    """Do what `look` plans, and report. `entry` None: the host's owner has installed the agent."""
    context = run.context
    name = request.host.name
    planned = look(context, request, entry)
    if planned.problems:
        outcomes = [Outcome(_KIND, name, Status.FAILED, p.message, p.remedy) for p in planned.problems]
        return run.report(outcomes, planned.lines(), rule=inspect)
    if run.dry_run:
        return run.planned(planned.lines())
    settled = _settled(run, request)
    if any(one.status.bad for one in settled):
        return run.recorded(settled, planned.lines(), rule=inspect)
    if not planned.changes:
        done = Outcome(_KIND, name, Status.OK, "is enrolled already; nothing was changed")
        return run.report([*settled, done], planned.lines())
    with context.locks.hold(f"host-{name}") as lock:
        work = Work(_KIND, name, context.emit)
        outcomes = _Enrolment(run, request, entry, lock, work).execute()
    return run.recorded([*settled, *outcomes], planned.lines(), rule=inspect)


def _settled(run: StepRun, request: Request) -> list[Outcome]:
    """A repository that is there already may have been left in the middle of something. Raises ZborgError."""
    context, host = run.context, request.host
    if not may_be_compacting(context.config, host.name):
        return []
    from zborg.steps.undelete.settle import settle  # with it comes what signs the ledger

    with context.locks.hold(f"host-{host.name}"):
        return settle(run, host)


# --- gathering ----------------------------------------------------------------------------------------------


def _server(context: Context, request: Request) -> ServerFacts:
    host, config = request.host, context.config
    name = config.storage.dataset_of(host.name)
    dataset = _datasets(context).get(name)
    home = dataset.mountpoint if dataset and dataset.mounted else None
    held = bool(home and last_transactions(context.storage.runner, [home]))
    known = held and home and repository_id(context.storage.runner, home)
    return ServerFacts(
        dataset=name,
        dataset_there=dataset is not None,
        drop_in=str(drop_in.path_of(config, host.name)),
        written=any(one.name == host.name for one in config.hosts),
        repository=held,
        sealed=bool(known and escrow_of(config).is_sealed(host.name, known)),
    )


def _datasets(context: Context) -> dict[str, Dataset]:
    root = context.config.storage.dataset
    found = {dataset.name: dataset for dataset in context.storage.zfs.datasets(root)}
    if root not in found:
        raise missing(context.storage.zfs, root, "", "zborg init")
    return found


# --- the steps ----------------------------------------------------------------------------------------------


@dataclass
class _Enrolment:
    """One host's steps in turn, and the way back."""

    run: StepRun
    request: Request
    entry: Entry | None
    lock: Lock
    work: Work
    home: str = ""
    answer: list[str] = field(default_factory=list)  # what the agent says of its host
    stays: str = ""  # why nothing may be taken back any more

    def execute(self) -> list[Outcome]:
        self.work.stays = self._reason_to_stay
        return self.work.run(self._steps())

    def _steps(self) -> Iterator[tuple[str, Callable[[], str]]]:
        yield "dataset", self._dataset
        if self.entry:
            yield "agent", partial(self._agent, self.entry)
        yield "configuration", self._configuration
        yield "connection", self._connection
        yield "repository", self._repository
        yield "first archive", self._archive
        if self.request.custodians:
            yield "escrow", self._escrow
        if self.entry:
            yield "clean-up", partial(self._finish, self.entry)

    def _dataset(self) -> str:
        context, host = self.run.context, self.request.host
        name = context.config.storage.dataset_of(host.name)
        there = name in _datasets(context)
        if not there:
            self.work.note("dataset", self._remove_dataset)
        list(make_datasets(self.run, [host], self.request.quota, lambda _: nullcontext()))
        found = _datasets(context)
        self.home = check_mounted(context, found[name], found.get(context.config.storage.dataset))
        context.tunnel.try_serve(host.name)
        return f"{name} is there" if there else f"{name} created"

    def _remove_dataset(self) -> None:
        context = self.run.context
        name = context.config.storage.dataset_of(self.request.host.name)
        if made := _datasets(context).get(name):
            context.storage.zfs.remove(name, made.guid)

    def _agent(self, entry: Entry) -> str:
        made = entry.install()
        if made:
            self.work.note("agent", partial(entry.undo, made))
        return f"made {', '.join(map(_shown, made))}" if made else "is there"

    def _configuration(self) -> str:
        config, host = self.run.context.config, self.request.host
        known = next((one for one in config.hosts if one.name == host.name), None)
        if known:
            return "is there"
        path = drop_in.path_of(config, host.name)
        self.work.note("configuration", lambda: path.unlink(missing_ok=True))
        drop_in.write(path, host.name, drop_in.table_of(host, config))
        return f"{path} written"

    def _connection(self) -> str:
        """Through the real way, with the server's own key."""
        answer = self.answer = self._version()
        if f"name {self.request.host.name}" not in answer:
            raise ZborgError("the host calls itself otherwise", "see name in its /etc/zborg/agent.conf")
        if self.request.custodians and "escrow yes" not in answer:
            raise ZborgError(
                "the host cannot seal its key", "it needs age, and /etc/zborg/custodians (docs/agent.md)"
            )
        borg = next((line for line in answer if line.startswith("borg ")), "borg missing")
        return f"the agent answers, {borg}"

    def _version(self) -> list[str]:
        ask = partial(self.run.context.tunnel.ask, self.request.host, "version")
        return retry(ask, _WAITS, _is_not_ready, cancelled.wait).splitlines()

    def _repository(self) -> str:
        empty = not entries(self.run.context.storage.runner, self.home)
        if empty and "initialised yes" in self.answer:
            raise Conflict(
                f"the host has the key of a repository, but {self.home} is empty",
                "if another server backs it up, leave it: a host has one. Else give the repository back; "
                "a rebuilt host begins anew: README, The rebuilt host",
            )
        if empty:
            if self.entry:
                self.work.note("repository", partial(self._forget_repository, self.entry))
            else:
                self.stays = "the host may hold the key of the repository, and only its owner enters there"
        outcome = self._backup().prepare()
        return "made; its key is on the host alone" if outcome and sure(outcome) else "is there"

    def _forget_repository(self, entry: Entry) -> None:
        storage = self.run.context.storage.runner
        entry.undo(["repository:/var/lib/zborg"])
        if found := entries(storage, self.home):
            storage.run(["rm", "-rf", "--", *(f"{self.home}/{name}" for name in found)])

    def _archive(self) -> str:
        if self._holds_archive():
            return "is there"
        outcome = sure(self._backup().archive("sample"))
        return f"{backup_of(outcome.result).archive}: agent.conf alone"

    def _escrow(self) -> str:
        context, host = self.run.context, self.request.host
        repository = repository_id(context.storage.runner, self.home)
        escrow = escrow_of(context.config)
        if escrow.is_sealed(host.name, repository):
            return f"{escrow.path(host.name)} is there"
        sealed = context.tunnel.ask(host, "escrow")
        return f"{escrow.keep(host.name, repository, sealed, context.clock())} written"

    def _finish(self, entry: Entry) -> str:
        entry.finish()
        return f"next: zborg backup {self.request.host.name}"

    def _backup(self) -> HostRun:
        return HostRun(self.run, self.request.host, self.lock, self.home)

    def _holds_archive(self) -> bool:
        return bool(self.home and last_transactions(self.run.context.storage.runner, [self.home]))

    def _reason_to_stay(self) -> str:
        if self.stays:
            return self.stays
        try:
            return "the repository holds an archive" if self._holds_archive() else ""
        except ZborgError as error:
            return f"the storage does not say whether the repository holds an archive: {error.message}"


def _shown(made: str) -> str:
    """One of install's KIND:WHAT in words; a `line` is a public key, which is no path."""
    kind, _, what = made.partition(":")
    if kind == "line":
        return "a line of authorized_keys"
    return f"{what} (replaced)" if kind == "replaced" else what


def _write_public(identity: str) -> str:
    return f"{command('ssh-keygen', '-y', '-f', identity)} >{quoted(f'{identity}.pub')}"


def _is_not_ready(error: Exception) -> bool:
    return isinstance(error, Unreachable) and not isinstance(error, HostKeyChanged)


def public_key(identity: str) -> str:
    """The server's public key, one line. Raises ConfigError when there is none."""
    try:
        text = Path(f"{identity}.pub").read_text(encoding="utf-8").strip()
    except (OSError, ValueError) as error:
        # A key that was brought along has no .pub, and init makes none beside it.
        advice = _write_public(identity) if Path(identity).exists() else "zborg init"
        raise ConfigError(f"the server's key {identity}.pub cannot be read", advice) from error
    if not _PUBLIC.fullmatch(text):  # it becomes a line of root's authorized_keys
        raise ConfigError(f"{identity}.pub is no public key", _write_public(identity))
    return text
