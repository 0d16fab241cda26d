"""What doctor says of this machine: files, keys, programs, state, schedule. Facts in, findings out. Pure.

Every judge returns the bad findings, each with its remedy, or one good one that says what was looked at.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

from zborg.errors import ConfigError
from zborg.model import Finding, Status
from zborg.model.text.remedy import command, quoted, remedy
from zborg.model.text.units import counted, size

STATE_FREE = 100 << 20
"""Bytes: a run file of a fleet is 1 MiB at most, and a full disk keeps locks from being taken."""

OLDEST_BORG, NEWEST_BORG = (1, 2), (1, 4)
OLDEST_ZFS = (2, 1)

_BORG = re.compile(r"borg (\d{1,4})\.(\d{1,4})")
_ZFS = re.compile(r"zfs-(\d{1,4})\.(\d{1,4})[^\s-]*")
_KERNEL = re.compile(r"zfs-kmod-(\d{1,4}\.\d{1,4}[^\s-]*)")


@dataclass(frozen=True, slots=True)
class FileFacts:
    """A file or a directory; `mode` are its permission bits."""

    path: str
    there: bool
    mode: int = 0
    uid: int = 0


@dataclass(frozen=True, slots=True)
class KeyFacts:
    """A private key: what ssh-keygen reads of it, and what stands beside it as its public half."""

    file: FileFacts
    public: str  # "TYPE BASE64", "" when it cannot be read without a passphrase
    why: str  # then ssh-keygen's words
    beside: str  # of PATH.pub, "" when there is none


@dataclass(frozen=True, slots=True)
class ProgramFacts:
    """What a program says of its version; None when it is not there."""

    name: str
    version: str | None
    purpose: str
    remedy: str
    where: str = ""  # "" for this machine


@dataclass(frozen=True, slots=True)
class StateFacts:
    """The state directory, and what is free on its file system."""

    directory: FileFacts
    missing: tuple[str, ...]  # of its own directories
    free: int  # bytes


def or_fine(bad: Iterable[Finding], subject: str, words: str) -> tuple[Finding, ...]:
    """The bad ones; without any one good finding."""
    return tuple(bad) or (Finding(subject, Status.OK, words),)


# --- the configuration ------------------------------------------------------------------------------


def mistakes(errors: Iterable[ConfigError], files: Collection[str]) -> Iterator[Finding]:
    """Every mistake as a finding of its own. Its subject is its error's file, if it is one of `files`."""
    for error in errors:
        subject = error.file if error.file in files else "config"
        for problem in error.problems or (error.message,):
            yield Finding(subject, Status.FAILED, problem, error.remedy)


def config_files(files: Sequence[FileFacts], folders: Sequence[FileFacts]) -> Iterator[Finding]:
    """Who else may read or replace the files. Who may write them may read them."""
    for one in files:
        if one.mode & 0o004:
            words = "everybody on this machine can read it: addresses, and passwords of notifiers"
            yield Finding(one.path, Status.WARNING, words, command("chmod", "0600", one.path))
    for one in folders:
        if one.mode & 0o022:
            words = "others can write in this folder, and so replace what decides what runs as root"
            yield Finding(one.path, Status.FAILED, words, command("chmod", "go-w", one.path))


# --- keys -------------------------------------------------------------------------------------------


def keys(found: Sequence[KeyFacts], me: int) -> tuple[Finding, ...]:
    """Every private key that zborg.toml names."""
    bad = [finding for one in found for finding in _key(one, me)]
    words = f"{counted(len(found), 'private key')}, without a passphrase, and nobody else can read one"
    return or_fine(bad, "keys", words)


def _key(key: KeyFacts, me: int) -> Iterator[Finding]:
    path = key.file.path
    if not key.file.there:
        yield Finding(path, Status.FAILED, "there is no such key; zborg init makes it", "zborg init")
        return
    if key.file.mode & 0o077:
        words = f"its mode is {key.file.mode:04o}: ssh uses no key that others can read"
        yield Finding(path, Status.FAILED, words, command("chmod", "0600", path))
    elif key.file.uid not in (0, me):
        words = f"it belongs to user {key.file.uid}"
        yield Finding(path, Status.FAILED, words, command("chown", "root", path))
    elif not key.public:
        fix = remedy(command("ssh-keygen", "-p", "-N", "", "-f", path), first="take its passphrase away:")
        yield Finding(path, Status.FAILED, f"it cannot be used by night: {key.why}", fix)
    elif key.beside and key.beside != key.public:
        words = f"{path}.pub is the public half of another key"
        fix = f"{command('ssh-keygen', '-y', '-f', path)} >{quoted(f'{path}.pub')}"
        yield Finding(path, Status.WARNING, words, fix)


