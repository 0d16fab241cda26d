"""init: the state directory, the server's key, the storage dataset and one child per host.

Idempotent: what is there is left as it is, and reported. Nothing else in zborg creates a dataset of
the storage, so that a typing error in zborg.toml cannot start a second, empty history.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

from zborg.borg.storage.confine import confine
from zborg.errors import Busy, ZborgError
from zborg.model import Dataset, Endpoint, Host, Outcome, Report, Runner, Status, Storage
from zborg.model.events import Warned
from zborg.model.results import KeyMade, Result
from zborg.model.text.remedy import command, remedy
from zborg.model.text.units import size
from zborg.planning.doctor import walls
from zborg.steps.context import Context, StepRun, outcome_of, select_hosts
from zborg.steps.ledger.store import make as make_ledger
from zborg.steps.mounts import check_mounted, wanted

# borg writes files of up to 500 MiB once and reads them whole; nobody runs or accesses them otherwise.
_STORAGE = {
    "atime": "off",
    "exec": "off",
    "setuid": "off",
    "devices": "off",
    "recordsize": "1M",
    "compression": "lz4",
}


_NO_SLACK = "free space in the pool and run zborg init again, or set slack under [storage]"


def init(run: StepRun, names: Sequence[str] = ()) -> Report:
    """Make what is missing. The first saved report is since when this server is in use."""
    hosts = select_hosts(run.context.config, names)
    if run.dry_run:
        return run.planned(_plan(run, hosts))
    return run.recorded(_init(run, hosts))


def _init(run: StepRun, hosts: Sequence[Host]) -> list[Outcome]:
    context = run.context
    # Who sits in a folder with another zborg.toml must see that before a dataset is made.
    context.emit(Warned("config", f"this is what {context.config.path} asks for"))
    outcomes = [make_key(context.here, identity, context.config.name) for identity in identities(context)]
    if any(outcome.status is Status.FAILED for outcome in outcomes):
        return outcomes
    keys = {one.subject: one.result for one in outcomes if isinstance(one.result, KeyMade)}
    made = {identity: key.public for identity, key in keys.items() if key.made}
    if lines := _lines(context.config.storage, made):
        return [*outcomes, _hand_out(context.config.storage, lines)]
    try:
        outcomes += make_datasets(run, hosts, context.config.storage.quota)
        if not context.config.storage.received:  # what is received has its sender's ledger with it
            outcomes += make_ledger(run)
        outcomes += _slack(context)
        outcomes += _brought(context)
        # Those with a reverse tunnel reach their repository through the server's sshd instead.
        served = [host for host in hosts if host.reverse is None]
        outcomes += [_served(context, host.name) for host in served[:1]]
    except ZborgError as error:
        outcomes.append(outcome_of("storage", context.config.storage.dataset, error))
    return outcomes


def _brought(context: Context) -> Iterator[Outcome]:
    """On a storage elsewhere `borg serve` is started by files of ours."""
    where = context.config.storage.endpoint
    if where is None:
        return
    try:
        written = context.tunnel.bring(context.storage.runner)
    except ZborgError as error:
        yield replace(outcome_of("storage", "zborg-serve", error), status=Status.WARNING)
        return
    words = f"{', '.join(written)} written" if written else "is this version's"
    yield Outcome("storage", "zborg-serve", Status.OK, f"on {where}: {words}")


def _served(context: Context, name: str) -> Outcome:
    """One host stands for all: the account, its forced command and borg are the same for each."""
    try:
        wall = context.tunnel.try_serve(name)
    except ZborgError as error:
        fix = "README, When the pool is on another machine" if context.config.storage.endpoint else ""
        failed = outcome_of("storage", "borg serve", error)
        return replace(
            failed, remedy=failed.remedy or fix or "is borg installed there? See [storage] in zborg.toml"
        )
    found = walls.serving(name, wall, str(context.config.storage.endpoint or ""))
    return Outcome("storage", found.subject, found.level, found.message, found.remedy)


def _lines(storage: Storage, made: Mapping[str, str]) -> dict[Endpoint, str]:
    """What each account of the storage gets into its authorized_keys, for those keys that are new."""
    if not storage.endpoint or not storage.serving:
        return {}
    forced = f"/usr/local/libexec/zborg-serve /{storage.dataset} /{storage.scratch}"
    lines = {
        storage.endpoint: f"restrict {made.get(storage.endpoint.identity)}",
        storage.serving: f'restrict,command="{forced}" {made.get(storage.serving.identity)}',
    }
    return {where: line for where, line in lines.items() if where.identity in made}


def _hand_out(storage: Storage, lines: Mapping[Endpoint, str]) -> Outcome:
    """A key that was made a moment ago opens no door yet."""
    whose = ", ".join(f"line {number} is {where.user}'s" for number, where in enumerate(lines, 1))
    return Outcome(
        "storage",
        storage.dataset,
        Status.WARNING,  # the rest of init is still to do
        f"not looked at: the new key has to reach {storage.endpoint} first",
        remedy(
            "zborg init",
            first=f"append to authorized_keys there: {whose}; with the datasets' mountpoints in it; then:",
        ),
        Result(commands=tuple(lines.values())),
    )


def identities(context: Context) -> tuple[str, ...]:
    """Every private key that zborg.toml names, each once; without hosts also the one they will need."""
    config = context.config
    default = [] if config.hosts else [config.identity]
    endpoints = [h.endpoint for h in config.hosts] + [t.endpoint for t in config.targets]
    endpoints += [one for one in (config.storage.endpoint, config.storage.serving) if one]
    return tuple(dict.fromkeys([*default, *(e.identity for e in endpoints)]))


def _plan(run: StepRun, hosts: Sequence[Host]) -> list[str]:
    context = run.context
    keys = [f"make the key {path}" for path in identities(context) if not Path(path).exists()]
    if keys and context.config.storage.endpoint:
        return [*keys, f"look at {context.config.storage.endpoint} once the key is known there"]
    existing = _existing(run)
    missing = [f"create {name}" for name in _wanted(run, hosts) if name not in existing]
    storage = context.config.storage
    if storage.slack and not context.storage.zfs.datasets(storage.reserve):
        missing.append(f"create {storage.reserve}, which keeps {size(storage.slack)} of the pool free")
    if not storage.received and not context.storage.zfs.datasets(storage.ledger):
        missing.append(f"create {storage.ledger}, for the ledger")
    return [*keys, *missing] or ["nothing is missing"]


def make_key(local: Runner, identity: str, server: str) -> Outcome:
    """Make an SSH key pair unless it is there. Its outcome has the public half."""
    public = Path(f"{identity}.pub")
    if Path(identity).exists():
        return Outcome(
            "key", identity, Status.OK, "is there", result=KeyMade(public=_text(public), made=False)
        )
    try:
        Path(identity).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        local.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", f"zborg@{server}", "-f", identity])
    except (OSError, ZborgError) as error:
        return Outcome("key", identity, Status.FAILED, f"cannot make the key: {error}")
    text = _text(public)
    message = f"made; its public half is in {public}"
    return Outcome("key", identity, Status.OK, message, result=KeyMade(public=text, made=True))


def _text(path: Path) -> str:
    return path.read_text().strip() if path.exists() else ""


def _wanted(run: StepRun, hosts: Sequence[Host]) -> list[str]:
    storage = run.context.config.storage
    return [storage.dataset, *(storage.dataset_of(host.name) for host in hosts)]


def _existing(run: StepRun) -> dict[str, Dataset]:
    return {d.name: d for d in run.context.storage.zfs.datasets(run.context.config.storage.dataset)}


Hold = Callable[[str], AbstractContextManager[object]]


def make_datasets(
    run: StepRun, hosts: Sequence[Host], quota: int, hold: Hold | None = None
) -> Iterator[Outcome]:
    """The storage's dataset and the hosts', a new host's with its quota, each given to its host's own number.

    `hold` is how a host's lock is taken; a caller that has it already says so.
    """
    context, existing = run.context, _existing(run)
    root, *children = _wanted(run, hosts)
    for name in (root, *children):
        if name not in existing:
            limit = {"quota": str(quota)} if quota else {}
            context.storage.zfs.create(name, _STORAGE if name == root else limit)
    context.storage.zfs.hide_snapshots(root, *children)  # borg takes `.zfs` for a file that is in its way
    given = _hand_over(run, hosts, hold or context.locks.hold)
    for name in (root, *children):
        words = "is there" if name in existing else "created"
        if name in given and (name in existing or given[name].status is not Status.OK):
            yield replace(given[name], message=f"{words}, {given[name].message}")
        else:
            yield Outcome("dataset", name, Status.OK, words)


def _slack(context: Context) -> Iterator[Outcome]:
    """An empty dataset with a reservation: root's way out of a full pool, which no host can use up."""
    storage = context.config.storage
    if not storage.slack:
        return
    words = "is there"
    if not context.storage.zfs.datasets(storage.reserve):
        retained = {"mountpoint": "none", "canmount": "off", "refreservation": str(storage.slack)}
        try:
            context.storage.zfs.create(storage.reserve, retained)
        except ZborgError as error:
            yield replace(
                outcome_of("dataset", storage.reserve, error), status=Status.WARNING, remedy=_NO_SLACK
            )
            return
        words = f"created, keeps {size(storage.slack)} of the pool free"
    yield Outcome("dataset", storage.reserve, Status.OK, words)


