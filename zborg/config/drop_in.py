"""hosts.d/NAME.toml: one host per file, and the only files of the configuration that zborg writes.

zborg.toml and what people wrote is read and never changed: comments stay where they are.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import Any

from zborg import atomic
from zborg.config import Config, files
from zborg.errors import ConfigError
from zborg.model import Host

FOLDER = "hosts.d"
INCLUDE = f'include = ["{FOLDER}/*.toml"]'
_OURS = "# Written by zborg; what you change here stays.\n"


def path_of(config: Config, name: str) -> Path:
    """Where `zborg host add` writes a host's table, whether it is there or not."""
    return config.path.parent / FOLDER / f"{name}.toml"


def check_included(config: Config, name: str) -> None:
    """A drop-in that no `include` covers would be a host that is never backed up. Raises ConfigError."""
    parts = PurePosixPath(FOLDER, f"{name}.toml").parts
    patterns = [PurePosixPath(pattern).parts for pattern in config.include]
    if not any(len(parts) == len(pattern) and all(map(fnmatchcase, parts, pattern)) for pattern in patterns):
        raise ConfigError(
            f"{config.path} does not include {FOLDER}/*.toml", f"add this line at its top: {INCLUDE}"
        )


def table_of(host: Host, config: Config) -> dict[str, str]:
    """The host's table; its key only where it is not everybody's, its tunnel whatever [backup] says."""
    table = {"ssh": str(host.endpoint), "host_key": host.endpoint.host_key, "tunnel": "stdio"}
    return table | ({"identity": host.endpoint.identity} if host.endpoint.identity != config.identity else {})


def read(path: Path) -> dict[str, Any]:
    """The file's tables, {} when there is none. Raises ConfigError."""
    try:
        return files.parse(path)
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise ConfigError(f"{path}: {error}", "correct the file, or remove it") from error


def is_ours(path: Path, name: str) -> bool:
    """Written by zborg, and this host alone is in it."""
    table = read(path)
    return bool(table) and files.text_of(path).startswith(_OURS) and list(table.get("hosts", {})) == [name]


def write(path: Path, name: str, table: Mapping[str, Any]) -> None:
    """A host's table. Whole, on disk and readable by its owner alone before it has its name."""
    _write(path, _text({"hosts": {name: dict(table)}}))


def write_identity(path: Path, name: str, identity: str) -> None:
    """Among what people wrote into a file of ours; where their notation is too free, without its comments."""
    tables = read(path)
    tables["hosts"][name]["identity"] = identity
    header, entry = _text({"hosts": {name: {"identity": identity}}}).splitlines()[1:]
    lines = files.text_of(path).splitlines()
    others = [line for line in lines if not re.match(r"\s*identity\s*=", line)]
    text = "".join(f"{line}\n{entry}\n" if line.strip() == header else f"{line}\n" for line in others)
    _write(path, text if _is(text, tables) else _text(tables))


def _is(text: str, tables: Mapping[str, Any]) -> bool:
    try:
        return tomllib.loads(text) == tables
    except ValueError:
        return False


def _text(tables: Mapping[str, Any]) -> str:
    import tomli_w

    return _OURS + tomli_w.dumps(tables)


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(mode=0o700, exist_ok=True)
    atomic.write(path, text)
