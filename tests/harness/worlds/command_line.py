"""zborg as a command: its words, its console script, a configuration with which nothing works."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tomli_w
import typer

from tests.harness.worlds.world import ZBORG
from zborg.cli.main import application
from zborg.errors import Exit

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f"


def commands(command: Any, *words: str) -> Iterator[tuple[str, ...]]:
    """Every command of the application, as its words."""
    if not hasattr(command, "commands"):
        yield words
        return
    for name, inner in command.commands.items():
        yield from commands(inner, *words, name)


APP = application(())  # with all commands
COMMANDS = sorted(commands(typer.main.get_command(APP)))
# sshd starts this one, far from any zborg.toml; what it is told stands in authorized_keys.
AT_HOME = [words for words in COMMANDS if words != ("sink",)]


def zborg(*words: str, cwd: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    env = {key: value for key, value in os.environ.items() if key not in ("ZBORG_CONFIG", "NO_COLOR")}
    done = subprocess.run(
        [str(ZBORG), *words],
        env=env | environment,
        cwd=cwd,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=120,
        check=False,
    )
    assert "Traceback" not in done.stdout + done.stderr
    assert "\x1b" not in done.stdout + done.stderr, "no escape codes into a pipe"
    assert done.returncode in set(Exit)
    return done


def python(program: str, *argv: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", program, *argv],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=120,
        check=False,
    )


def write_config(directory: Path) -> Path:
    """A configuration with a state directory and one host at which nothing listens."""
    for name in ("", "locks", "runs"):
        (directory / "state" / name).mkdir(mode=0o700)
    host = {"ssh": "ssh://root@127.0.0.1:1", "host_key": KEY, "identity": "id"}
    path = directory / "zborg.toml"
    table = {
        "state_dir": "state",
        "storage": {"dataset": "no-such-pool/borg"},
        "hosts": {"web1": host},
        "targets": {"offsite": host | {"dataset": "vault/zborg"}},
    }
    path.write_text(tomli_w.dumps(table))
    path.chmod(0o600)
    return path


BUG = """
import sys
import zborg.steps.backup.step
def broken(run, request):
    raise RuntimeError("the sky fell")
zborg.steps.backup.step.backup = broken
sys.argv = ["zborg", "backup", *sys.argv[1:]]
from zborg.cli.main import run
run()
"""
