"""What can be read of a repository without its key, by plain commands on the storage.

`transactions` is written by an append-only `borg serve` itself, one line per commit:
"transaction 23, UTC time 2026-02-12T14:49:33.123456". So it is what the *server* saw.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from configparser import ConfigParser
from configparser import Error as ConfigError
from dataclasses import dataclass
from io import StringIO

from zborg.borg.storage.confine import below, confine_begun
from zborg.errors import CommandFailed, ZborgError
from zborg.model import Runner
from zborg.model.text.remedy import command

_TRANSACTION = re.compile(r"transaction (?P<number>\d{1,18}), UTC time \S+")


# What `borg init` makes, and what a killed one may leave of it. Every repository has these names, so what
# shows it is how much is in `data`: an init writes two segments of 530 and 17 bytes (borg 1.4.5), the first
# archive, of nothing at all, four more.
_OF_INIT = re.compile(
    r"data|(README|config|nonce|lock\.(exclusive|roster)|(hints|index|integrity)\.\d+)([.-]\w{1,20})?(\.tmp)?"
)
_SEGMENTS = 2
_CONFIG = 64 << 10  # bytes; one of borg's has 200
_BLOCKS = 2  # of 512 bytes, as find(1) counts them


def left_by_init(runner: Runner, home: str, names: Sequence[str]) -> bool:
    """Whether all that is in a directory can be left from a `borg init`; `names` are its entries."""
    if not all(_OF_INIT.fullmatch(name) for name in names):
        return False
    if "data" not in names:
        return True
    segments = ["find", f"{home}/data", "-type", "f"]
    large = runner.run([*segments, "-size", f"+{_BLOCKS}"]).stdout
    return not large and len(runner.run(segments).stdout.splitlines()) <= _SEGMENTS


def entries(runner: Runner, path: str) -> tuple[str, ...]:
    """Names in the repository's directory; () when it is empty."""
    return tuple(runner.run(["ls", "-A", "--", path]).stdout.split("\n")[:-1])


def repository_id(runner: Runner, home: str) -> str:
    """The id in the repository's `config`; "" when there is none. It is the host's word, and public."""
    return configs(runner, [home])[home].id


@dataclass(frozen=True, slots=True)
class RepositoryConfig:
    """Of a repository's `config`: its id, "" without one, and whether the key lies in it (repokey).

    `version` is that of its form, 0 where there is none; borg 1 has 1.
    """

    id: str = ""
    has_key: bool = False
    version: int = 0


def configs(runner: Runner, homes: Sequence[str]) -> dict[str, RepositoryConfig]:
    """By directory, in one command; the empty one where there is no repository."""
    if not homes:
        return {}
    lines = (line.split(" ") for line in below(runner, homes, "config"))
    return {
        home: RepositoryConfig("" if number == "-" else number, key == "key", 0 if form == "-" else int(form))
        for home, (number, key, form) in zip(homes, lines, strict=True)
    }


KNOWN_FORMS = (0, 1)
"""Versions of a repository's form that zborg serves: none yet, and borg 1's."""


def unknown_form(version: int) -> str:
    """Why a repository of another form is not served."""
    return (
        f"is a repository of version {version}: zborg knows that of borg 1, and what it relies on there "
        "(append-only, transactions) borg 2 has not"
    )


def last_transactions(runner: Runner, paths: Sequence[str]) -> dict[str, int]:
    """Each repository's last commit, in one command; repositories without one are left out."""
    if not paths:
        return {}
    return _numbers(paths, below(runner, paths, "last"))


def index_sizes(runner: Runner, homes: Sequence[str]) -> dict[str, int]:
    """Bytes of each repository's index, which a `borg serve` holds in memory, in one command.

    Repositories without one are left out. The file is the host's: it may have any size.
    """
    lines = below(runner, homes, "index") if homes else []
    return {home: int(size) for home, size in zip(homes, lines, strict=True) if size.isdecimal()}


@dataclass(frozen=True, slots=True)
class Begun:
    """A repository before it is served: its last commit, and its form's version; 0 without one."""

    last: int
    version: int = 0


def begun_and_confined(runner: Runner, home: str, account: str) -> Begun:
    """What is there; with a commit it is confined now (see confine.py). One command."""
    (line,) = confine_begun(runner, [home], account)
    version, _, last = line.partition(" ")
    number = _numbers([home], [last]).get(home, 0)
    return Begun(number, int(version) if version.isdigit() else 0)


def _numbers(paths: Sequence[str], lines: Sequence[str]) -> dict[str, int]:
    found = {path: _TRANSACTION.fullmatch(line) for path, line in zip(paths, lines, strict=True)}
    return {path: int(one["number"]) for path, one in found.items() if one}


def serving(runner: Runner, name: str, user: str, home: str = "") -> tuple[int, ...]:
    """Every borg of a host's repository that serve.sh started there as `user`, a name or a number, by pid.

    With `home` only of the one that lies there. Anybody there can start a process with such a command line,
    and would keep a left lock from being broken.
    """
    # In brackets, so that the pattern does not match the command line in which it stands itself.
    where = home.replace(".", "\\.") or f"[^ ]*/{name}"
    pattern = f"[-]-(restrict-to-repository|progress) {where}$"
    argv = ["pgrep", "-u", user, "-f", "--", pattern]
    try:
        return tuple(int(pid) for pid in runner.run(argv).stdout.split())
    except CommandFailed as error:
        if error.retryable or error.status != 1:  # 1: there is none
            raise
        return ()


def forbid_writing(runner: Runner, home: str) -> None:
    """Let every commit to this repository fail, no matter to whom `borg serve` serves it. Reading goes on.

    borg 1 has no read-only mode of `borg serve`. With a `storage_quota` of 1 byte in `config` each put fails,
    before much is sent for nothing, and whatever writes puts at least the manifest (tried: 1.2.4 and 1.4.5).
    Only for a clone that nobody else has access to yet: `config` is written anew. A link in its place is not
    followed. Raises ZborgError.
    """
    path = f"{home}/config"
    found = runner.run(
        ["find", path, "-prune", "-type", "f", "-exec", "cat", "{}", ";"], max_bytes=_CONFIG
    ).stdout
    config = ConfigParser(interpolation=None)
    try:
        config.read_string(found)
        config["repository"]["storage_quota"] = "1"
    except (ConfigError, KeyError) as error:
        raise ZborgError(
            f"{path} is not the configuration of a repository", command("ls", "-la", home)
        ) from error
    text = StringIO()
    config.write(text)
    runner.run(["rm", "-f", "--", path])
    runner.run(["tee", path], stdin=text.getvalue())
    runner.run(["chmod", "0644", path])  # whatever root's umask is there: `borg serve` has to read it
