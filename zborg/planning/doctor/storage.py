"""What doctor says of datasets: where they are, how they are set, and who may do what with them. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from zborg.model import Dataset, Finding, Status, Storage, Target
from zborg.model.storage.grants import EVERYONE, Grant
from zborg.model.storage.mounting import Mounting, Wanted, reason
from zborg.model.storage.mounting import remedy as mount_remedy
from zborg.model.text.remedy import command, on, remedy
from zborg.model.text.units import counted, size
from zborg.planning.doctor.this_machine import or_fine

Settings = Mapping[str, Mapping[str, str]]  # by dataset: its native properties as `zfs get -p` has them

# What a repository's dataset is asked for.
STORED = (
    "readonly",
    "checksum",
    "sync",
    "compression",
    "recordsize",
    "atime",
    "dedup",
    "exec",
    "setuid",
    "devices",
    "snapdir",
    "quota",
    "refquota",
)
# What the parent of received copies is asked for.
RECEIVED = (
    "mountpoint",
    "canmount",
    "readonly",
    "volmode",
    "quota",
    "snapshot_limit",
    "filesystem_limit",
)
SMALL_RECORD = 128 << 10
_NONE = ("0", "none", "-", "18446744073709551615")  # how a limit that is not set is printed

# One row each: the property, the value that is wrong, how bad it is, why, and what to set instead.
_WRONG = (
    ("readonly", "on", Status.FAILED, "no backup can be written", "off"),
    ("checksum", "off", Status.FAILED, "ZFS cannot notice damage", "on"),
    ("sync", "disabled", Status.FAILED, "a power cut takes back what borg was told is written", "standard"),
    ("compression", "off", Status.WARNING, "the last record of every file takes a whole one", "lz4"),
    ("atime", "on", Status.WARNING, "every reading writes", "off"),
    ("dedup", "on", Status.WARNING, "encrypted data never repeats, and its table eats memory", "off"),
    ("exec", "on", Status.WARNING, "nothing in a repository is ever run", "off"),
    ("setuid", "on", Status.WARNING, "hosts choose what lies there", "off"),
    ("devices", "on", Status.WARNING, "hosts choose what lies there", "off"),
    ("snapdir", "visible", Status.WARNING, ".zfs in a new dataset looks like somebody's files", "hidden"),
)
_PARENT = (
    ("mountpoint", "none", "what is received could mount over a live system"),
    ("canmount", "off", "what is received could mount over a live system"),
    ("readonly", "on", "a copy that is written to takes no increment any more"),
)
_LIMITS = (
    ("quota", "4T", "fill the pool"),
    ("snapshot_limit", "20000", "fill it with snapshots"),
    ("filesystem_limit", "200", "fill it with datasets"),
)

# With these an account could lose what was received, or reach further than its parent.
DANGEROUS = frozenset(
    {
        *("allow", "canmount", "change-key", "destroy", "exec", "filesystem_limit", "mountpoint", "promote"),
        *("quota", "readonly", "refquota", "refreservation", "release", "rename", "reservation", "rollback"),
        *("setuid", "sharenfs", "sharesmb", "snapshot_limit", "volmode", "zoned"),
    }
)


# Features of a pool that a stream may need at the other end: `zfs receive` refuses a stream without them.
STREAMED = (
    *("embedded_data", "encryption", "extensible_dataset", "large_blocks", "large_dnode", "large_microzap"),
    *("longname", "lz4_compress", "redacted_datasets", "redaction_list_spill", "zstd_compress"),
)


def place_of(storage: Storage) -> str:
    """The machine on which the storage's commands are typed; "" for this one."""
    return f"the storage ({storage.endpoint.address})" if storage.endpoint else ""


# --- the storage ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class StorageFacts:
    """`places`: where each host's dataset has to be mounted, by dataset. `reserve` None: it is not there."""

    storage: Storage
    datasets: Mapping[str, Dataset]
    hosts: Mapping[str, str]  # name to dataset
    reserve: Dataset | None
    reserved: str  # the reserve's refreservation
    mountings: Mapping[str, Mounting] = field(default_factory=dict)  # of what is not mounted at its place
    machine: str = "this machine"


def storage(facts: StorageFacts) -> tuple[Finding, ...]:
    """Whether each host's dataset is there, mounted at its place, and whether the reserve keeps room back."""
    root = facts.storage.dataset
    if root not in facts.datasets:
        return (Finding(root, Status.FAILED, "the storage's dataset does not exist", "zborg init"),)
    bad = [*(f for name in facts.hosts.values() for f in _child(name, facts)), *_slack(facts)]
    words = f"{root}: {counted(len(facts.hosts), 'dataset')} of hosts, each mounted at its place, with room"
    if not facts.hosts:
        words = f"{root} is there, and zborg.toml names no host yet"
    return or_fine(bad, "storage", words)


