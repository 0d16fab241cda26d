"""`zborg status` against `borg --version`: looking must cost nothing."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import time
from pathlib import Path

import tomli_w

from tests.bench.pairs import machine, table
from tests.harness.host import find_borg
from tests.harness.keys import make_key
from tests.harness.world import ZBORG
from zborg.errors import Exit
from zborg.model import Outcome, Report, Status, utc_now
from zborg.model.serial import to_dict

_HOSTS = 30
_NIGHTS = 100


def main(rounds: int) -> None:
    with tempfile.TemporaryDirectory() as directory:
        config = _vault(Path(directory))
        ways = {
            "borg --version": [find_borg(), "--version"],
            "zborg status": [str(ZBORG), "status", "--config", str(config)],
            "zborg status --json": [str(ZBORG), "status", "--json", "--config", str(config)],
        }
        for argv in ways.values():
            _seconds(argv)  # warm the page cache
        measured = [{way: _seconds(argv) for way, argv in ways.items()} for _ in range(rounds)]
    print(f"{machine()}; {_HOSTS} hosts, {_NIGHTS} nights of run files, {rounds} rounds\n")
    print("\n".join(table(measured, "borg --version")))


def _vault(directory: Path) -> Path:
    """A server with a history, as `zborg backup` leaves it."""
    key = make_key(directory / "key").public
    names = [f"host{number}" for number in range(_HOSTS)]
    hosts = {name: {"ssh": f"ssh://root@{name}.example.net", "host_key": key} for name in names}
    config = directory / "zborg.toml"
    config.write_text(
        tomli_w.dumps({"state_dir": "state", "storage": {"dataset": "tank/borg"}, "hosts": hosts})
    )
    config.chmod(0o600)
    runs = directory / "state" / "runs"
    runs.mkdir(parents=True)
    now = utc_now()
    outcomes = tuple(
        Outcome("host", name, Status.OK, data={"files": 12, "new_bytes": 1000}) for name in names
    )
    for night in range(_NIGHTS):
        run = f"20260101T000000Z-{night:04x}"
        report = Report("backup", run, "bench", now, now, Status.OK, Exit.OK, outcomes)
        (runs / f"{run}.backup.json").write_text(json.dumps(to_dict(report)))
    return config


def _seconds(argv: list[str]) -> float:
    started = time.monotonic()
    subprocess.run(argv, stdout=subprocess.DEVNULL, env={**os.environ, "NO_COLOR": "1"}, check=False)
    return time.monotonic() - started
