"""A custodian's machine: the command line `escrow prove`, in a network namespace without any network."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.harness.machines.borgs import borg_of


@dataclass(frozen=True)
class Proving:
    """What a run of it came to."""

    status: int
    out: str
    err: str

    @property
    def report(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.out)
        return found

    @property
    def answer(self) -> str:
        """Of the only host in the challenge."""
        (one,) = self.report["outcomes"]
        return str(one["data"]["answer"])


def programs(directory: Path, **paths: str) -> str:
    """A PATH in which these are found beside the system's small ones, and no other borg or age."""
    directory.mkdir(exist_ok=True)
    for name in ("cat", "setpriv"):
        paths.setdefault(name, f"/usr/bin/{name}")
    for name, path in paths.items():
        (directory / name).unlink(missing_ok=True)
        (directory / name).symlink_to(path)
    return str(directory)


def both(directory: Path, version: str = "1.4") -> str:
    """Where age and this borg are."""
    return programs(directory, borg=borg_of(version), age="/usr/bin/age")


def argv(challenge: Path, identity: Path, *more: str) -> list[str]:
    """The whole command."""
    zborg = [
        sys.executable,
        "-P",
        "-m",
        "zborg",
        "escrow",
        "prove",
        str(challenge),
        "--identity",
        str(identity),
    ]
    return ["/usr/bin/unshare", "--net", "--", *zborg, *more]


def environment(path: str, **more: str) -> Mapping[str, str]:
    """Without a zborg.toml that could be read."""
    return {"PATH": path, "ZBORG_CONFIG": "/nonexistent/zborg.toml", "HOME": "/nonexistent"} | more


def prove(challenge: Path, identity: Path, path: str, *more: str) -> Proving:
    """Run to the end."""
    done = subprocess.run(
        argv(challenge, identity, *more),
        env=dict(environment(path)),
        cwd=os.sep,
        capture_output=True,
        text=True,
        timeout=240,
    )
    return Proving(done.returncode, done.stdout, done.stderr)
