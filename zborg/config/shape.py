"""The shape of zborg.toml: what may be written, and the messages for what may not.

cattrs does the checking and shows all mistakes at once; here are the shapes, and the walk that gives each
mistake its key path.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, NewType

from zborg.config.notify import NOTIFY_VALUES, Digest, NewsKind, NotifyUrl, PingUrl, SubjectTemplate, Textfile
from zborg.config.values import (
    at_once,
    dataset_name,
    duration_of,
    exactly,
    host_key,
    one_of,
    parsing,
    rate_of,
    recipient,
    reverse_port,
    size_of,
    ssh_url,
    sshd_address,
    texts,
)
from zborg.model import CHOSEN, Notify

if TYPE_CHECKING:
    from cattrs import Converter

Duration = NewType("Duration", int)  # seconds, written "26h"
SshUrl = NewType("SshUrl", str)
HostKey = NewType("HostKey", str)
DatasetName = NewType("DatasetName", str)
TunnelKind = NewType("TunnelKind", str)
AdapterName = NewType("AdapterName", str)  # of ZFS
WallName = NewType("WallName", str)
AtOnce = NewType("AtOnce", int)  # 0, written "auto": found while hosts are at work
ReversePort = NewType("ReversePort", int)  # 0, written "auto": another one for each run
SshdAddress = NewType("SshdAddress", str)
Size = NewType("Size", int)  # bytes, written "1G" as in zfs
Rate = NewType("Rate", int)  # bytes a second, written "50MiB/s"
LogKind = NewType("LogKind", str)
Recipient = NewType("Recipient", str)  # a public key of age


@dataclass(frozen=True, eq=False, repr=False)
class RawStorage:
    dataset: DatasetName
    ssh: SshUrl | None = None
    host_key: HostKey | None = None
    identity: str | None = None
    serve_identity: str = "/etc/zborg/serve_ed25519"
    user: str = "zborg-serve"
    borg: str = "borg"
    min_free: Size = Size(1 << 30)
    slack: Size = Size(1 << 30)
    quota: Size = Size(0)
    received: bool = False
    zfs: AdapterName = AdapterName("auto")
    wall: WallName = WallName("auto")


@dataclass(frozen=True, eq=False, repr=False)
class RawBackup:
    parallel: AtOnce = AtOnce(0)
    timeout: Duration = Duration(23 * 3600)
    # Longer than the longest hook that an agent allows by default (an hour), during which nothing moves.
    stalled_after: Duration = Duration(90 * 60)
    window: Duration = Duration(6 * 3600)
    allow_partial: bool = False
    retries: int = 2
    jitter: Duration = Duration(0)
    prune_every: Duration = Duration(7 * 86400)
    compact_every: Duration = Duration(7 * 86400)
    quarantine: Duration = Duration(14 * 86400)
    freeze_on_anomaly: bool = False
    verify_every: Duration = Duration(30 * 86400)
    drill_every: Duration = Duration(7 * 86400)
    drill_max_age: Duration = Duration(35 * 86400)
    tunnel: TunnelKind = TunnelKind("stdio")


@dataclass(frozen=True, eq=False, repr=False)
class RawReverse:
    port: ReversePort = ReversePort(64064)  # the one of qb.backup
    sshd: SshdAddress = SshdAddress("127.0.0.1:22")


@dataclass(frozen=True, eq=False, repr=False)
class RawKeep:
    last: int = 0
    within: Duration = Duration(0)
    hourly: int = 0
    daily: int = 0
    weekly: int = 0
    monthly: int = 0
    yearly: int = 0


@dataclass(frozen=True, eq=False, repr=False)
class RawSnapshots:
    keep: RawKeep = field(default_factory=RawKeep)
    max_age: Duration = Duration(26 * 3600)


@dataclass(frozen=True, eq=False, repr=False)
class RawTarget:
    ssh: SshUrl
    host_key: HostKey
    dataset: DatasetName
    identity: str | None = None
    max_age: Duration = Duration(26 * 3600)
    bandwidth_limit: Rate = Rate(0)
    max_unreplicated_age: Duration = Duration(30 * 86400)
    max_unreplicated_space: Size = Size(0)
    read_user: str = "zborg-read"
    read_identity: str = ""


@dataclass(frozen=True, eq=False, repr=False)
class RawScrub:
    max_age: Duration = Duration(35 * 86400)
    full_warning: int = 80
    full_failed: int = 95


@dataclass(frozen=True, eq=False, repr=False)
class RawEscrow:
    custodians: list[Recipient] = field(default_factory=list)
    prove_every: Duration = Duration(0)


@dataclass(frozen=True, eq=False, repr=False)
class RawNotify:
    urls: list[NotifyUrl] = field(default_factory=list)
    on: list[NewsKind] = field(default_factory=lambda: [NewsKind(one) for one in CHOSEN])
    subject: SubjectTemplate = SubjectTemplate(Notify().subject)
    command: list[str] = field(default_factory=list)
    ping: dict[str, PingUrl] = field(default_factory=dict)
    digest: Digest = Digest("")
    timeout: Duration = Duration(60)
    secrets: str = ""


@dataclass(frozen=True, eq=False, repr=False)
class RawMetrics:
    textfile: Textfile = Textfile("")


@dataclass(frozen=True, eq=False, repr=False)
class RawLog:
    to: LogKind = LogKind("auto")
    file: str = "zborg.log"


@dataclass(frozen=True, eq=False, repr=False)
class RawHost:
    ssh: SshUrl
    host_key: HostKey
    identity: str | None = None
    max_age: Duration = Duration(26 * 3600)
    timeout: Duration | None = None
    stalled_after: Duration | None = None
    tunnel: TunnelKind | None = None
    reverse_port: ReversePort | None = None
    min_files: int = 1
    shrink: int = 50
    prunes: bool = False


@dataclass(frozen=True, eq=False, repr=False)
class Raw:
    """The whole file, before names and references are checked."""

    storage: RawStorage
    name: str = "zborg"
    state_dir: str = "/var/lib/zborg"
    identity: str = "/etc/zborg/id_ed25519"
    include: list[str] = field(default_factory=list)
    backup: RawBackup = field(default_factory=RawBackup)
    reverse: RawReverse = field(default_factory=RawReverse)
    snapshots: RawSnapshots = field(default_factory=RawSnapshots)
    scrub: RawScrub = field(default_factory=RawScrub)
    escrow: RawEscrow = field(default_factory=RawEscrow)
    notify: RawNotify = field(default_factory=RawNotify)
    metrics: RawMetrics = field(default_factory=RawMetrics)
    log: RawLog = field(default_factory=RawLog)
    targets: dict[str, RawTarget] = field(default_factory=dict)
    hosts: dict[str, RawHost] = field(default_factory=dict)


class Misshapen(ValueError):
    """Raised with every mistake found, one line each."""

    def __init__(self, problems: tuple[str, ...]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


def structure(table: dict[str, Any]) -> Raw:
    """The table as a Raw. Raises Misshapen."""
    from cattrs.errors import BaseValidationError

    try:
        return _converter().structure(table, Raw)
    except BaseValidationError as error:
        raise Misshapen(tuple(_problems(error, ""))) from error


def _converter() -> Converter:
    """cattrs, strict: TOML has types, so a number is not a string and "yes" is not true."""
    from cattrs import Converter

    converter = Converter(detailed_validation=True, forbid_extra_keys=True)
    for kind in (str, int, bool):
        converter.register_structure_hook(kind, exactly)
    converter.register_structure_hook_func(lambda kind: kind == list[str], texts)
    for new_type, parse in (
        (Duration, duration_of),
        (Size, size_of),
        (Rate, rate_of),
        (SshUrl, ssh_url),
        (HostKey, host_key),
        (DatasetName, dataset_name),
        (TunnelKind, one_of("stdio", "reverse")),
        (AdapterName, one_of("auto", "libzfs", "commands")),
        (WallName, one_of("auto", "require")),
        (LogKind, one_of("auto", "journal", "file", "none")),
        (SshdAddress, sshd_address),
        (Recipient, recipient),
        *NOTIFY_VALUES,
    ):
        converter.register_structure_hook(new_type, parsing(parse))
    converter.register_structure_hook(AtOnce, lambda value, _: at_once(value))
    converter.register_structure_hook(ReversePort, lambda value, _: reverse_port(value))
    return converter


# --- every problem with its key path ------------------------------------------------------------------------


def _problems(error: BaseException, path: str) -> Iterator[str]:
    """Walk cattrs' tree of exceptions; its notes carry the names on the way."""
    from cattrs.errors import BaseValidationError, ForbiddenExtraKeysError

    if isinstance(error, BaseValidationError):
        for child in error.exceptions:
            note = _note(child)
            yield from _problems(child, f"{path}.{note}".strip(".") if note else path)
    elif isinstance(error, ForbiddenExtraKeysError):
        for key in sorted(error.extra_fields):
            yield f"{path}.{key}".strip(".") + f": is not known{_suggestion(key, error.cl)}"
    elif isinstance(error, KeyError):
        yield f"{path}: is missing"
    else:
        yield f"{path}: {_expectation(error)}"


def _note(error: BaseException) -> str:
    from cattrs.errors import AttributeValidationNote, IterableValidationNote

    for note in getattr(error, "__notes__", ()):
        if isinstance(note, AttributeValidationNote):
            return str(note.name)
        if isinstance(note, IterableValidationNote):
            return str(note.index)
    return ""


def _expectation(error: BaseException) -> str:
    return str(error) if type(error) is ValueError else "must be a table, [like] = this"


def _suggestion(key: str, cl: type) -> str:
    known = [f.name for f in fields(cl)]
    near = difflib.get_close_matches(key, known, n=1)
    return f"; did you mean {near[0]}?" if near else f"; known here: {', '.join(known)}"
