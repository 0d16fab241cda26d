"""The YAML of qb.backup, with its includes, read as plain hosts and as what has no place in zborg.

Its format (github.com/quarkslab/qb.backup, config-sample.yml): `hosts` is a list of names, or of mappings
with hostname, port and lock; `default` has port and lock, `logging` a filename and mail settings; any value
may be `!include PATTERN`, a glob relative to the file it stands in, whose lists are put end to end.

Only PyYAML's composer is used: it makes a tree of nodes with their places and builds no object of any tag.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import yaml

from zborg.errors import ConfigError
from zborg.model.enrolment import Left, Source

_PLAIN = "tag:yaml.org,2002:"
_SSH_PORT = 22
_DEEPEST = 10  # includes in includes
_MAIL = "mailto://HOST:PORT?from=ADDRESS&to=ADDRESS in urls of [notify], whose subject has the same $ words"
# Keys that it knows, and what does their work in zborg.
_COUNTERPARTS = {
    "logging.filename": "reports are in the state directory (`zborg status`), output where cron sends it",
    "logging.mail": _MAIL,
    "default.lock": "zborg has locks of its own in its state directory",
    "hosts.lock": "zborg has locks of its own in its state directory",
}


@dataclass(frozen=True)
class Found:
    """All that the files say."""

    hosts: tuple[Source, ...]
    left: tuple[Left, ...]


@dataclass(frozen=True)
class _Place:
    """A node, and the file it stands in."""

    node: yaml.Node
    file: Path

    def __str__(self) -> str:
        return f"{self.file}:{self.node.start_mark.line + 1}"

    def refuse(self, words: str) -> NoReturn:
        raise ConfigError(f"{self}: {words}", "correct that line and run again; nothing was written")


def read(path: Path) -> Found:
    """The file and all it includes. Raises ConfigError with file and line."""
    left: list[Left] = []
    table = {key: value for one in _whole(path, 0) for key, value in _mapping(one, "a mapping").items()}
    hosts = table.pop("hosts", ())
    port = _default_port(table.pop("default", ()), left)
    left += [one for value in table.pop("logging", ()) for one in _settings("logging", value)]
    left += [_unknown(key, place) for key, values in table.items() for place in values[:1]]
    sources = tuple(_host(item, port, left) for one in hosts for item in _sequence(one))
    if not sources:
        raise ConfigError(f"{path} names no host", "`hosts` is a list; does its !include match any file?")
    return Found(sources, tuple(left))


def _default_port(values: tuple[_Place, ...], left: list[Left]) -> int:
    port = _SSH_PORT
    for value in values:
        keys = _mapping(value, "a mapping with port and lock")
        port = _port(keys.pop("port", ()), port)
        left += [_unknown(f"default.{key}", place) for key, at in keys.items() for place in at[:1]]
    return port


def _host(item: _Place, port: int, left: list[Left]) -> Source:
    if isinstance(item.node, yaml.ScalarNode):
        return Source(_text(item), port, str(item))
    keys = _mapping(item, "a host's name, or a mapping with hostname, port and lock")
    names = keys.pop("hostname", ()) or item.refuse("this host has no hostname")
    found = Source(_text(names[-1]), _port(keys.pop("port", ()), port), str(item))
    left += [_unknown(f"hosts.{key}", place, found.hostname) for key, at in keys.items() for place in at[:1]]
    return found


def _settings(prefix: str, value: _Place) -> Iterator[Left]:
    for key, places in _mapping(value, "a mapping").items():
        for place in places[:1]:
            yield _unknown(f"{prefix}.{key}", place)


def _unknown(key: str, place: _Place, host: str = "") -> Left:
    words = f"of {host}, not carried over" if host else "not carried over"
    remedy = _COUNTERPARTS.get(key, "zborg.toml has all that zborg knows; see whether you need it there")
    return Left(key, str(place), words, remedy)


# --- nodes ------------------------------------------------------------------------------------------------


def _whole(path: Path, depth: int) -> Iterator[_Place]:
    """A file's contents, and where it is nothing but an !include that of those files."""
    node = _composed(path)
    if node is not None:
        yield from _resolved(_Place(node, path), depth)


