"""What can still be read of a zborg.toml with mistakes. For doctor alone: nothing is ever done by it."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

from zborg.config import Config, checked, drop_ins, load, merge_hosts, patterns, read_toml
from zborg.errors import ConfigError


def salvage(path: Path) -> tuple[Config | None, tuple[ConfigError, ...]]:
    """The configuration without its wrong hosts, targets and keys, and every error that was met.

    None when too little is left, and when somebody else could have written the file.
    """
    try:
        return load(path), ()
    except ConfigError:
        pass
    errors: list[ConfigError] = []
    try:
        table = read_toml(path)
    except ConfigError as error:
        return None, (error,)
    for pattern in patterns(table):
        table = _with_drop_ins(table, path, pattern, errors)
    return _without_mistakes(table, path, errors), tuple(errors)


def _with_drop_ins(
    table: dict[str, Any], path: Path, pattern: str, errors: list[ConfigError]
) -> dict[str, Any]:
    """With those that are right: of a host that is defined twice the first stays."""
    found: list[Path] = []
    try:
        found = drop_ins(path, pattern)
    except ConfigError as error:
        errors.append(error)
    for extra in found:
        trial = deepcopy(table)
        try:
            merge_hosts(trial, read_toml(extra), extra)
            table = trial
        except ConfigError as error:
            errors.append(error)
    return table


def _without_mistakes(table: dict[str, Any], path: Path, errors: list[ConfigError]) -> Config | None:
    """Each round takes away what the last one complained of."""
    while True:
        try:
            return checked(table, path)
        except ConfigError as error:
            errors.append(error)
            dropped = [_drop(table, problem.partition(": ")[0].split(".")) for problem in error.problems]
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
