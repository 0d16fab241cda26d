"""`zborg status` against `borg --version`: looking must cost nothing, after a year of 30 hosts either.

A report of the whole year may take five seconds.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from pathlib import Path

from tests.bench.pairs import machine, table
from tests.bench.year import Year, fill
from tests.harness.machines.host import find_borg
from tests.harness.worlds.world import ZBORG


def main(rounds: int) -> None:
    year = Year()
    with tempfile.TemporaryDirectory() as directory:
        config = str(fill(Path(directory), year))
        ways = {
            "borg --version": [find_borg(), "--version"],
            "zborg status": [str(ZBORG), "status", "--config", config],
            "zborg status --json": [str(ZBORG), "status", "--json", "--config", config],
            "zborg history": [str(ZBORG), "history", "--config", config],
            "zborg report": [str(ZBORG), "report", "--days", "365", "--config", config],
        }
        for argv in ways.values():
            _seconds(argv)  # warm the page cache, and compile what a checkout has not compiled yet
        measured = [{way: _seconds(argv) for way, argv in ways.items()} for _ in range(rounds)]
    print(f"{machine()}; {year.hosts} hosts, {year.nights} nights, {rounds} rounds\n")
    print("\n".join(table(measured, "borg --version")))


def _seconds(argv: list[str]) -> float:
    # An installed program is compiled, as borg is here; some environments forbid a checkout to be.
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    started = time.monotonic()
    subprocess.run(argv, stdout=subprocess.DEVNULL, env={**environment, "NO_COLOR": "1"}, check=False)
    return time.monotonic() - started
