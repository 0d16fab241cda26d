"""The shape of zborg.toml: what may be written, and the messages for what may not.

cattrs does the checking and shows all mistakes at once; here are the shapes, the parsers of single
values, and the walk that gives each mistake its key path.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, NewType

from zborg.config.notify import NOTIFY_VALUES, Digest, NewsKind, NotifyUrl, PingUrl, SubjectTemplate, Textfile
from zborg.model import CHOSEN, Notify
from zborg.model.keys import is_host_key

if TYPE_CHECKING:
    from cattrs import Converter

Duration = NewType("Duration", int)  # seconds, written "26h"
SshUrl = NewType("SshUrl", str)
HostKey = NewType("HostKey", str)
DatasetName = NewType("DatasetName", str)
TunnelKind = NewType("TunnelKind", str)
AdapterName = NewType("AdapterName", str)  # of ZFS
WallName = NewType("WallName", str)
ReversePort = NewType("ReversePort", int)  # 0, written "auto": another one for each run
SshdAddress = NewType("SshdAddress", str)
Size = NewType("Size", int)  # bytes, written "1G" as in zfs
Rate = NewType("Rate", int)  # bytes a second, written "50MiB/s"
LogKind = NewType("LogKind", str)
Recipient = NewType("Recipient", str)  # a public key of age

_POWERS = {"K": 10, "M": 20, "G": 30, "T": 40}
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
URL = re.compile(
    r"ssh://(?P<user>[a-z_][\w.-]*)@(?P<address>\[[0-9A-Fa-f:.]+(%\w+)?\]|[\w.-]+)(:(?P<port>\d{1,5}))?",
    re.ASCII,
)
_SSHD = re.compile(r"(\[[0-9A-Fa-f:.]+(%\w+)?\]|[\w.-]+):(?P<port>[0-9]{1,5})", re.ASCII)
_RECIPIENT = re.compile(r"age1[a-z0-9]{10,200}")
_DATASET = re.compile(r"[A-Za-z][\w.:-]*(/[\w.:-]+)*", re.ASCII)


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
    parallel: int = 4
    timeout: Duration = Duration(23 * 3600)
    # Longer than the longest hook that an agent allows by default (an hour), during which nothing moves.
    stalled_after: Duration = Duration(90 * 60)
    window: Duration = Duration(6 * 3600)
    allow_partial: bool = False
    retries: int = 2
    jitter: Duration = Duration(0)
    prune_every: Duration = Duration(7 * 86400)
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


@dataclass(frozen=True, eq=False, repr=False)
class RawScrub:
    max_age: Duration = Duration(35 * 86400)
    full_warning: int = 80
    full_failed: int = 95


@dataclass(frozen=True, eq=False, repr=False)
class RawEscrow:
    custodians: list[Recipient] = field(default_factory=list)


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
        converter.register_structure_hook(kind, _exactly)
    converter.register_structure_hook_func(lambda kind: kind == list[str], _texts)
    for new_type, parse in (
        (Duration, _duration),
        (Size, size_of),
        (Rate, rate_of),
        (SshUrl, _ssh_url),
        (HostKey, _host_key),
        (DatasetName, _dataset),
        (TunnelKind, _one_of("stdio", "reverse")),
        (AdapterName, _one_of("auto", "libzfs", "commands")),
        (WallName, _one_of("auto", "require")),
        (LogKind, _one_of("auto", "journal", "file", "none")),
        (SshdAddress, _sshd),
        (Recipient, _recipient),
        *NOTIFY_VALUES,
    ):
        converter.register_structure_hook(new_type, _parsing(parse))
    converter.register_structure_hook(ReversePort, lambda value, _: _reverse_port(value))
    return converter


def _exactly(value: Any, kind: type) -> Any:
    if type(value) is not kind:
        words = {str: "a text in quotes", int: "a whole number", bool: "true or false"}
        raise ValueError(f"must be {words[kind]}, not {_shown(value) if kind is str else repr(value)}")
    if isinstance(value, int) and value < 0:
        raise ValueError(f"must be 0 or more, not {value}")
    return value


def _texts(value: Any, _: type) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise ValueError(f"must be a list of texts in quotes, not {_shown(value)}")
    return value


def _shown(value: object) -> str:
    """A number; of what may be or hold a password only what it is."""
    kinds: dict[type, str] = {str: "a text", list: "a list", dict: "a table"}
    return kinds.get(type(value)) or repr(value)


def _parsing(parse: Any) -> Any:
    return lambda value, _: parse(_exactly(value, str))


def _duration(text: str) -> int:
    found = re.fullmatch(r"([0-9]{1,6})([smhdw])", text)
    if not found:
        raise ValueError(f'must be a duration such as "26h" or "35d", not {text!r}')
    return int(found[1]) * _UNITS[found[2]]


def rate_of(text: str) -> int:
    """Bytes a second. Raises ValueError, with an example, for any other text."""
    found = re.fullmatch(r"([0-9]{1,6})([KMG])iB/s", text)
    if not found or not int(found[1]):
        raise ValueError(f'must be a rate such as "50MiB/s", not {text!r}')
    return int(found[1]) << 10 * (1 + "KMG".index(found[2]))


def size_of(text: str) -> int:
    """Bytes, of a size as zfs writes it. Raises ValueError."""
    found = re.fullmatch(r"([0-9]{1,6})([KMGT]?)", text)
    if not found:
        raise ValueError(f'must be a size such as "500M" or "10G", not {text!r}')
    return int(found[1]) << _POWERS.get(found[2], 0)


def _ssh_url(text: str) -> str:
    found = URL.fullmatch(text)
    if not found or not 1 <= int(found["port"] or 22) <= 65535:
        raise ValueError(f"must be ssh://user@address:port, not {text!r}")
    return text


def _host_key(text: str) -> str:
    if not is_host_key(text):
        raise ValueError(
            'must be a public host key such as "ssh-ed25519 AAAA...", as in /etc/ssh/ssh_host_ed25519_key.pub'
        )
    return text


def _dataset(text: str) -> str:
    if not _DATASET.fullmatch(text):
        raise ValueError(f'must be a ZFS dataset such as "tank/borg", not {text!r}')
    return text


def _one_of(*words: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in words:
            *others, last = (f'"{word}"' for word in words)
            raise ValueError(f"must be {', '.join(others)} or {last}, not {text!r}")
        return text

    return parse


def _sshd(text: str) -> str:
    found = _SSHD.fullmatch(text)
    if not found or not 1 <= int(found["port"]) <= 65535:
        raise ValueError(f'must be address:port such as "127.0.0.1:22", not {text!r}')
    return text


def _reverse_port(value: Any) -> int:
    if value == "auto":
        return 0
    if type(value) is not int or not 1 <= value <= 65535:
        raise ValueError(f'must be a port such as 64064, or "auto", not {value!r}')
    return value


def _recipient(text: str) -> str:
    if text.upper().startswith("AGE-SECRET-KEY"):  # not to be shown again in a log
        raise ValueError('must be a public key ("age1..."), and is a secret one: take it away from here')
    if not _RECIPIENT.fullmatch(text):
        raise ValueError(f'must be a public key of age such as "age1...", not {text!r}')
    return text


# --- every problem with its key path ----------------------------------------------------------------------


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
