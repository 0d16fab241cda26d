"""The two borgs that zborg promises to work with: Debian 12's 1.2 and the current 1.4."""

from __future__ import annotations

import subprocess
import sys
from functools import cache
from pathlib import Path

from tests.harness.machines.host import find_borg

BORGS = ("1.2", "1.4")


@cache
def borg_of(version: str) -> str:
    """The borg of one of BORGS. Raises FileNotFoundError: a test without its borg has failed."""
    places = [find_borg(), "/usr/bin/borg", str(Path(sys.prefix) / "borg-1.2" / "bin" / "borg")]
    found = {place: _version(place) for place in places}
    for place, said in found.items():
        if said.startswith(f"borg {version}."):
            return str(Path(place).resolve())
    raise FileNotFoundError(f"there is no borg {version} in {found}: run scripts/setup")


def _version(place: str) -> str:
    if not Path(place).exists():
        return "missing"
    return subprocess.run([place, "--version"], capture_output=True, text=True, timeout=120).stdout.strip()
