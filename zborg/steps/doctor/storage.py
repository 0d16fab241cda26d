"""doctor's probes of the storage: ZFS, datasets and their properties, repositories, pools, `borg serve`."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from zborg.borg.storage.confine import confine
from zborg.borg.storage.repository import KNOWN_FORMS, RepositoryConfig, configs, unknown_form
from zborg.config import Config
from zborg.errors import ZborgError
from zborg.model import Dataset, Finding, Host, Outcome, Runner, Status, Target
from zborg.model.text.remedy import remedy
from zborg.planning import clocks
from zborg.planning.doctor import storage as judge
from zborg.planning.doctor import walls
from zborg.planning.doctor.memory import auto_finding, memory_finding
from zborg.planning.doctor.remote import keyed_here, other_form
from zborg.planning.doctor.storage import StorageFacts, place_of
from zborg.planning.doctor.this_machine import or_fine, program
from zborg.state.locks import Locks
from zborg.steps.backup.auto import memory_of, room_of
from zborg.steps.context import Context
from zborg.steps.doctor import accounts
from zborg.steps.doctor.this_machine import zfs_of
from zborg.steps.escrow.facts import escrow_of
from zborg.steps.mounts import wanted
from zborg.steps.restore.leftovers import findings
from zborg.steps.scrub import judged, pool_of
from zborg.zfs import argv

_LISTING = 600.0
_CHUNK = 100  # datasets per command
_TREE = 64 << 20  # bytes, of paths


class StorageCache:
    """What several probes need of the storage, asked for once, whatever the number of hosts."""

    def __init__(self, context: Context, config: Config) -> None:
        self.context = context
        self.escrow = escrow_of(config)  # the context's own state directory is a scratch one
        self._guard = threading.RLock()  # the configs ask for the datasets
        self._known: dict[str, Any] = {}

    def datasets(self) -> dict[str, Dataset]:
        """By name. Raises when the pool cannot be asked."""
        found: dict[str, Dataset] = self._once("datasets", self._datasets)
        return found

    def configs(self) -> dict[str, RepositoryConfig]:
        """By host, what counts in its repository's `config`; without hosts that have none here."""
        found: dict[str, RepositoryConfig] = self._once("configs", self._configs)
        return found

    def features(self) -> dict[str, str]:
        """Of the storage's pool, by name: active, enabled or disabled."""
        root = self.context.config.storage.dataset
        found: dict[str, str] = self._once("features", lambda: features(self.context.storage.runner, root))
        return found

    def homes(self) -> dict[str, Host]:
        """Hosts by the place of their repository, where that is mounted."""
        config, found = self.context.config, self.datasets()
        there = ((found.get(config.storage.dataset_of(host.name)), host) for host in config.hosts)
        return {one.mountpoint: host for one, host in there if one and one.mounted and one.mountpoint}

    def _once(self, name: str, ask: Callable[[], Any]) -> Any:
        """The same answer for all, and the same error: who is down is not waited for again and again."""
        with self._guard:
            if name not in self._known:
                try:
                    self._known[name] = ask()
                except ZborgError as error:
                    self._known[name] = error
            known = self._known[name]
        if isinstance(known, ZborgError):
            raise known
        return known

    def _datasets(self) -> dict[str, Dataset]:
        root = self.context.config.storage.dataset
        found = {one.name: one for one in self.context.storage.zfs.datasets(root)}
        if not found:
            self.context.storage.zfs.pool(pool_of(root))  # a pool that is not there lists as nothing
        return found

    def _configs(self) -> dict[str, RepositoryConfig]:
        homes = self.homes()
        found = configs(self.context.storage.runner, list(homes))
        return {homes[home].name: config for home, config in found.items()}


def adapter(context: Context, words: str) -> Iterable[Finding]:
    """Which adapter speaks to ZFS and why, which release; and whether the storage's clock is ours."""
    zfs = zfs_of(context.config, context.storage.runner)
    bad = list(program(zfs))
    if apart := clocks.apart("the storage", context.storage.zfs.clock(), context.clock()):
        bad.append(Finding("storage", Status.WARNING, apart, clocks.REMEDY))
    return or_fine(bad, "zfs", f"{words}; {zfs.version}")


