"""zborg.toml <-> frozen dataclasses.

The file is read in three steps: TOML (tomllib), shape (the `_Raw*` classes, cattrs), sense (names,
cross references). Every mistake of the first step that has any is shown, each with its key path.
Nothing is read from a file that somebody else could have written.
"""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, NewType

from zborg.errors import ConfigError
from zborg.hosts.keys import is_host_key
from zborg.model import NAME_PATTERN, Endpoint, Host, Policy, Storage, Target

if TYPE_CHECKING:
    from cattrs import Converter

Duration = NewType("Duration", int)  # seconds, written "26h"
SshUrl = NewType("SshUrl", str)
HostKey = NewType("HostKey", str)
DatasetName = NewType("DatasetName", str)

_IDENTITY = "/etc/zborg/id_ed25519"
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_URL = re.compile(
    r"ssh://(?P<user>[a-z_][\w.-]*)@(?P<address>\[[0-9a-f:.]+\]|[\w.-]+)(:(?P<port>\d{1,5}))?", re.ASCII
)
_DATASET = re.compile(r"[A-Za-z][\w.:-]*(/[\w.:-]+)*", re.ASCII)


# --- shape: what may be written, and what it means when it is not -----------------------------------


@dataclass(frozen=True)
class _RawStorage:
    dataset: DatasetName
    ssh: SshUrl | None = None
    host_key: HostKey | None = None
    identity: str = _IDENTITY
    user: str = "zborg-serve"
    borg: str = "borg"


@dataclass(frozen=True)
class _RawBackup:
    parallel: int = 4
    timeout: Duration = Duration(23 * 3600)
    allow_partial: bool = False


@dataclass(frozen=True)
class _RawKeep:
    last: int = 0
    within: Duration = Duration(0)
    hourly: int = 0
    daily: int = 0
    weekly: int = 0
    monthly: int = 0
    yearly: int = 0


@dataclass(frozen=True)
class _RawSnapshots:
    keep: _RawKeep = field(default_factory=_RawKeep)


@dataclass(frozen=True)
class _RawTarget:
    ssh: SshUrl
    host_key: HostKey
    dataset: DatasetName
    identity: str = _IDENTITY


@dataclass(frozen=True)
class _RawScrub:
    max_age: Duration = Duration(35 * 86400)


@dataclass(frozen=True)
class _RawHost:
    ssh: SshUrl
    host_key: HostKey
    identity: str = _IDENTITY
    max_age: Duration = Duration(26 * 3600)
    timeout: Duration | None = None


@dataclass(frozen=True)
class _Raw:
    storage: _RawStorage
    name: str = "zborg"
    state_dir: str = "/var/lib/zborg"
    include: list[str] = field(default_factory=list)
    backup: _RawBackup = field(default_factory=_RawBackup)
    snapshots: _RawSnapshots = field(default_factory=_RawSnapshots)
    scrub: _RawScrub = field(default_factory=_RawScrub)
    targets: dict[str, _RawTarget] = field(default_factory=dict)
    hosts: dict[str, _RawHost] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Config:
    """All that zborg.toml says. Hosts and targets are in the order of the file."""

    path: Path
    name: str
    state_dir: Path
    storage: Storage
    parallel: int
    allow_partial: bool
    keep: Policy
    scrub_max_age: int  # seconds
    targets: tuple[Target, ...]
    hosts: tuple[Host, ...]


# --- reading ------------------------------------------------------------------------------------------


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
    table = _read(path)
    for pattern in _patterns(table):
        for extra in _drop_ins(path, pattern):
            _merge_hosts(table, _read(extra), extra)
    return _checked(_structure(table, path), path)


def _read(path: Path) -> dict[str, Any]:
    try:
        _refuse_strangers(path)
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(
            f"{path} does not exist", "write one after the sample zborg.toml, or name it with --config"
        ) from None
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:  # no TOML, no UTF-8, a number of 5000 digits
        raise ConfigError(f"{path}: {error}", "see toml.io for the notation") from error


def _refuse_strangers(path: Path) -> None:
    """Who can write this file decides what runs as root."""
    facts = path.stat()
    if facts.st_mode & 0o022:
        raise ConfigError(f"{path} can be written by others", f"chmod go-w {path}")
    if facts.st_uid not in (0, os.geteuid()):
        raise ConfigError(f"{path} belongs to user {facts.st_uid}", f"chown root {path}")


def _patterns(table: Mapping[str, Any]) -> list[str]:
    given = table.get("include", [])
    return [p for p in given if isinstance(p, str)] if isinstance(given, list) else []


def _drop_ins(path: Path, pattern: str) -> list[Path]:
    try:
        return sorted(path.parent.glob(pattern))
    except (ValueError, NotImplementedError):
        raise _config_error(path, [f'include: must be like "hosts.d/*.toml", not {pattern!r}']) from None


def _merge_hosts(table: dict[str, Any], extra: dict[str, Any], path: Path) -> None:
    """A drop-in brings hosts and nothing else, and never replaces one."""
    problems = [f"{key}: only [hosts.NAME] may stand in a drop-in" for key in extra if key != "hosts"]
    hosts, more = table.setdefault("hosts", {}), extra.get("hosts", {})
    if isinstance(hosts, dict) and isinstance(more, dict):
        problems += [f"hosts.{name}: is defined twice" for name in more if name in hosts]
        hosts.update(more)
    else:
        problems.append("hosts: must be tables, [hosts.NAME]")
    if problems:
        raise _config_error(path, problems)


