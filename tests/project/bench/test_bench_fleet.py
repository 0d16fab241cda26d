"""scripts/bench fleet: what its figures are made of, and once the whole of it, as small as it can be."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from tests.bench.fleet import fleet
from tests.bench.fleet.tables import (
    KINDS,
    Run,
    by_kind,
    cpu_table,
    memory_table,
    of_each,
    ratio,
    room,
    slowest,
    wall_table,
)
from tests.bench.relay import Connection
from tests.bench.usage import Bill, Seen, Watch, family, parse, task, tasks

MIB = 1 << 20
ZERO = {kind: 0.0 for names in KINDS.values() for kind in names.values()}
ALONE = Run(1, 10, 0, 30.0, ZERO | {"borg create": 4.0}, 5.0, 3.0, 1, 26 * MIB)
MANY = Run(8, 40, 0, 10.0, ZERO | {"borg create": 16.0}, 20.0, 9.0, 8, 33 * MIB, {"ssh": MIB}, 800 * MIB)


def test_the_best_possible_is_the_processors_or_the_slowest_host_alone() -> None:
    assert ratio(MANY, ALONE, 2) == pytest.approx(10 / 8)
    assert ratio(MANY, ALONE, 16) == pytest.approx(10 / 3)  # not 10 / 9: beside others every host is slow


def test_what_a_host_takes_of_zborg_is_the_growth_over_one_at_a_time() -> None:
    assert of_each(MANY, ALONE) == MIB
    assert of_each(ALONE, ALONE) == 0


def test_a_hosts_time_spans_its_connections() -> None:
    several = [Connection(1, 10, 11), Connection(2, 10, 12), Connection(1, 11.5, 14)]
    assert slowest(several) == 4
    assert slowest([]) == 0


def test_what_nobody_saw_is_the_sides_other() -> None:
    seen = {"ssh": Seen(2.0), "server: other": Seen(0.5), "borg create": Seen(4.0)}
    found = by_kind(seen, {"server": 3.0, "hosts": 3.9})
    assert found["server: other"] == pytest.approx(1.0)
    assert found["ssh"] == 2.0
    assert found["agent"] == 0  # never less than nothing, should a clock tick be counted twice
    assert found.keys() == ZERO.keys()


def test_the_fullest_run_says_how_many_hosts_the_memory_holds() -> None:
    assert room([MANY, replace(ALONE, taken=900 * MIB)], 1000 * MIB) == 10
    assert room([], 0) == sys.maxsize


def test_one_after_another_is_scaled_from_its_sample_to_all() -> None:
    rounds = [{1: ALONE, 8: MANY}, {1: ALONE}]
    lines = wall_table(rounds, 40, 2)
    assert lines[2] == "| 1 | 120.0 | 120.0 - 120.0 | 16.0 | 8.0 | 3.0 |  | 0 |"
    assert lines[3] == "| 8 | 10.0 | 10.0 - 10.0 | 16.0 | 8.0 | 3.0 | 1.25 | 0 |"
    assert "0.400" in cpu_table(rounds)[2]
    assert memory_table(rounds)[3] == "| 8 | 8 | 33.00 | 1.00 | 1.00 | 0.00 | 0.00 | 100.00 |"


def test_a_process_is_read_whatever_its_name() -> None:
    line = "42 (a) b (c)) S 7 42 42 0 -1 4 1 2 0 0 150 50 30 20 20 0 1 0 999 1000 16 1 1"
    ticks = os.sysconf("SC_CLK_TCK")
    one = parse(line)
    assert (one.pid, one.parent, one.name, one.start) == (42, 7, "a) b (c)", "999")
    assert one.own == 200 / ticks
    assert one.tree == 250 / ticks


def test_every_process_below_a_root_is_its_sides_and_no_other() -> None:
    found = family(tasks(), {os.getpid(): "mine"})
    child = subprocess.Popen(["sleep", "60"])
    try:
        assert family(tasks(), {os.getpid(): "mine"}) == found | {child.pid: "mine"}
        assert os.getppid() not in found
    finally:
        child.kill()
        child.wait()


def test_what_ended_children_used_is_in_the_account() -> None:
    """A tree whose work is done by a grandchild too short-lived to be seen."""
    burn = "import time\nwhile time.process_time() < 0.3: pass"
    script = 'read -r word; for i in 1; do $0 -c "$1" & wait; done; read -r word'
    argv = ["sh", "-c", script, sys.executable, burn]
    root = subprocess.Popen(argv, stdin=subprocess.PIPE)
    assert root.stdin
    try:
        bill = Bill({root.pid: "hosts"})
        with Watch({root.pid: "hosts"}, {"hosts": {"": "all"}}) as watch:
            root.stdin.write(b"go\n")
            root.stdin.flush()
            deadline = time.monotonic() + 20
            while task(root.pid).ended < 0.25 and time.monotonic() < deadline:
                time.sleep(0.02)
        assert 0.25 <= bill.seconds()["hosts"] < 5
        assert watch.seen["all"].at_once >= 1
        assert watch.peaks[root.pid] > 0
    finally:
        root.stdin.close()
        root.wait()


def test_the_whole_bench_with_two_hosts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every part is real but zfs, so this also notices when zborg or its agent outgrow the bench."""
    sizes = fleet.Sizes(2, parallel=(2,), alone=1, rounds=1, limit=60.0, round_trip=0.004)
    fleet.main(sizes, tmp_path / "runs.json")
    said = capsys.readouterr()
    (runs,) = json.loads((tmp_path / "runs.json").read_text())["rounds"]
    assert {run["parallel"]: (run["hosts"], run["bad"]) for run in runs} == {1: (1, 0), 2: (2, 0)}, said.err
    for run in runs:
        assert run["peak"] > 10 * MIB
        assert 0 < run["slowest"] < run["wall"]
        assert sum(run["cpu"][kind] for kind in ("borg create", "borg serve")) > 0
    assert "| 2 | " in said.out
    assert "by force" not in said.err  # everything had ended by itself
