"""What can still be read of a configuration with mistakes: for doctor, and for a message about them.

No host is backed up by it and nothing else is ever done.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zborg.config import Config, checked
from zborg.config.files import Mistakes, Tables, read, read_toml
from zborg.errors import ConfigError
from zborg.model import Notify


def salvage(path: Path) -> tuple[Config | None, tuple[ConfigError, ...]]:
    """The configuration without its wrong hosts, targets and keys, and every error that was met.

    None when too little is left, and when somebody else could have written the file. Of a host that is
    defined twice the first stays.
    """
    try:
        tables, errors = read(path)
    except ConfigError as error:
        return None, (error,)
    return _without_mistakes(tables, errors), tuple(errors)


@dataclass(frozen=True, slots=True)
class Contact:
    """Who is to be notified, and the server's name."""

    server: str
    notify: Notify


def contact(path: Path) -> Contact | None:
    """`name` and [notify] of zborg.toml, whatever else is wrong there or in a drop-in.

    None when the file itself is no TOML, cannot be read, or could have been written by somebody else: then it
    names programs that nobody may start.
    """
    try:
        table = read_toml(path, path)
    except ConfigError:
        return None
    part = {key: table[key] for key in ("name", "notify") if key in table}
    least = Tables(path, {"storage": {"dataset": "unused"}} | part)
    config = _without_mistakes(least, [])
    return Contact(config.name, config.notify) if config else None


def _without_mistakes(tables: Tables, errors: list[ConfigError]) -> Config | None:
    """Each round takes away what the last one complained of."""
    while True:
        try:
            return checked(tables)
        except Mistakes as error:
            errors.append(error)
            dropped = [_drop(tables.table, one.key.split(".")) for one in error.found]
            if not any(dropped):
                return None


def _drop(table: dict[str, Any], keys: list[str]) -> bool:
    """A host or a target goes whole: half of one would be another. Whether anything was there to go."""
    if keys[0] in ("hosts", "targets"):
        keys = keys[:2]
    for key in keys[:-1]:
        table = table.get(key, {})
        if not isinstance(table, dict):
            return False
    return table.pop(keys[-1], None) is not None
