"""hosts.d/NAME.toml: what zborg writes, one host per file.

zborg.toml and what people wrote is read and never changed: comments stay where they are.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from zborg.errors import ConfigError

FOLDER = "hosts.d"
INCLUDE = f'include = ["{FOLDER}/*.toml"]'
_OURS = "# Written by zborg; what you change here stays.\n"


def read(path: Path) -> dict[str, Any]:
    """The file's tables, {} when there is none. Raises ConfigError."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise ConfigError(f"{path}: {error}", "see toml.io for the notation") from error


def write(path: Path, name: str, table: Mapping[str, Any]) -> None:
    """Whole, on disk and readable by its owner alone before it has its name."""
    import tomli_w

    path.parent.mkdir(mode=0o700, exist_ok=True)
    new = path.with_name(f"{path.name}.new")  # no *.toml: nobody reads it
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with open(descriptor, "w", encoding="utf-8") as file:
        file.write(_OURS + tomli_w.dumps({"hosts": {name: dict(table)}}))
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)