def _child(name: str, facts: StorageFacts) -> Iterator[Finding]:
    child, root = facts.datasets.get(name), facts.datasets[facts.storage.dataset]
    host = name.rpartition("/")[2]
    if child is None:
        yield Finding(name, Status.FAILED, f"there is no dataset for {host}", command("zborg", "init", host))
        return
    wanted = Wanted(facts.machine, root.name, root.mountpoint)
    if found := facts.mountings.get(name):
        words = f"{reason(found, wanted)}: no backup is taken, so that none lands on the disk below"
        yield Finding(name, Status.FAILED, words, mount_remedy(found, wanted))
    if child.available < facts.storage.min_free:
        left, least = size(child.available), size(facts.storage.min_free)
        look = command("zfs", "list", "-o", "space,quota,refquota", name)
        fix = remedy(look, first="README, When the storage is full, has the ways; what takes the room:")
        yield Finding(name, Status.FAILED, f"{left} left, less than min_free = {least}", fix)


def _slack(facts: StorageFacts) -> Iterator[Finding]:
    wanted, name = facts.storage.slack, facts.storage.reserve
    if not wanted:
        return
    if facts.reserve is None:
        words = f"nothing keeps {size(wanted)} of the pool back: a full one could not even be tidied"
        yield Finding(name, Status.WARNING, words, "zborg init")
    elif not facts.reserved.isdigit() or int(facts.reserved) < wanted:
        words = f"it keeps less than slack = {size(wanted)} back"
        yield Finding(
            name,
            Status.WARNING,
            words,
            at(place_of(facts.storage), _set("refreservation", str(wanted), name)),
        )


def stored(storage: Storage, settings: Settings) -> tuple[Finding, ...]:
    """How the repositories' datasets are set. What they inherit is reported once, of the root."""
    where = place_of(storage)
    bad = [f for name in settings for f in _settings(name, settings, storage.dataset, where)]
    bad += _unlimited(storage.dataset, settings, where)
    good = "checksum, sync, compression, recordsize, atime and the others suit borg; every host has a quota"
    return or_fine(bad, "properties", good)


def _settings(name: str, settings: Settings, root: str, where: str) -> Iterator[Finding]:
    own, above = settings[name], settings.get(root, {})
    for key, wrong, level, why, right in _WRONG:
        if own.get(key) == wrong and (name == root or above.get(key) != wrong):
            yield Finding(name, level, f"{key}={wrong}: {why}", at(where, _set(key, right, name)))
    record = own.get("recordsize", "")
    if (
        record.isdigit()
        and int(record) < SMALL_RECORD
        and (name == root or above.get("recordsize") != record)
    ):
        words = f"recordsize={record}: segments of 500 MiB become millions of blocks"
        yield Finding(name, Status.WARNING, words, at(where, _set("recordsize", "1M", name)))


def _unlimited(root: str, settings: Settings, where: str) -> Iterator[Finding]:
    free = [
        name
        for name, own in settings.items()
        if name != root and all(own.get(key, "-") in _NONE for key in ("quota", "refquota"))
    ]
    if free:
        words = f"no quota: {_names(free)} could fill the pool of all"
        lines = [_set("quota", "500G", one) for one in free]
        yield Finding(root, Status.WARNING, words, at(where, *lines))


def features(source: Mapping[str, str], there: Mapping[str, str], target: Target) -> Iterator[Finding]:
    """What is in use on the storage's pool and a stream may need, and the target's pool does not have."""
    used = [name for name in STREAMED if source.get(name) == "active"]
    pool = target.dataset.partition("/")[0]
    if off := [name for name in used if there.get(name) == "disabled"]:
        words = f"pool {pool} of {target.name} has {', '.join(off)} disabled, which is in use here"
        lines = [command("zpool", "set", f"feature@{name}=enabled", pool) for name in off]
        yield Finding(
            target.name, Status.WARNING, f"{words}: a stream may be refused", on(target.name, *lines)
        )
    if unknown := [name for name in used if name not in there]:
        words = f"OpenZFS on {target.name} does not know {', '.join(unknown)}, which is in use here"
        fix = f"upgrade OpenZFS on {target.name}"
        yield Finding(target.name, Status.WARNING, f"{words}: a stream may be refused", fix)


def _set(key: str, value: str, dataset: str) -> str:
    return command("zfs", "set", f"{key}={value}", dataset)


def at(machine: str, *lines: str) -> str:
    """Commands for a machine; "" is this one."""
    return on(machine, *lines) if machine else remedy(*lines)


