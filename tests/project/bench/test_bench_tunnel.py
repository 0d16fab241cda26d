"""scripts/bench tunnel: the two ways that a user takes make the archives that they are timed for."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from tests.bench.tunnel import Bench
from tests.harness.machines.host import find_borg


def test_a_user_s_ways_make_a_full_backup_and_an_unchanged_one(tmp_path: Path) -> None:
    bench = Bench(tmp_path, scale=1000)
    try:
        bench.both("push, forced serve", tmp_path / "push")
        denied = _forced(bench, tmp_path / "push", "list")
        bench.both("zborg backup, whole", tmp_path / "whole")
        assert bench.world is not None
        assert bench.world.good() == 1
        (host,) = bench.world.hosts
        whole = bench.world.repository(host)
        push = tmp_path / "push" / "web1"
        for repository in (push, whole):
            commits = (repository / "transactions").read_text().count("transaction ")
            assert commits == 2, "an archive each time"
    finally:
        bench.close()
    assert denied.returncode == 0, denied.stderr
    assert denied.stdout.count("web1-") == 2


def _forced(bench: Bench, place: Path, verb: str) -> subprocess.CompletedProcess[str]:
    """By the key of that way, which the forced command holds to its repository."""
    environment = bench.environment(place, (), place / "key")
    argv = [find_borg(), verb, bench.url(place)]
    return subprocess.run(argv, env={**os.environ, **environment}, capture_output=True, text=True, timeout=60)
