"""`zborg status` against `borg --version`: looking must cost nothing, after a year of many hosts either.

A report of the whole year may take five seconds. A large site is looked at in both forms: all hosts in one
report a night, and a report for each host by cron; one of its hosts was never good.
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

USUAL = Year().hosts
REPORTED = 100  # hosts; a report of a larger site is another question


def main(rounds: int, hosts: int) -> None:
    years = [Year(hosts)] if hosts <= REPORTED else [Year(hosts, never=1), Year(hosts, never=1, cron=True)]
    print(machine())
    for year in years:
        _measure(year, rounds)


def _measure(year: Year, rounds: int) -> None:
    with tempfile.TemporaryDirectory() as directory:
        config = str(fill(Path(directory), year))
        ways = {
            "borg --version": [find_borg(), "--version"],
            "zborg status": [str(ZBORG), "status", "--config", config],
            "zborg status --json": [str(ZBORG), "status", "--json", "--config", config],
            "zborg history": [str(ZBORG), "history", "--config", config],
        }
        if year.hosts <= REPORTED:
            ways["zborg report"] = [str(ZBORG), "report", "--days", "365", "--config", config]
        for argv in ways.values():
            _seconds(argv)  # warm the page cache, and compile what a checkout has not compiled yet
        measured = [{way: _seconds(argv) for way, argv in ways.items()} for _ in range(rounds)]
        files = sum(1 for _ in (Path(directory) / "state" / "runs").iterdir())
    form = "a cron line each" if year.cron else "one report a night"
    print(f"\n{year.hosts} hosts, {form}, {year.nights} nights, {files} run files, {rounds} rounds\n")
    print("\n".join(table(measured, "borg --version")))


def _seconds(argv: list[str]) -> float:
    # An installed program is compiled, as borg is here; some environments forbid a checkout to be.
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    started = time.monotonic()
    subprocess.run(argv, stdout=subprocess.DEVNULL, env={**environment, "NO_COLOR": "1"}, check=False)
    return time.monotonic() - started
