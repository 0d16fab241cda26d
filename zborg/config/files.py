"""The files of the configuration, zborg.toml and its drop-ins: read and joined, judged elsewhere.

Nothing is read from a file that somebody else could have written. Every mistake names its own file.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from glob import iglob
from pathlib import Path
from typing import Any

from zborg.errors import ConfigError
from zborg.model.text import remedy
from zborg.model.text.units import counted

# Backup copies of editors, package managers and patch(1) beside the file they are of. Hidden names (.#x.toml,
# ._x.toml, .x.toml.swp) match no wildcard, as in a shell.
_BACKUP = re.compile(r".*~|#.*#|.*\.(bak|orig|rej|dpkg-\w+|ucf-\w+|rpmnew|rpmsave|rpmorig)")

_MOST_LINKS = 40  # the kernel's own limit, path_resolution(7)


@dataclass(frozen=True, slots=True)
class Mistake:
    """Something wrong in one file; `key` is the path of the key it is about."""

    file: Path
    key: str
    words: str

    def __str__(self) -> str:
        return f"{self.key}: {self.words}"


class Mistakes(ConfigError):
    """What is wrong with keys, in one file or in several."""

    def __init__(self, found: Sequence[Mistake], main: Path) -> None:
        self.found = tuple(found)
        by_file: dict[Path, list[Mistake]] = {}
        for one in found:
            by_file.setdefault(one.file, []).append(one)
        words = [f"{file} has {counted(len(some), 'mistake')}" for file, some in by_file.items()]
        lines = [str(one) if len(by_file) == 1 else f"{one.file}: {one}" for one in found]
        first = str(next(iter(by_file), main))
        super().__init__(", ".join(words), look_again(main), tuple(lines), file=first)


@dataclass
class Tables:
    """zborg.toml with the hosts of its drop-ins, and by host the drop-in that defines it."""

    path: Path  # zborg.toml
    table: dict[str, Any]
    origins: dict[str, Path] = field(default_factory=dict)

    def file_of(self, key: str) -> Path:
        """The file in which this key stands."""
        table, _, rest = key.partition(".")
        name = rest.partition(".")[0]
        return self.origins.get(name, self.path) if table == "hosts" else self.path

    def mistakes(self, problems: Iterable[str]) -> Mistakes:
        """Of lines such as "hosts.web1.ssh: is missing"."""
        parted = (problem.partition(": ") for problem in problems)
        return Mistakes([Mistake(self.file_of(key), key, words) for key, _, words in parted], self.path)


def look_again(main: Path) -> str:
    """The remedy for a file that a person has to correct."""
    check = remedy.command("zborg", "doctor", "--only", "config", "--config", str(main))
    return remedy.remedy(check, first="correct it, then look again:")


def read(path: Path) -> tuple[Tables, list[ConfigError]]:
    """zborg.toml with every drop-in that can be used, and what is wrong with the others.

    Raises ConfigError when zborg.toml itself cannot be read.
    """
    tables, errors = Tables(path, read_toml(path, path)), list[ConfigError]()
    for pattern in patterns(tables.table):
        try:
            found = drop_ins(path, pattern)
        except ConfigError as error:
            errors.append(error)
            continue
        for extra in found:
            try:
                _join(tables, read_toml(extra, path), extra)
            except ConfigError as error:
                errors.append(error)
    return tables, errors


def together(errors: Sequence[ConfigError], main: Path) -> ConfigError:
    """Several files' errors as one, each still with its file's name."""
    if len(errors) == 1:
        return errors[0]
    lines = [line for one in errors for line in (one.message, *(f"  {each}" for each in one.problems))]
    return ConfigError(
        f"{counted(len(errors), 'file')} of the configuration cannot be used", look_again(main), tuple(lines)
    )


def read_toml(path: Path, main: Path) -> dict[str, Any]:
    """One file's tables; `main` is the zborg.toml that it belongs to. Raises ConfigError."""
    try:
        _refuse_strangers(path)
        return parse(path)
    except FileNotFoundError:
        raise _lost(path, main) from None
    except OSError as error:
        raise ConfigError(
            f"{path}: {error.strerror}", "run zborg as the file's owner, usually root", file=str(path)
        ) from error
    except (ValueError, RecursionError) as error:  # no TOML, no UTF-8, a number of 5000 digits
        raise ConfigError(f"{path}: {error}", look_again(main), file=str(path)) from error


def parse(path: Path) -> dict[str, Any]:
    """TOML as editors of any system write it. Raises OSError, ValueError and RecursionError."""
    return tomllib.loads(text_of(path))


def text_of(path: Path) -> str:
    """Without the byte order mark that some editors put before UTF-8, and with Unix line ends."""
    return path.read_text(encoding="utf-8-sig")