def places(cache: StorageCache) -> Iterable[Finding]:
    """Whether the datasets are there and mounted, and the reserve is in place."""
    context, storage = cache.context, cache.context.config.storage
    reserve = next(iter(context.storage.zfs.datasets(storage.reserve)), None) if storage.slack else None
    reserved = settings(context.storage.runner, [storage.reserve], ["refreservation"]) if reserve else {}
    hosts = {host.name: storage.dataset_of(host.name) for host in context.config.hosts}
    refreservation = reserved.get(storage.reserve, {}).get("refreservation", "")
    found = cache.datasets()
    at = wanted(storage, found.get(storage.dataset))
    there = [found[name] for name in hosts.values() if name in found]
    odd = [one.name for one in there if not one.mounted or one.mountpoint != at.place(one.name)]
    mountings = {name: context.storage.zfs.mounting(name) for name in odd}
    return judge.storage(StorageFacts(storage, found, hosts, reserve, refreservation, mountings, at.machine))


def scratch(cache: StorageCache, config: Config) -> Iterable[Finding]:
    """What killed restores left in the pool. The context's own locks are scratch ones."""
    locks = Locks(config.state_dir / "locks", "zborg doctor")
    place = config.storage.scratch
    found = list(findings(config, locks, cache.context.storage.zfs.datasets(place)))
    return or_fine(found, place, "holds nothing of a restore that was killed")


def properties(cache: StorageCache) -> Iterable[Finding]:
    """Whether ZFS's properties of the datasets are what zborg init sets."""
    storage, found = cache.context.config.storage, cache.datasets()
    hosts = [storage.dataset_of(host.name) for host in cache.context.config.hosts]
    there = [name for name in (storage.dataset, *hosts) if name in found]
    asked = settings(cache.context.storage.runner, there, judge.STORED)
    return judge.stored(storage, asked) if there else ()


def settings(runner: Runner, datasets: Sequence[str], keys: Sequence[str]) -> dict[str, dict[str, str]]:
    """Native properties as they are in force, by dataset; one command per 100 datasets."""
    found: dict[str, dict[str, str]] = {}
    for start in range(0, len(datasets), _CHUNK):
        names = datasets[start : start + _CHUNK]
        text = runner.run(argv.values(",".join(keys), *names), timeout=_LISTING).stdout
        values = text.split("\n")[:-1]
        if len(values) != len(names) * len(keys):
            raise ZborgError(f"zfs get told {len(values)} values of {len(names) * len(keys)}")
        for number, name in enumerate(names):
            found[name] = dict(zip(keys, values[number * len(keys) :], strict=False))
    return found


def features(runner: Runner, dataset: str) -> dict[str, str]:
    """The features of a dataset's pool, by name without `feature@` (zpool-features(7))."""
    text = runner.run(argv.pool_features(pool_of(dataset)), timeout=_LISTING).stdout
    rows = (line.split("\t") for line in text.split("\n"))
    return {row[0].removeprefix("feature@"): row[1] for row in rows if len(row) == 2 and "feature@" in row[0]}


# --- repositories -----------------------------------------------------------------------------------


def repositories(cache: StorageCache) -> Iterable[Finding]:
    """Whose they are on the storage, and whether one holds its own key. Two commands for all."""
    storage, homes = cache.context.config.storage, cache.homes()
    bad = list(_owned(cache.context, homes)) if homes else []
    for host in homes.values():
        known = cache.configs()[host.name]
        if known.version not in KNOWN_FORMS:
            bad.append(other_form(host, storage.dataset_of(host.name), unknown_form(known.version)))
        if known.has_key:  # repokey's; a keyfile stays on the host
            bad.append(keyed_here(host, storage.dataset_of(host.name), storage.dataset))
    words = "each is root's, for `borg serve` to add to and not to throw away; none holds its key"
    return or_fine(bad, "repositories", words) if homes else ()