def same_key(zfs: KeyFacts, serving: KeyFacts) -> Iterator[Finding]:
    """The storage's two keys: bytes of hosts go through the one, and the other opens root's account."""
    if zfs.public and zfs.public == serving.public:
        words = f"it is the same key as {zfs.file.path}, which may run zfs as root"
        path = serving.file.path
        first = "take it away; init makes a new one, and prints its line:"
        fix = remedy(command("rm", path, f"{path}.pub"), "zborg init", first=first)
        yield Finding(path, Status.FAILED, words, fix)


# --- programs ---------------------------------------------------------------------------------------


def programs(found: Sequence[ProgramFacts]) -> tuple[Finding, ...]:
    """Each program that is missing, too old or too new, with what does not work without it."""
    bad = [finding for one in found for finding in program(one)]
    return or_fine(bad, "programs", ", ".join(one.version for one in found if one.version))


def program(one: ProgramFacts) -> Iterator[Finding]:
    """What is wrong with it, if anything is."""
    where = f" on {one.where}" if one.where else ""
    if one.version is None:
        words = f"{one.name} cannot be run{where}: {one.purpose}"
        yield Finding(one.name, Status.FAILED, words, one.remedy)
    elif one.name == "borg" and (fault := borg_fault(one.version)):
        yield Finding(one.name, Status.FAILED, f"{fault}{where}", one.remedy)
    elif one.name == "zfs":
        yield from _zfs_fault(one)


def borg_fault(printed: str) -> str:
    """What is wrong with a borg that says `borg 1.2.4`; "" for one that zborg knows."""
    found = _BORG.match(printed)
    if not found:
        return f"borg's version cannot be read: {printed[:80]}"
    version = int(found[1]), int(found[2])
    if version < OLDEST_BORG:
        return f"{printed} is too old: 1.2 is the oldest that zborg is tried with"
    if version[0] > NEWEST_BORG[0]:
        return (
            f"{printed} is refused: borg 2 makes other repositories, and its borg serve serves those of "
            "borg 1 without append-only"
        )
    if version > NEWEST_BORG:
        return f"{printed} is newer than zborg knows: 1.2 to 1.4 are tried"
    return ""


def _zfs_fault(one: ProgramFacts) -> Iterator[Finding]:
    output = one.version or ""
    found, kernel = _ZFS.search(output), _KERNEL.search(output)
    if found and (int(found[1]), int(found[2])) < OLDEST_ZFS:
        words = f"OpenZFS {found[1]}.{found[2]} is too old: 2.1 is the oldest that zborg is tried with"
        yield Finding("zfs", Status.WARNING, words, "upgrade OpenZFS there; `zfs version` shows it")
    elif found and kernel and kernel[1] != found.group().removeprefix("zfs-"):
        words = f"the kernel's module is {kernel[1]}, the zfs command {found.group().removeprefix('zfs-')}"
        yield Finding("zfs", Status.WARNING, words, remedy("systemctl reboot", first="both are alike after:"))


# --- state ------------------------------------------------------------------------------------------


def state(found: StateFacts, me: int) -> tuple[Finding, ...]:
    """The state directory: there, zborg's alone, on a disk with room. `me` is the uid that zborg runs as."""
    path = found.directory.path
    words = f"{path} is zborg's alone, with {size(found.free)} free"
    return or_fine(_state(found, me), "state", words)


def _state(found: StateFacts, me: int) -> Iterator[Finding]:
    directory = found.directory
    path = directory.path
    if not directory.there or found.missing:
        lacking = f"has no {' and no '.join(found.missing)}" if directory.there else "does not exist"
        yield Finding(path, Status.FAILED, f"the state directory {lacking}", "zborg init")
        return
    if directory.mode & 0o077:
        words = f"its mode is {directory.mode:04o}: locks, reports and sealed keys are nobody else's business"
        yield Finding(path, Status.FAILED, words, command("chmod", "0700", path))
    if directory.uid not in (0, me):
        yield Finding(
            path, Status.FAILED, f"it belongs to user {directory.uid}", command("chown", "root", path)
        )
    if found.free < STATE_FREE:
        words = (
            f"{size(found.free)} are free on its disk: without room no lock is taken and no report written"
        )
        yield Finding(
            path,
            Status.FAILED,
            words,
            remedy(command("df", path), first=f"make room, at least {size(STATE_FREE)}:"),
        )
