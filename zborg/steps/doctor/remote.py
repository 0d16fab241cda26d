"""doctor's probes of other machines, and of an off-site's own door: hosts, targets, delegation, sink."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable, Iterator, Sequence

from zborg.config import Config
from zborg.errors import CommandFailed, SinkRefused, ZborgError
from zborg.model import Dataset, Endpoint, Finding, Host, Runner, Status, Target
from zborg.model.codes.lines import sink_code
from zborg.model.storage.grants import Grant
from zborg.model.text.remedy import command, on, remedy
from zborg.planning import clocks
from zborg.planning.doctor import remote as judge
from zborg.planning.doctor import storage as limits
from zborg.planning.doctor.remote import DoorFacts, HostFacts
from zborg.planning.doctor.storage import Account
from zborg.steps.context import Context
from zborg.steps.doctor.accounts import home_of, keys
from zborg.steps.doctor.storage import StorageCache, features, settings
from zborg.zfs import argv, delegation
from zborg.zfs.names import dataset as checked
from zborg.zfs.output import allowed
from zborg.zfs.sink import HELLO, HERE

AcceptedVariables = Callable[[str, Endpoint, Sequence[str]], tuple[str, ...]]

SINK = "zborg-sink"  # the account that the documents make
_ASKING = 60.0
_ANSWER = 1 << 20


# --- hosts ------------------------------------------------------------------------------------------


def host(cache: StorageCache, one: Host, accepted_variables: AcceptedVariables) -> Iterable[Finding]:
    """Two connections: one that runs nothing, and the agent's own answer as a backup would get it."""
    context = cache.context
    accepted = accepted_variables(one.name, one.endpoint, judge.SENT)
    if one.reverse:  # its forced command is a backup
        bad = tuple(judge.sent(one.name, accepted))
        return bad or (Finding(one.name, Status.OK, "lets our key in; its borgmatic was not run"),)
    output = context.tunnel.ask(one, "version")
    repository = _repository(cache, one)
    escrow = bool(context.config.custodians)
    sealed = bool(repository) and cache.escrow.is_sealed(one.name, repository or "")
    return judge.host(HostFacts(one, output, accepted, context.clock(), escrow, sealed, repository))


def _repository(cache: StorageCache, one: Host) -> str | None:
    """The id of what lies here for it, "" for nothing. None when that cannot be seen, which others report."""
    try:
        if all(one.name != host.name for host in cache.homes().values()):
            return None
        return cache.configs()[one.name].id
    except ZborgError:
        return None


# --- targets ----------------------------------------------------------------------------------------


def no_target(config: Config) -> Finding:
    """Allowed, and worth a warning: nobody forgets on purpose that all copies are in one place."""
    words = "no target is configured: an attacker on this storage could destroy every backup"
    first = f"a second ZFS machine goes under [targets] in {config.path}; docs/sink.md has all of it. Then:"
    return Finding("targets", Status.WARNING, words, remedy("zborg doctor --only targets", first=first))


def target(cache: StorageCache, one: Target) -> Iterable[Finding]:
    """Is it there, is its parent made so that nothing can mount, and what may we do there?"""
    context, where, root = cache.context, one.name, one.dataset
    zfs, runner = context.target(one).zfs, context.target(one).runner
    sink = _has_sink(runner)
    try:
        found = {dataset.name: dataset for dataset in zfs.datasets(root)}
    except SinkRefused:
        if not sink:
            raise
        return (_other_root(one),)
    if root not in found:
        zfs.pool(root.partition("/")[0])
        words = f"{root} does not exist there"
        return (Finding(one.name, Status.FAILED, words, limits.at(where, _make(root))),)
    apart = clocks.apart(f"target {one.name}", zfs.clock(), context.clock())
    bad = [Finding(one.name, Status.WARNING, apart, clocks.REMEDY)] if apart else []
    bad += limits.parent(root, _parent(runner, found[root], sink=sink), where, limits=not sink)
    bad += _mounted(one, found.values())
    if not sink:
        bad += _door_of(one, runner)
        bad += limits.features(cache.features(), features(runner, root), one)
    words = f"{root} is there, mounts nothing, and is reached {'through a sink' if sink else 'by delegation'}"
    if sink:
        words += ", which does not say what its pool can receive: compare zpool get all on both"
    return tuple(bad) or (Finding(one.name, Status.OK, words),)


def _make(root: str) -> str:
    wanted = ("mountpoint=none", "canmount=off", "readonly=on", "volmode=none")
    return command("zfs", "create", *(word for one in wanted for word in ("-o", one)), checked(root))


def _other_root(one: Target) -> Finding:
    """It answers, and lists something else."""
    words = (
        f"the sink on {one.name} refuses {one.dataset}: the forced command of our key names another dataset"
    )
    look = command("grep", "-n", "zborg sink", f"/home/{one.endpoint.user}/.ssh/authorized_keys")
    first = f"on {one.name}, as root: the line of our key ends in zborg sink {one.dataset}; what it is now:"
    return Finding(one.name, Status.FAILED, words, remedy(look, first=first))


def _has_sink(runner: Runner) -> bool:
    """A sink from before this question refuses it, and says who does."""
    try:
        return runner.run(HELLO, timeout=_ASKING, max_bytes=_ANSWER).stdout == HERE
    except CommandFailed as error:
        if sink_code(error.stderr):
            return True
        raise