def _composed(path: Path) -> yaml.Node | None:
    try:
        with open(path, "rb") as file:
            node: yaml.Node | None = yaml.compose(file, Loader=yaml.SafeLoader)
            return node
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"{path}:{mark.line + 1}" if mark else str(path)
        raise ConfigError(f"{place}: {error.problem or error}", "correct the YAML there") from error
    except (yaml.YAMLError, RecursionError) as error:  # no text, or nested without end
        words = " ".join(str(error).split())
        raise ConfigError(f"{path}: {words}", "is it a file of qb.backup?") from error
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}", "name the file that qb.backup reads") from error


def _resolved(place: _Place, depth: int) -> Iterator[_Place]:
    if place.node.tag != "!include":
        yield place
        return
    if depth >= _DEEPEST:
        place.refuse("includes in includes without end")
    for path in _included(place):
        yield from _whole(path, depth + 1)


def _included(place: _Place) -> list[Path]:
    """Sorted, so that the order does not depend on the directory. A plain name has to be there."""
    pattern = _text(place)
    base = Path("/") if pattern.startswith("/") else place.file.parent
    try:
        found = sorted(base.glob(pattern.lstrip("/")))
    except (ValueError, NotImplementedError) as error:
        place.refuse(f"{pattern!r} is no pattern of file names: {error}")
    if not found and not set("*?[") & set(pattern):
        place.refuse(f"there is no file {base / pattern}")
    return found


def _mapping(place: _Place, expected: str) -> dict[str, tuple[_Place, ...]]:
    """Its keys, each with its value; of an !include with the contents of every file."""
    if not isinstance(place.node, yaml.MappingNode) or place.node.tag != f"{_PLAIN}map":
        place.refuse(f"expected {expected}, not {_kind(place)}")
    keys: dict[str, tuple[_Place, ...]] = {}
    for key, value in place.node.value:
        at = _Place(key, place.file)
        name = _text(at)
        if name == "<<":
            at.refuse("merge keys are not read: write the keys out")
        if name in keys:
            at.refuse(f"{name} is given twice; qb.backup took the last one: remove the other")
        keys[name] = tuple(_resolved(_Place(value, place.file), 0))
    return keys


def _sequence(place: _Place) -> list[_Place]:
    if not isinstance(place.node, yaml.SequenceNode) or place.node.tag != f"{_PLAIN}seq":
        place.refuse(f"expected a list of hosts, not {_kind(place)}")
    return [_Place(node, place.file) for node in place.node.value]


def _text(place: _Place) -> str:
    known = _is_plain(place.node) or place.node.tag == "!include"
    if not isinstance(place.node, yaml.ScalarNode) or not known:
        place.refuse(f"expected a text, not {_kind(place)}")
    text: str = place.node.value
    return text.strip()


def _is_plain(node: yaml.Node) -> bool:
    """Of YAML's own types, and not one of the tags that PyYAML would build objects of."""
    return node.tag.removeprefix(_PLAIN).isalpha()


def _kind(place: _Place) -> str:
    if not _is_plain(place.node):
        return f"the tag {place.node.tag}"
    if isinstance(place.node, yaml.MappingNode):
        return "a mapping"
    return "a list" if isinstance(place.node, yaml.SequenceNode) else "a single value"


def _port(values: tuple[_Place, ...], default: int) -> int:
    """None, 0 and nothing mean the default, as for qb.backup."""
    for place in values[-1:]:
        text = _text(place)
        if place.node.tag == f"{_PLAIN}null":
            return default
        if not text.isascii() or not text.isdigit() or (len(text) > 1 and text[0] == "0"):
            place.refuse(f"must be a port, not {text!r}")
        if int(text[:6]) > 65535:
            place.refuse(f"must be a port, not {text!r}")
        return int(text) or default
    return default
