"""doctor: look at everything a backup depends on, change nothing, and name the remedy of what is wrong.

One row per probe below. A probe gathers facts and lets planning judge them; one that cannot ask is a
finding itself, and ends no other. What is not there yet (a state directory, a configuration without
mistakes) is a finding as well: doctor comes before `zborg init`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from zborg.config import Config
from zborg.errors import ConfigError, Exit, UsageError
from zborg.model import Clock, Endpoint, Finding, Host, Outcome, Report, Runner, Status, Target
from zborg.model.events import Finished, Started
from zborg.model.results import WellHosts
from zborg.model.text import remedy
from zborg.model.text.units import counted
from zborg.planning.doctor.schedule import Wanted
from zborg.planning.doctor.starts import Parser
from zborg.state.runs import new_run
from zborg.steps import inventory
from zborg.steps.context import Context, inspect, nobody, outcome_of, select_hosts
from zborg.steps.doctor import drills, ledger, storage
from zborg.steps.doctor import remote as machines
from zborg.steps.doctor import this_machine as here
from zborg.steps.doctor.schedule import Roots, schedule
from zborg.steps.escrow import overdue

Look = Callable[[], Iterable[Finding]]


@dataclass(frozen=True)
class DoctorInputs:
    """What is looked at, and what with. `config` and `context` are None when zborg.toml says too little.

    The context's state directory is a scratch one; the configuration's is the real one.
    """

    path: Path  # zborg.toml
    config: Config | None
    mistakes: tuple[ConfigError, ...]
    context: Context | None
    local: Runner
    clock: Clock
    adapter: str  # in words, which one speaks to ZFS and why
    accepted_variables: Callable[[str, Endpoint, Sequence[str]], tuple[str, ...]]  # see hosts.ssh.probe
    parser: Parser  # what a command line of zborg's means to zborg
    roots: Roots = field(default_factory=Roots)  # where the system keeps its own files
    more: tuple[tuple[str, Callable[[Config], Iterable[Finding]]], ...] = ()  # further rows, by area


@dataclass(frozen=True)
class Probe:
    """One thing to look at. `subject` names it when it cannot be asked; `far`: another machine answers."""

    area: str
    subject: str
    look: Look
    far: bool = False


@dataclass(frozen=True)
class Looked:
    """`asked` False: the probe raised, and this is its error."""

    outcome: Outcome
    asked: bool = True


# --- the table --------------------------------------------------------------------------------------


def _here(inputs: DoctorInputs) -> Iterator[Probe]:
    """What needs no configuration."""
    yield Probe("config", str(inputs.path), lambda: here.config(inputs.path, inputs.config, inputs.mistakes))
    wanted = _wanted(inputs.path, inputs.config)
    look = partial(schedule, inputs.local, inputs.roots, wanted, inputs.parser)
    yield Probe("schedule", "schedule", look)
    if inputs.context is None:
        yield Probe("programs", "programs", lambda: here.programs(inputs.local, None, None))


def _wanted(path: Path, config: Config | None) -> Wanted:
    if config is None:
        return Wanted(str(path))
    targets = tuple(one.name for one in config.targets)
    return Wanted(str(path), config.hosts, targets, config.storage.received)


def _configured(inputs: DoctorInputs, cache: storage.StorageCache, config: Config) -> Iterator[Probe]:
    context = cache.context
    yield Probe("state", str(config.state_dir), lambda: here.state(config.state_dir))
    yield Probe("keys", "keys", lambda: here.keys(context))
    yield Probe("programs", "programs", lambda: here.programs(inputs.local, config, context.storage.runner))
    yield Probe("zfs", "zfs", lambda: storage.adapter(context, inputs.adapter))
    if config.storage.received:
        yield Probe("off-site", config.storage.dataset, lambda: machines.off_site(context))
        yield Probe("ledger", config.storage.ledger, lambda: ledger.received(config))
    else:
        yield Probe("storage", config.storage.dataset, lambda: storage.places(cache))
        yield Probe("storage", config.storage.scratch, lambda: storage.scratch(cache, config))
        yield Probe("properties", config.storage.dataset, lambda: storage.properties(cache))
        yield Probe("repositories", config.storage.dataset, lambda: storage.repositories(cache))
        yield Probe("serving", "borg serve", lambda: storage.serving(cache))
        yield Probe("serving", "memory", lambda: storage.memory(cache))
        yield Probe("ledger", config.storage.ledger, lambda: ledger.ledger(cache, config))
        yield Probe("hosts", "escrow", lambda: overdue.findings(config, inputs.clock()))
        yield Probe("hosts", "inventory", lambda: inventory.look(config, cache.datasets()))
        yield Probe("hosts", "drills", lambda: drills.overdue(config, context.clock()))
    yield Probe("pool", config.storage.dataset.partition("/")[0], lambda: storage.pool(context, None))
    for area, look in inputs.more:
        yield Probe(area, area, partial(look, config))


def _of_target(cache: storage.StorageCache, target: Target) -> Iterator[Probe]:
    yield Probe("targets", target.name, lambda: machines.target(cache, target), far=True)
    place = f"{target.name}:{target.dataset}"
    yield Probe("pool", place, lambda: storage.pool(cache.context, target))


# --- running it -------------------------------------------------------------------------------------


def doctor(inputs: DoctorInputs, names: Sequence[str] = (), only: Sequence[str] = ()) -> Report:
    """Every probe's findings, or those of some areas. Exit 4 when one is an error, 13 for damage."""
    started = inputs.clock()
    areas = (*AREAS, *dict(inputs.more))
    if unknown := sorted(set(only) - set(areas)):
        raise UsageError(f"no such area: {', '.join(unknown)}", f"areas are {', '.join(areas)}")
    probes = [one for one in _probes(inputs, names) if not only or one.area in only]
    asked = inputs.config.asked_at_once if inputs.config else 4
    with ThreadPoolExecutor(max_workers=max(4, asked)) as pool:
        found = list(pool.map(lambda probe: _looked(inputs, probe), probes))
    outcomes = list(_merged(list(_once([one for some in found for one in some]))))
    status, code = inspect(outcomes)
    if status is Status.CONFLICT:  # it was only looked at: an error like the others
        status, code = Status.FAILED, Exit.FAILED
    server = inputs.config.name if inputs.config else "zborg"
    return Report("doctor", new_run(started), server, started, inputs.clock(), status, code, tuple(outcomes))