def _owned(context: Context, homes: Mapping[str, Host]) -> Iterator[Finding]:
    """As borg/storage/confine.py makes it: see there why; and whether all in there is its account's."""
    storage = context.config.storage
    owners: dict[str, int] = {}
    for account in dict.fromkeys(storage.account_of(host) for host in homes.values()):
        some = [home for home, host in homes.items() if storage.account_of(host) == account]
        for home, owned in confine(context.storage.runner, some, account, look=True).items():
            owners[home] = owned.uid
            if owned.changed:
                del owners[home]
                yield walls.unconfined(homes[home].name, home, account)
    if owners:
        yield from _unwritable(context, homes, owners)


def _unwritable(context: Context, homes: Mapping[str, Host], owners: Mapping[str, int]) -> Iterator[Finding]:
    """What the account of a `borg serve` has to write in and cannot: all but root's `config`. One command."""
    strange = ["-type", "d", "!", "-perm", "-0300", "-o", "!", "-perm", "-0400"]
    for home, uid in owners.items():
        strange += ["-o", "-path", f"{home}/*", "!", "-user", str(uid)]
    inside = ["-mindepth", "1", "-maxdepth", "3", "!", "-name", "config", "!", "-type", "l"]
    listed = context.storage.runner.run(
        ["find", *owners, *inside, "(", *strange, ")"], timeout=_LISTING, max_bytes=_TREE
    )
    found = listed.stdout.split("\n")[:-1]
    for home, uid in owners.items():
        if mine := [path for path in found if path.startswith(f"{home}/")]:
            yield walls.unwritable(homes[home].name, home, mine, uid, place_of(context.config.storage))


def memory(cache: StorageCache) -> Iterable[Finding]:
    """Of the machine that runs `borg serve`, where its memory is known."""
    context, config = cache.context, cache.context.config
    machine = str(config.storage.endpoint or "this machine")
    if not config.parallel:
        yield auto_finding(machine, room_of(context, config.hosts, cache.datasets()))
    elif (found := memory_of(context)) is not None:
        yield memory_finding(machine, config.parallel, found, str(config.path))


def serving(cache: StorageCache) -> Iterable[Finding]:
    """One host stands for all, as in init: the account, its forced command and borg are the same for each.

    Of a storage that cannot be asked, or has no repository's place mounted, others report.
    """
    context = cache.context
    yield from _keys(context)
    yield from walls.behind_sshd([host.name for host in context.config.hosts if host.reverse])
    try:
        served = [host for host in cache.homes().values() if host.reverse is None]
    except ZborgError:
        return
    if not served:
        return
    try:
        wall = context.tunnel.try_serve(served[0].name)
    except ZborgError as error:
        if error.retryable:  # the way there, which other probes report
            raise
        fix = error.remedy or remedy("zborg init", first="README, Setting up, has the storage's side; then:")
        yield Finding("borg serve", Status.FAILED, f"it cannot be started: {error.message}", fix)
        return
    yield walls.serving(served[0].name, wall, str(context.config.storage.endpoint or ""))


def _keys(context: Context) -> Iterable[Finding]:
    """Of the account in which an sshd starts `borg serve`, if there is one."""
    storage = context.config.storage
    if storage.endpoint or any(host.reverse for host in context.config.hosts):
        yield from accounts.keys(
            context.storage.runner, storage.user, storage.endpoint.address if storage.endpoint else ""
        )


# --- pools ------------------------------------------------------------------------------------------


def pool(context: Context, target: Target | None) -> Iterable[Finding]:
    """As `zborg scrub` judges it: health, errors, capacity, the last scrub's age."""
    root = target.dataset if target else context.config.storage.dataset
    zfs = context.target(target).zfs if target else context.storage.zfs
    name = pool_of(root)
    subject = f"{target.name}:{name}" if target else name
    outcome = judged(subject, zfs.pool(name), context.config, context.clock())
    yield _finding(outcome)


def _finding(outcome: Outcome) -> Finding:
    return Finding(outcome.subject, outcome.status, outcome.message, outcome.remedy)