def _parent(runner: Runner, found: Dataset, *, sink: bool) -> dict[str, str]:
    """Properties in force. A sink shows those that somebody set, there; that is where they have to be set."""
    if not sink:
        return settings(runner, [found.name], limits.RECEIVED)[found.name]
    listed = runner.run(argv.dataset_properties(found.name), timeout=600).stdout
    rows = (line.split("\t") for line in listed.split("\n"))
    own = {row[1]: row[2] for row in rows if len(row) == 3 and row[0] == found.name}
    properties = {key: own[key] for key in limits.RECEIVED if key in own}
    return {"mountpoint": found.mountpoint or "none", "canmount": "on", **properties}


def _mounted(one: Target, found: Iterable[Dataset]) -> Iterator[Finding]:
    for dataset in found:
        if dataset.mounted:
            words = f"{dataset.name} is mounted there: what is written to takes no increment any more"
            yield Finding(
                one.name, Status.FAILED, words, on(one.name, command("zfs", "unmount", dataset.name))
            )


def _door_of(one: Target, runner: Runner) -> Iterator[Finding]:
    """Without a sink: which rights the account has, and the lines for one with less."""
    system = runner.run(["uname", "-s"], timeout=_ASKING).stdout.strip()
    grants = _grants(runner, one.dataset)
    append = _knows_append(runner, grants)
    yield judge.open_door(one, delegation.lines(one.dataset, SINK, system, append=append is not False))
    if one.endpoint.user != "root":
        account = _account(runner, one.endpoint.user, one.dataset, grants, append=append)
        yield from (f for f in limits.delegation(account, one.name) if f.level is not Status.OK)
        yield from keys(runner, one.endpoint.user, one.name)


def _grants(runner: Runner, root: str) -> tuple[Grant, ...]:
    return allowed.grants(runner.run(allowed.argv(root), timeout=_ASKING, max_bytes=_ANSWER).stdout)


def _knows_append(runner: Runner, grants: Sequence[Grant]) -> bool | None:
    version = runner.run(allowed.VERSION, timeout=_ASKING, max_bytes=_ANSWER).stdout
    return allowed.knows_append(version, grants)


def _account(
    runner: Runner, user: str, root: str, grants: Sequence[Grant], *, append: bool | None
) -> Account:
    *_, line = delegation.lines(root, user, "", append=append is not False)
    wanted = frozenset(delegation.sink_permissions(append=append is not False))
    groups = tuple(runner.run(["id", "-Gn", user], timeout=_ASKING).stdout.split())
    return Account(user, root, grants, groups, wanted, append, line)


# --- an off-site's own door -------------------------------------------------------------------------


def off_site(context: Context) -> Iterable[Finding]:
    """Run on the off-site itself: its parent, what its accounts may do, and what their keys open."""
    root, runner = context.config.storage.dataset, context.storage.runner
    found = {dataset.name: dataset for dataset in context.storage.zfs.datasets(root)}
    if root not in found:
        context.storage.zfs.pool(root.partition("/")[0])
        return (Finding(root, Status.FAILED, f"{root} does not exist", _make(root)),)
    bad = list(limits.parent(root, settings(runner, [root], limits.RECEIVED)[root], "", limits=True))
    for dataset in found.values():
        if dataset.mounted:
            words = "it is mounted: what is written to takes no increment any more"
            bad.append(Finding(dataset.name, Status.FAILED, words, command("zfs", "unmount", dataset.name)))
    grants = _grants(runner, root)
    append = _knows_append(runner, grants)
    receivers = dict.fromkeys(one.who for one in grants if _receives(one))
    if not receivers:
        lines = delegation.lines(root, SINK, platform.system(), append=append is not False)
        fix = remedy(*lines, first="docs/sink.md has all of it; as root, it begins with:")
        bad.append(Finding(root, Status.FAILED, "no account may receive here", fix))
    for user in receivers:
        account = _account(runner, user, root, grants, append=append)
        bad += (f for f in limits.delegation(account, "") if f.level is not Status.OK)
        bad += _door(runner, user, root)
    for user in dict.fromkeys(one.who for one in grants if one.kind == "user"):
        bad += keys(runner, user)  # the reader's, too
    words = f"{', '.join(receivers)} may receive below {root} and do no more; its keys end in the sink"
    return tuple(dict.fromkeys(bad)) or (Finding(root, Status.OK, words),)


def _receives(grant: Grant) -> bool:
    return grant.kind == "user" and bool({"receive", allowed.APPEND} & grant.permissions)


def _door(runner: Runner, user: str, root: str) -> Iterator[Finding]:
    home = home_of(runner, user)
    if not home:
        words = f"there is no account {user}, and it may receive"
        yield Finding(user, Status.WARNING, words, delegation.lines(root, user, platform.system())[0])
        return
    path = f"{home.rstrip('/')}/.ssh/authorized_keys"
    open_ = ["find", "-L", path, "-prune", "(", "-perm", "-020", "-o", "-perm", "-002", ")"]
    try:
        lines = runner.run(["cat", path], timeout=_ASKING, max_bytes=_ANSWER).stdout.split("\n")
        loose = bool(runner.run(open_, timeout=_ASKING).stdout)
    except CommandFailed as error:
        if error.retryable:
            raise
        lines, loose = [], False  # it is not there
    yield from judge.door(DoorFacts(user, path, lines, loose, root))
