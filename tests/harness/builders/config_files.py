"""Files of configuration as tests write them, and how one is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import tomli_w

from zborg.config import load
from zborg.errors import ConfigError, Exit

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f"
AGE = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p"
HOST = {"ssh": "ssh://root@web1.example.net:22", "host_key": KEY}
NAS = HOST | {"dataset": "tank/borg"}
LEAST: dict[str, Any] = {"storage": {"dataset": "tank/borg"}}


def write(path: Path, table: dict[str, Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(tomli_w.dumps(table))
    path.chmod(0o600)
    return path


def refused(path: Path) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        load(path)
    assert caught.value.exit is Exit.CONFIG
    return caught.value


def problems(tmp_path: Path, **tables: Any) -> tuple[str, ...]:
    return refused(write(tmp_path / "zborg.toml", LEAST | tables)).problems


# --- what a good file means ------------------------------------------------------------------------


def uncommented(text: str) -> str:
    """The sample with every commented setting switched on; prose comments stay comments."""

    def line(text: str) -> str:
        bare = text.removeprefix("# ")
        is_setting = bare.startswith("[") or " = " in bare.split("#")[0]
        return bare if text.startswith("# ") and is_setting else text

    return "\n".join(map(line, text.splitlines())).replace("ssh-ed25519 AAAA...", KEY).replace("age1...", AGE)


# --- drop-ins --------------------------------------------------------------------------------------


def with_drop_ins(tmp_path: Path, main: dict[str, Any], **drop_ins: dict[str, Any]) -> Path:
    for name, table in drop_ins.items():
        write(tmp_path / "hosts.d" / f"{name}.toml", table)
    return write(tmp_path / "zborg.toml", LEAST | {"include": ["hosts.d/*.toml"]} | main)