def _lost(path: Path, main: Path) -> ConfigError:
    if path.is_symlink():
        words = f"{path} is a link to {path.readlink()}, which does not exist"
        fix = remedy.remedy(
            remedy.command("ls", "-l", str(path)),
            first="restore the file it points to, or remove the link if nothing is to be read from there:",
        )
        return ConfigError(words, fix, file=str(path))
    if path != main:
        return ConfigError(f"{path} vanished while it was read", look_again(main), file=str(path))
    return ConfigError(
        f"{path} does not exist",
        "write one after the sample zborg.toml, or name it with --config",
        file=str(path),
    )


def _links(path: Path) -> Iterator[Path]:
    """The links that lead from this path to a file, one after the other. A circle is stat's to report."""
    for _ in range(_MOST_LINKS):
        if not path.is_symlink():
            return
        yield path
        path = path.parent / path.readlink()


def _refuse_link(link: Path) -> None:
    owner, folder = link.lstat().st_uid, link.parent
    if owner in (0, os.geteuid()) and not folder.stat().st_mode & 0o022:
        return
    whose = (
        f"that user {owner} made" if owner not in (0, os.geteuid()) else f"and others can write in {folder}"
    )
    first = "if nobody of yours made it, remove it; else name the file itself with --config:"
    raise ConfigError(
        f"{link} is a link to {link.readlink()}, {whose}",
        remedy.remedy(remedy.command("ls", "-l", str(link)), remedy.command("rm", str(link)), first=first),
        file=str(link),
    )


def _refuse_strangers(path: Path) -> None:
    """Who can write this file decides what runs as root; so does who can point a link to another one."""
    for link in _links(path):
        _refuse_link(link)
    facts = path.stat()
    if facts.st_mode & 0o022:
        advice = remedy.command("chmod", "go-w", str(path))
        raise ConfigError(f"{path} can be written by others", advice, file=str(path))
    if facts.st_uid not in (0, os.geteuid()):
        advice = remedy.command("chown", "root", str(path))
        raise ConfigError(f"{path} belongs to user {facts.st_uid}", advice, file=str(path))


def patterns(table: Mapping[str, Any]) -> list[str]:
    """The patterns of `include`; what is no text there is refused with the rest of the shape."""
    given = table.get("include", [])
    return [p for p in given if isinstance(p, str)] if isinstance(given, list) else []


def drop_ins(path: Path, pattern: str) -> list[Path]:
    """The regular files, and dangling links, that a pattern names from zborg.toml's folder, by name.

    An empty directory is a beginning; one that is not there or cannot be read is an error.
    Hidden names, backup copies of editors and whatever is no file (a directory called x.toml) are skipped.
    """
    if not pattern or "\0" in pattern or Path(pattern).is_absolute():
        words = f'must be like "hosts.d/*.toml", not {pattern!r}'
        raise Mistakes([Mistake(path, "include", words)], path)
    try:
        # Path.glob would match hidden names.
        names = iglob(pattern, root_dir=path.parent, recursive=True)  # noqa: PTH207  # pathlib's finds hidden names
        found = sorted(path.parent / name for name in names)
        _check_folder(path, (path.parent / pattern).parent, found)
    except OSError as error:
        words = f"{error.filename or path.parent} cannot be read: {error.strerror}"
        raise Mistakes([Mistake(path, "include", words)], path) from error
    return [one for one in found if _is_drop_in(one)]


def _is_drop_in(path: Path) -> bool:
    return not _BACKUP.fullmatch(path.name) and (path.is_file() or not path.exists())


def _check_folder(path: Path, folder: Path, found: Sequence[Path]) -> None:
    """A glob shows nothing of a directory that is not there or may not be read, and no error either."""
    if found or set("*?[") & set(str(folder)):
        return
    if not folder.is_dir():
        raise Mistakes([Mistake(path, "include", f"there is no directory {folder}")], path)
    with os.scandir(folder):
        pass


def _join(tables: Tables, extra: Mapping[str, Any], file: Path) -> None:
    """A drop-in brings hosts and nothing else, and never replaces one. Nothing of a wrong one is taken."""
    found = [
        Mistake(file, key, "only [hosts.NAME] may stand in a drop-in") for key in extra if key != "hosts"
    ]
    hosts, more = tables.table.setdefault("hosts", {}), extra.get("hosts", {})
    if not isinstance(more, dict):
        found.append(Mistake(file, "hosts", "must be tables, [hosts.NAME]"))
    elif not isinstance(hosts, dict):  # the mistake of another file, where it is reported
        return
    else:
        found += [
            Mistake(file, f"hosts.{name}", f"is defined in {tables.file_of(f'hosts.{name}')} as well")
            for name in more
            if name in hosts
        ]
    if found:
        raise Mistakes(found, tables.path)
    hosts.update(more)
    tables.origins.update(dict.fromkeys(more, file))