def _names(datasets: Sequence[str]) -> str:
    short = [name.rpartition("/")[2] for name in datasets]
    rest = len(short) - 5
    return ", ".join(short[:5]) + (f" and {rest} more" if rest > 0 else "")


# --- a parent of copies -----------------------------------------------------------------------------


def parent(root: str, found: Mapping[str, str], where: str, *, limits: bool) -> Iterator[Finding]:
    """Of the dataset below which is received. `found` is what could be asked; `where` the machine, or ""."""
    for key, right, why in _PARENT:
        if key in found and found[key] != right:
            words = f"{key} of {root} is {found[key]}, not {right}: {why}"
            yield Finding(root, Status.FAILED, words, at(where, _set(key, right, root)))
    for key, some, what in _LIMITS if limits else ():
        if found.get(key, "") in _NONE:
            words = f"{key} of {root} is not set: a server in wrong hands could {what}"
            yield Finding(root, Status.WARNING, words, at(where, _set(key, some, root)))


@dataclass(frozen=True, slots=True)
class Account:
    """Who receives: its rights, and what it has to have."""

    user: str
    root: str
    grants: Sequence[Grant]
    groups: Sequence[str]  # of the user; () when not known
    wanted: frozenset[str]  # the least that it needs
    append_known: bool | None  # whether `zfs allow` there knows receive:append; None: not asked
    line: str  # the zfs allow that gives it just that


def delegation(account: Account, where: str) -> tuple[Finding, ...]:
    """Too much is an error wherever it comes from; too little keeps streams out."""
    bad = [f for grant in account.grants for f in _too_much(grant, account, where)]
    held = frozenset[str]().union(*(g.permissions for g in account.grants if _counts(g, account)))
    lacking = account.wanted - held - ({"receive:append"} if "receive" in held else set())
    if lacking:
        words = f"{account.user} has no {', '.join(sorted(lacking))} on {account.root}"
        bad.append(Finding(account.root, Status.FAILED, words, at(where, account.line)))
    words = f"{account.user} may {', '.join(sorted(account.wanted))} on {account.root} and no more"
    return or_fine([*bad, *_coarse(account, held, where)], account.root, words)


def _coarse(account: Account, held: Iterable[str], where: str) -> Iterator[Finding]:
    """`receive` is enough to destroy, by `receive -F`; younger releases have a word for less."""
    if "receive" not in held:
        return
    words = f"{account.user} holds receive on {account.root}: enough to destroy snapshots by receive -F"
    if account.append_known is False:
        known = "and this OpenZFS does not know receive:append, so the sink is the only wall"
        yield Finding(
            account.root, Status.WARNING, f"{words}, {known}", f"upgrade OpenZFS on {where or 'this machine'}"
        )
        return
    given = next((g for g in account.grants if "receive" in g.permissions and _counts(g, account)), None)
    dataset = given.dataset if given else account.root
    fix = at(where, *([_unallow(given, {"receive"})] if given else []), account.line)
    yield Finding(dataset, Status.FAILED, words, fix)


def _counts(grant: Grant, account: Account) -> bool:
    if grant.dataset != account.root and not grant.below:
        return False
    return (
        grant.kind == EVERYONE
        or (grant.kind == "user" and grant.who == account.user)
        or (grant.kind == "group" and grant.who in account.groups)
    )


def _too_much(grant: Grant, account: Account, where: str) -> Iterator[Finding]:
    """Of anybody but root: who may destroy there is as bad whatever its name."""
    if grant.dataset != account.root and not grant.below:
        return
    bad = grant.permissions & DANGEROUS
    whose = f"{grant.kind} {grant.who}".strip()
    if bad:
        words = f"{whose} may {', '.join(sorted(bad))} on {grant.dataset}: copies could be lost"
        yield Finding(grant.dataset, Status.FAILED, words, at(where, _unallow(grant, bad)))
    extra = grant.permissions - DANGEROUS - account.wanted - {"receive", "receive:append", "send"}
    if extra and _counts(grant, account):
        words = f"{whose} may {', '.join(sorted(extra))} on {grant.dataset}, which no sender needs"
        yield Finding(grant.dataset, Status.WARNING, words, at(where, _unallow(grant, extra)))


def _unallow(grant: Grant, permissions: Collection[str]) -> str:
    """What came by a set goes with that set: the kernel knows no half of one."""
    named = sorted(set(permissions) & grant.given) or sorted(w for w in grant.given if w.startswith("@"))
    flags = {"user": ("-u", grant.who), "group": ("-g", grant.who), EVERYONE: ("-e",)}[grant.kind]
    return command("zfs", "unallow", *flags, ",".join(named), grant.dataset)