def _hand_over(run: StepRun, hosts: Sequence[Host], hold: Hold) -> dict[str, Outcome]:
    """Each dataset is its host's alone to write in (borg/storage/confine.py). What was done, by dataset.

    Looked at in all of them, because an init that was killed may have left one as it was made, and one from
    before hosts had numbers of their own has files of the shared account. They change under the host's lock.
    """
    context, storage = run.context, run.context.config.storage
    names = {storage.dataset_of(host.name): host for host in hosts}
    homes = _homes(run, list(names))
    done = {name: _unprepared(name) for name in names.keys() - set(homes.values())}
    by_account: dict[str, list[str]] = {}
    for home, name in homes.items():
        by_account.setdefault(storage.account_of(names[name]), []).append(home)
    for account, some in by_account.items():
        for home, owned in confine(context.storage.runner, some, account, look=True).items():
            if owned.changed:
                name = homes[home]
                done[name] = _given(run, names[name], home, hold)
    return done


def _unprepared(name: str) -> Outcome:
    """Skipped, and so reported: a backup would be refused."""
    fix = remedy(command("zfs", "mount", name), command("zborg", "init"), first="on the storage, then here:")
    return Outcome("dataset", name, Status.WARNING, "but not mounted: it is not prepared for a backup", fix)


def _given(run: StepRun, host: Host, home: str, hold: Hold) -> Outcome:
    """A backup that is at work goes on, and changes nothing: the next one, or init, does it."""
    context, storage = run.context, run.context.config.storage
    name, account = storage.dataset_of(host.name), storage.account_of(host)
    try:
        with hold(f"host-{host.name}"):
            owned = confine(context.storage.runner, [home], account)[home]
    except Busy as error:
        words = f"its files stay whose they are until its backup has ended ({error.message})"
        return Outcome("dataset", name, Status.WARNING, words, command("zborg", "init", host.name))
    return Outcome("dataset", name, Status.OK, f"now for {account or f'number {owned.uid}'} to write in")


def _homes(run: StepRun, names: Sequence[str]) -> dict[str, str]:
    """Datasets by mountpoint. What is not mounted is left alone: its directory is on another disk."""
    existing = _existing(run)
    homes = {}
    for name in names:
        dataset = existing[name]
        root = existing.get(run.context.config.storage.dataset)
        place = wanted(run.context.config.storage, root).place(name)
        if dataset.mounted or dataset.mountpoint != place:
            homes[check_mounted(run.context, dataset, root)] = name
    return homes
