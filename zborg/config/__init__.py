"""zborg.toml <-> frozen dataclasses, every mistake in it reported at once.

The file is read in three steps: TOML (files.py), shape (shape.py), sense (names, cross references).
Every mistake of the first step that has any is shown, each with its file and key path.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field, replace
from pathlib import Path

from zborg.config.files import Tables, read, together
from zborg.config.shape import Misshapen, Raw, RawHost, RawNotify, RawStorage, structure
from zborg.config.values import URL
from zborg.errors import UsageError
from zborg.model import (
    ANNOUNCED,
    Endpoint,
    Host,
    News,
    Notify,
    Policy,
    Reverse,
    Storage,
    Target,
)
from zborg.model.machines import Fullness, name_problem

_ACCOUNT = re.compile(r"[a-z_][\w.-]*", re.ASCII)
_ASKED = 16  # an ssh and a thread each
_LONGEST_NOTIFY = 600  # seconds
_SPEAKABLE = re.compile(r"[\w./@+=,:-]+")


@dataclass(frozen=True, slots=True)
class Config:
    """All that zborg.toml says. Hosts and targets are in the order of the file."""

    path: Path
    name: str
    state_dir: Path
    storage: Storage
    parallel: int  # hosts that are backed up at once; 0: found while they are
    allow_partial: bool
    retries: int  # how often a host is tried again after a connection error
    jitter: int  # seconds; each host waits at most this long, by chance, before its connection
    prune_every: int  # seconds between two prunes of a host; 0 never
    verify_every: int  # seconds in which each repository is read whole; 0 never by itself
    drill_every: int  # seconds in which each host reads a sample of its backup again; 0 never by itself
    drill_max_age: int  # seconds after which the last drill of a host is too old
    keep: Policy
    snapshot_max_age: int  # seconds after which the last snapshot, or rotation, is overdue
    scrub_max_age: int  # seconds
    targets: tuple[Target, ...]
    hosts: tuple[Host, ...]
    identity: str = "/etc/zborg/id_ed25519"  # the private key where no other is named
    include: tuple[str, ...] = ()  # patterns of drop-ins, from the file's folder
    fullness: Fullness = Fullness()  # of pools
    log: str = "none"  # or journal, file, auto
    log_file: Path = Path("zborg.log")
    custodians: tuple[str, ...] = ()  # age's public keys, for whom a new host's key is sealed
    prove_every: int = 0  # seconds from one proof of a sealed key to the next, 0: none is asked for
    notify: Notify = field(default_factory=Notify)
    metrics: Path | None = None  # the textfile for node_exporter
    compact_every: int = 0  # seconds between two compactions of a repository; 0: only when asked to
    quarantine: int = 14 * 86400  # seconds for which the snapshot before a compaction is held
    freeze_on_anomaly: bool = False  # a night that is far from usual keeps the host's snapshots
    window: int = 0  # seconds after which a night goes on without the hosts still at work, 0 never

    @property
    def asked_at_once(self) -> int:
        """How many hosts are asked at once by what only asks."""
        return self.parallel or _ASKED


def find(given: str | None) -> Path:
    """--config, else ZBORG_CONFIG, else ./zborg.toml if the caller owns it, else /etc/zborg/zborg.toml."""
    if chosen := given or os.environ.get("ZBORG_CONFIG"):
        return Path(chosen)
    here = Path("zborg.toml")
    if here.exists() and here.stat().st_uid == os.geteuid():
        return here.absolute()
    return Path("/etc/zborg/zborg.toml")


def load(path: Path) -> Config:
    """Read the file and its includes. Raises ConfigError with every problem found."""
    tables, errors = read(path)
    if errors:
        raise together(errors, path)
    return checked(tables)


def checked(tables: Tables) -> Config:
    """What the tables of all files say together. Raises Mistakes."""
    try:
        return _made(structure(tables.table), tables)
    except Misshapen as error:
        raise tables.mistakes(error.problems) from error


def _made(raw: Raw, tables: Tables) -> Config:
    path = tables.path
    problems = [
        f"{table}.{name}: {problem}"
        for table, names in (("hosts", raw.hosts), ("targets", raw.targets))
        for name in names
        if (problem := name_problem(name))
    ]
    if raw.storage.ssh and not raw.storage.host_key:
        problems.append("storage.host_key: is missing (storage.ssh needs it)")
    problems += [
        f'hosts.{name}.prunes: only goes with tunnel = "reverse": other hosts prune when zborg asks them to'
        for name, host in raw.hosts.items()
        if host.prunes and not _is_reverse(host, raw)
    ]
    problems += [
        f'hosts.{name}.reverse_port: only goes with tunnel = "reverse"'
        for name, host in raw.hosts.items()
        if host.reverse_port is not None and not _is_reverse(host, raw)
    ]
    zfs_key = path.parent / (raw.storage.identity or raw.identity)
    if raw.storage.ssh and path.parent / raw.storage.serve_identity == zfs_key:
        problems.append(
            "storage.serve_identity: must be another key than the one for zfs: it can only `borg serve`"
        )
    if raw.storage.ssh and raw.storage.zfs == "libzfs":
        problems.append('storage.zfs: "libzfs" reaches this machine alone, and storage.ssh names another')
    if raw.storage.received and raw.hosts:
        problems.append("hosts: cannot stand beside storage.received: what is received has another server")
    if 0 < raw.storage.quota <= raw.storage.min_free:
        problems.append("storage.quota: must be more than min_free, or no backup of a new host ever begins")
    if not raw.scrub.full_warning <= raw.scrub.full_failed <= 100:
        problems.append(
            "scrub.full_failed: must be between full_warning and 100, "
            f"not {raw.scrub.full_failed} with {raw.scrub.full_warning}"
        )
    problems += [
        f"hosts.{name}.shrink: is a percentage, 0 to 100, not {host.shrink}"
        for name, host in raw.hosts.items()
        if host.shrink > 100
    ]
    problems += [
        f"targets.{name}.read_user: is no account's name: {target.read_user!r}"
        for name, target in raw.targets.items()
        if not _ACCOUNT.fullmatch(target.read_user)
    ]
    problems += _notify_problems(raw.notify)
    config = _build(raw, path)
    if problems := problems or _unspeakable(config):
        raise tables.mistakes(problems)
    return config


def _notify_problems(raw: RawNotify) -> list[str]:
    known = ", ".join(ANNOUNCED)
    problems = [
        f"notify.ping.{name}: is no command with a notification: {known}"
        for name in raw.ping
        if name not in ANNOUNCED
    ]
    if raw.command and not raw.command[0].startswith("/"):
        problems.append(f"notify.command: must begin with a path from /, not {raw.command[0]!r}")
    if not 1 <= raw.timeout <= _LONGEST_NOTIFY:
        problems.append('notify.timeout: must be between "1s" and "10m": the next command waits for it')
    if not raw.secrets and any("${" in url for url in (*raw.urls, *raw.ping.values())):
        problems.append("notify.secrets: is missing (a ${NAME} needs it)")
    return problems


def _unspeakable(config: Config) -> list[str]:
    """ssh splits its options at blanks and expands % and $ in them: these paths are among them."""
    endpoints = [host.endpoint for host in config.hosts] + [target.endpoint for target in config.targets]
    endpoints += [one for one in (config.storage.endpoint, config.storage.serving) if one]
    paths = dict.fromkeys(["state_dir"], str(config.state_dir))
    paths |= {f"identity {one.identity}": one.identity for one in endpoints}
    return [
        f"{key}: ssh cannot be given a path with other characters than letters, digits and ._/@+=,:-"
        for key, value in paths.items()
        if not _SPEAKABLE.fullmatch(value)
    ]


def _build(raw: Raw, path: Path) -> Config:
    k, timeout, here = raw.snapshots.keep, raw.backup.timeout, path.parent
    return Config(
        path=path,
        name=raw.name,
        state_dir=here / raw.state_dir,
        storage=_storage(raw.storage, here, raw.identity),
        parallel=raw.backup.parallel,
        allow_partial=raw.backup.allow_partial,
        retries=raw.backup.retries,
        jitter=raw.backup.jitter,
        prune_every=raw.backup.prune_every,
        compact_every=raw.backup.compact_every,
        quarantine=raw.backup.quarantine,
        freeze_on_anomaly=raw.backup.freeze_on_anomaly,
        verify_every=raw.backup.verify_every,
        drill_every=raw.backup.drill_every,
        drill_max_age=raw.backup.drill_max_age,
        keep=Policy(
            last=k.last,
            hourly=k.hourly,
            daily=k.daily,
            weekly=k.weekly,
            monthly=k.monthly,
            yearly=k.yearly,
            within=k.within,
        ),
        snapshot_max_age=raw.snapshots.max_age,
        scrub_max_age=raw.scrub.max_age,
        fullness=Fullness(raw.scrub.full_warning, raw.scrub.full_failed),
        targets=tuple(
            Target(
                name,
                _endpoint(t.ssh, t.host_key, here / (t.identity or raw.identity)),
                t.dataset,
                t.max_age,
                t.bandwidth_limit,
                t.read_user,
                t.max_unreplicated_age,
                t.max_unreplicated_space,
                str(here / t.read_identity) if t.read_identity else "",
            )
            for name, t in raw.targets.items()
        ),
        hosts=tuple(
            Host(
                name,
                _endpoint(h.ssh, h.host_key, here / (h.identity or raw.identity)),
                h.max_age,
                timeout if h.timeout is None else h.timeout,
                _reverse(h, raw),
                min_files=h.min_files,
                shrink=h.shrink,
                stalled_after=raw.backup.stalled_after if h.stalled_after is None else h.stalled_after,
                prunes=h.prunes,
            )
            for name, h in raw.hosts.items()
        ),
        identity=str(here / raw.identity),
        include=tuple(raw.include),
        log=raw.log.to,
        log_file=here / raw.state_dir / raw.log.file,
        custodians=tuple(raw.escrow.custodians),
        prove_every=raw.escrow.prove_every,
        notify=_notify(raw.notify, here),
        metrics=Path(raw.metrics.textfile) if raw.metrics.textfile else None,
        window=raw.backup.window,
    )


def _notify(raw: RawNotify, here: Path) -> Notify:
    return Notify(
        urls=tuple(raw.urls),
        on=frozenset(News(one) for one in raw.on),
        subject=raw.subject,
        command=tuple(raw.command),
        pings=dict(raw.ping),
        digest=bool(raw.digest),
        timeout=raw.timeout,
        secrets=str(here / raw.secrets) if raw.secrets else "",
    )


def _is_reverse(host: RawHost, raw: Raw) -> bool:
    return (host.tunnel or raw.backup.tunnel) == "reverse"


def _reverse(host: RawHost, raw: Raw) -> Reverse | None:
    if not _is_reverse(host, raw):
        return None
    return Reverse(raw.reverse.port if host.reverse_port is None else host.reverse_port, raw.reverse.sshd)


def _storage(raw: RawStorage, here: Path, identity: str) -> Storage:
    local = Storage(
        raw.dataset,
        None,
        raw.user,
        raw.borg,
        min_free=raw.min_free,
        slack=raw.slack,
        quota=raw.quota,
        received=raw.received,
        zfs=raw.zfs,
        wall=raw.wall,
    )
    if not raw.ssh:
        return local
    endpoint = _endpoint(raw.ssh, raw.host_key or "", here / (raw.identity or identity))
    serving = replace(endpoint, user=raw.user, identity=str(here / raw.serve_identity))
    return replace(local, endpoint=endpoint, serving=serving)


def endpoint_of(url: str, host_key: str, identity: str) -> Endpoint:
    """Of words from a command line. Raises UsageError."""
    found = URL.fullmatch(url)
    if not found or not 1 <= int(found["port"] or 22) <= 65535:
        raise UsageError(f"{url} is not ssh://user@address:port", "as in ssh://root@web1.example.net:22")
    return _endpoint(url, host_key, Path(identity))


def _endpoint(url: str, host_key: str, identity: Path) -> Endpoint:
    found = URL.fullmatch(url)
    assert found is not None  # _ssh_url has seen it
    return Endpoint(
        found["user"], found["address"].strip("[]"), int(found["port"] or 22), host_key, str(identity)
    )