def _config_error(path: Path, problems: list[str]) -> ConfigError:
    count = "1 mistake" if len(problems) == 1 else f"{len(problems)} mistakes"
    return ConfigError(f"{path} has {count}", "mend the lines above and run again", tuple(problems))


def _structure(table: dict[str, Any], path: Path) -> _Raw:
    from cattrs.errors import BaseValidationError

    try:
        return _converter().structure(table, _Raw)
    except BaseValidationError as error:
        raise _config_error(path, list(_problems(error, ""))) from error


def _converter() -> Converter:
    """cattrs, strict: TOML has types, so a number is not a string and "yes" is not true."""
    from cattrs import Converter

    converter = Converter(detailed_validation=True, forbid_extra_keys=True)
    for kind in (str, int, bool):
        converter.register_structure_hook(kind, _exactly)
    converter.register_structure_hook_func(lambda kind: kind == list[str], _texts)
    for new_type, parse in (
        (Duration, _duration),
        (SshUrl, _ssh_url),
        (HostKey, _host_key),
        (DatasetName, _dataset),
    ):
        converter.register_structure_hook(new_type, _parsing(parse))
    return converter


def _exactly(value: Any, kind: type) -> Any:
    if type(value) is not kind:
        words = {str: "a text in quotes", int: "a whole number", bool: "true or false"}
        raise ValueError(f"must be {words[kind]}, not {value!r}")
    if isinstance(value, int) and value < 0:
        raise ValueError(f"must be 0 or more, not {value}")
    return value


def _texts(value: Any, _: type) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise ValueError(f"must be a list of texts in quotes, not {value!r}")
    return value


def _parsing(parse: Any) -> Any:
    return lambda value, _: parse(_exactly(value, str))


def _duration(text: str) -> int:
    found = re.fullmatch(r"([0-9]{1,6})([smhdw])", text)
    if not found:
        raise ValueError(f'must be a duration such as "26h" or "35d", not {text!r}')
    return int(found[1]) * _UNITS[found[2]]


def _ssh_url(text: str) -> str:
    found = _URL.fullmatch(text)
    if not found or not 1 <= int(found["port"] or 22) <= 65535:
        raise ValueError(f"must be ssh://user@address:port, not {text!r}")
    return text


def _host_key(text: str) -> str:
    if not is_host_key(text):
        raise ValueError('must be a public host key such as "ssh-ed25519 AAAA..." (ssh-keyscan shows it)')
    return text


def _dataset(text: str) -> str:
    if not _DATASET.fullmatch(text):
        raise ValueError(f'must be a ZFS dataset such as "tank/borg", not {text!r}')
    return text


# --- every problem with its key path ------------------------------------------------------------------


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


# --- sense --------------------------------------------------------------------------------------------


def _checked(raw: _Raw, path: Path) -> Config:
    problems = [
        f"{table}.{name}: names are a-z, 0-9 and -, at most 31 characters"
        for table, names in (("hosts", raw.hosts), ("targets", raw.targets))
        for name in names
        if not NAME_PATTERN.fullmatch(name)
    ]
    if raw.storage.ssh and not raw.storage.host_key:
        problems.append("storage.host_key: is missing (storage.ssh needs it)")
    if raw.backup.parallel < 1:
        problems.append("backup.parallel: must be 1 or more, not 0")
    if problems:
        raise _config_error(path, problems)
    return _build(raw, path)


def _build(raw: _Raw, path: Path) -> Config:
    k, timeout, here = raw.snapshots.keep, raw.backup.timeout, path.parent
    return Config(
        path=path,
        name=raw.name,
        state_dir=here / raw.state_dir,
        storage=_storage(raw.storage, here),
        parallel=raw.backup.parallel,
        allow_partial=raw.backup.allow_partial,
        keep=Policy(k.last, k.hourly, k.daily, k.weekly, k.monthly, k.yearly, k.within),
        scrub_max_age=raw.scrub.max_age,
        targets=tuple(
            Target(name, _endpoint(t.ssh, t.host_key, here / t.identity), t.dataset)
            for name, t in raw.targets.items()
        ),
        hosts=tuple(
            Host(
                name,
                _endpoint(h.ssh, h.host_key, here / h.identity),
                h.max_age,
                timeout if h.timeout is None else h.timeout,
            )
            for name, h in raw.hosts.items()
        ),
    )


def _storage(raw: _RawStorage, here: Path) -> Storage:
    endpoint = _endpoint(raw.ssh, raw.host_key or "", here / raw.identity) if raw.ssh else None
    return Storage(raw.dataset, endpoint, raw.user, raw.borg)


def _endpoint(url: str, host_key: str, identity: Path) -> Endpoint:
    found = _URL.fullmatch(url)
    assert found is not None  # _ssh_url has seen it
    return Endpoint(
        found["user"], found["address"].strip("[]"), int(found["port"] or 22), host_key, str(identity)
    )