def _probes(inputs: DoctorInputs, names: Sequence[str]) -> Iterator[Probe]:
    """Those that wait for other machines first: the others are done meanwhile."""
    config, context = inputs.config, inputs.context
    if config is None or context is None:
        yield from _here(inputs)
        return
    cache = storage.StorageCache(context, config)
    for host in _hosts(inputs, config, names):
        yield Probe(
            "hosts", host.name, partial(machines.host, cache, host, inputs.accepted_variables), far=True
        )
    if not (config.hosts or config.storage.received or inputs.mistakes):
        yield Probe("hosts", "hosts", partial(_nobody, config))
    for target in config.targets:
        yield from _of_target(cache, target)
    if not (config.targets or config.storage.received or inputs.mistakes):
        yield Probe("targets", "targets", lambda: [machines.no_target(config)])
    yield from _here(inputs)
    yield from _configured(inputs, cache, config)


def _hosts(inputs: DoctorInputs, config: Config, names: Sequence[str]) -> Iterable[Host]:
    """One whose table has a mistake is no unknown one: the mistake is reported."""
    if inputs.mistakes:
        return [host for host in config.hosts if not names or host.name in names]
    return select_hosts(config, names)


def _nobody(config: Config) -> Iterator[Finding]:
    found = nobody(config)
    yield Finding(found.subject, found.status, found.message, found.remedy)


def _looked(inputs: DoctorInputs, probe: Probe) -> list[Looked]:
    """Only what waits for another machine is shown while it lasts."""
    emit = inputs.context.emit if inputs.context and probe.far else lambda _: None
    emit(Started(probe.subject, "asked"))
    try:
        found = [Looked(_outcome(probe, finding)) for finding in probe.look()]
    except Exception as error:
        found = [Looked(_with_commands(outcome_of(probe.area, probe.subject, error)), asked=False)]
    emit(Finished(probe.subject))
    return found


def _outcome(probe: Probe, finding: Finding) -> Outcome:
    return _with_commands(
        Outcome(probe.area, finding.subject, finding.level, finding.message, finding.remedy)
    )


def _with_commands(outcome: Outcome) -> Outcome:
    """`commands` of the JSON form are those of the remedy."""
    _, commands = remedy.parse(outcome.remedy)
    return outcome.noting(commands=tuple(commands)) if commands else outcome


# The order in which a reader meets them: what all else depends on comes first.
AREAS = (
    "config",
    "state",
    "keys",
    "programs",
    "zfs",
    "pool",
    "storage",
    "properties",
    "repositories",
    "serving",
    "ledger",
    "off-site",
    "hosts",
    "targets",
    "schedule",
)


def _once(found: Sequence[Looked]) -> Iterator[Outcome]:
    """What several probes met alike, a storage that is down, is reported by the first area alone."""
    seen = set()
    for one in sorted(found, key=lambda one: _rank(one.outcome.kind)):
        key = (one.outcome.subject if one.asked else "", one.outcome.message)
        if key not in seen:
            seen.add(key)
            yield one.outcome


def _rank(area: str) -> int:
    return AREAS.index(area) if area in AREAS else len(AREAS)


def _merged(found: Sequence[Outcome]) -> Iterator[Outcome]:
    """By area, one line for all hosts that are well: who has two hundred wants to see the others."""
    areas = [*AREAS, *dict.fromkeys(one.kind for one in found if one.kind not in AREAS)]
    for area in areas:
        some = [one for one in found if one.kind == area]
        well = [one for one in some if one.status is Status.OK]
        if area == "hosts" and well:
            yield _together(well)
            some = [one for one in some if one.status is not Status.OK]
        yield from some


def _together(well: Sequence[Outcome]) -> Outcome:
    answer = "answers with its pinned key" if len(well) == 1 else "answer with their pinned keys"
    words = f"{counted(len(well), 'host')} {answer}"
    result = WellHosts(hosts={one.subject: one.message for one in well})
    return Outcome("hosts", "hosts", Status.OK, words, result=result)
