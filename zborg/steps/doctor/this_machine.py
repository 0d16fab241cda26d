"""doctor's probes of this machine: files, keys, programs, state."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from pathlib import Path

from zborg.config import Config
from zborg.config.files import drop_ins, patterns, read_toml
from zborg.errors import CommandFailed, ConfigError, TimedOut, Unreachable
from zborg.model import Finding, Runner
from zborg.model.text.units import counted
from zborg.planning.doctor import this_machine as judge
from zborg.planning.doctor.storage import at
from zborg.planning.doctor.this_machine import FileFacts, KeyFacts, ProgramFacts, StateFacts
from zborg.steps.context import Context
from zborg.steps.init import identities

_ANSWER = 64 << 10
_NOT_FOUND = 127  # of a shell, and of our own runners
_QUICK = 20.0  # seconds for a program that prints its version


def facts(path: Path) -> FileFacts:
    """Of what a link points to: that is what will be read."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return FileFacts(str(path), there=False)
    return FileFacts(str(path), True, found.st_mode & 0o7777, found.st_uid)


# --- the configuration ------------------------------------------------------------------------------


def config(path: Path, found: Config | None, mistakes: Sequence[ConfigError]) -> Iterable[Finding]:
    """Whether zborg.toml and what it includes can be read, and by whom else."""
    files = [path, *_included(path)]
    folders = dict.fromkeys(one.parent for one in files)
    bad = [
        *judge.mistakes(mistakes, [str(one) for one in files]),
        *judge.config_files([one for one in map(facts, files) if one.there], list(map(facts, folders))),
    ]
    words = f"{path}: {counted(len(files), 'file')}, none for others to read or write"
    if found:
        words += f"; {counted(len(found.hosts), 'host')}, {counted(len(found.targets), 'target')}"
    return judge.or_fine(bad, "config", words)


def _included(path: Path) -> list[Path]:
    """The drop-ins; what keeps them from being found is among the mistakes already."""
    found: list[Path] = []
    try:
        for pattern in patterns(read_toml(path, path)):
            found += drop_ins(path, pattern)
    except ConfigError:
        return found
    return found


# --- state and keys ---------------------------------------------------------------------------------


def state(directory: Path) -> Iterable[Finding]:
    """Whether the state directory is there, private, and has room."""
    found = facts(directory)
    missing = tuple(name for name in ("locks", "runs") if not (directory / name).is_dir())
    free = 0
    if found.there:
        room = os.statvfs(directory)
        free = room.f_bavail * room.f_frsize
    return judge.state(StateFacts(found, missing, free), os.geteuid())


def keys(context: Context) -> Iterable[Finding]:
    """Whether every key that zborg.toml names is there and private, and no key does two jobs."""
    found = {path: _key(context.here, Path(path)) for path in identities(context)}
    bad = judge.keys(list(found.values()), os.geteuid())
    storage = context.config.storage
    if storage.endpoint and storage.serving:
        zfs, serving = found[storage.endpoint.identity], found[storage.serving.identity]
        twice = tuple(judge.same_key(zfs, serving))
        return (*twice, *(one for one in bad if not twice or one.remedy))
    return bad


def _key(local: Runner, path: Path) -> KeyFacts:
    """Read as ssh would, with an empty passphrase; nothing is asked and nothing written."""
    file = facts(path)
    public = path.with_name(f"{path.name}.pub")
    beside = " ".join(public.read_text(errors="replace").split()[:2]) if public.exists() else ""
    if not file.there or file.mode & 0o077:  # ssh-keygen refuses those as well
        return KeyFacts(file, "", "", beside)
    try:
        output = local.run(["ssh-keygen", "-y", "-P", "", "-f", str(path)], timeout=_QUICK, max_bytes=_ANSWER)
    except CommandFailed as error:
        return KeyFacts(file, "", error.stderr.strip().partition("\n")[0] or error.message, beside)
    return KeyFacts(file, " ".join(output.stdout.split()[:2]), "", beside)


# --- programs ---------------------------------------------------------------------------------------


def programs(local: Runner, config: Config | None, storage: Runner | None) -> Iterable[Finding]:
    """With `storage` also the borg there."""
    found = [
        ProgramFacts("zborg", f"zborg {version('zborg')}", "", ""),
        ProgramFacts("python", f"Python {platform.python_version()}", "", ""),
        _asked(local, "ssh", ["ssh", "-V"], "no host can be reached", "apt-get install openssh-client"),
    ]
    if sys.platform == "linux":
        words = "borg serve could outlive a killed zborg, and run as no other user"
        fix = "apt-get install util-linux"
        found.append(_asked(local, "setpriv", ["setpriv", "--version"], words, fix))
    if config and any(target.bandwidth_limit for target in config.targets):
        words = "bandwidth_limit of a target needs it"
        found.append(_asked(local, "pv", ["pv", "--version"], words, "apt-get install pv"))
    if config and storage and not config.storage.received:
        found.append(_borg_of(config, storage))
    return judge.programs(found)


def zfs_of(config: Config, storage: Runner) -> ProgramFacts:
    """The release of the storage's ZFS."""
    words = "there are no pools without it"
    fix = at(_where(config), "apt-get install zfsutils-linux")
    return _asked(storage, "zfs", ["zfs", "version"], words, fix, _where(config))


def _borg_of(config: Config, storage: Runner) -> ProgramFacts:
    words = f"no repository can be served ([storage] borg is {config.storage.borg})"
    fix = at(_where(config), "apt-get install borgbackup")
    return _asked(storage, "borg", [config.storage.borg, "--version"], words, fix, _where(config))


def _where(config: Config) -> str:
    return "the storage" if config.storage.endpoint else ""


def _asked(
    runner: Runner, name: str, argv: Sequence[str], purpose: str, remedy: str, where: str = ""
) -> ProgramFacts:
    """Raises what keeps the machine from being asked; what keeps a program from answering is a fact of it."""
    try:
        done = runner.run(argv, timeout=_QUICK, max_bytes=_ANSWER)
    except CommandFailed as error:
        if isinstance(error, Unreachable | TimedOut):
            raise
        why = purpose if error.status == _NOT_FOUND else f"{purpose}. It says: {error.stderr.strip()[:200]}"
        return ProgramFacts(name, None, why, remedy, where)
    output = " ".join(f"{done.stdout} {done.stderr}".split())
    return ProgramFacts(name, _short(name, output), purpose, remedy, where)


def _short(name: str, output: str) -> str:
    """Without the libraries that some print as well; both versions of ZFS, for one may be older."""
    return output if name == "zfs" else output.partition(",")[0][:60]
