"""What a host prints takes a bounded amount of zborg's memory, whatever it is."""

from __future__ import annotations

import json
import re
import shutil
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.harness.checkout import CHECKOUT
from tests.harness.machines.hostile.hosts_that_hold import misbehave
from tests.harness.processes import backup_process
from tests.harness.worlds.local import LocalVault
from zborg.borg.log import LISTING, BorgLog
from zborg.borg.verdict import judge
from zborg.cli.command.tally import Tally
from zborg.model import Status
from zborg.model.events import Progress, Started
from zborg.planning.backup.memory import SERVE_LIMIT
from zborg.planning.doctor.memory import memory_finding

MIB = 1 << 20
LINES = 60_000  # some MiB of each kind


def peak(work: Callable[[], object]) -> int:
    """Bytes that Python's objects took at most."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def logged(level: str, text: str) -> str:
    return json.dumps({"type": "log_message", "levelname": level, "message": text})


_KINDS: dict[str, Callable[[int], str]] = {
    "stdout of a character a line": lambda n: "= x",
    "stdout as a tree": lambda n: '= {"a":[' + "[]," * 1000,
    "errors": lambda n: logged("ERROR", f"{n}" * 50),
    "warnings": lambda n: logged("WARNING", f"{n}" * 50),
    "progress": lambda n: json.dumps({"type": "archive_progress", "nfiles": n, "original_size": n}),
    "plain lines": lambda n: f"{n}" * 20,
    "empty lines": lambda n: "",
}


@pytest.mark.parametrize("kind", _KINDS)
def test_a_log_takes_a_bounded_amount_whatever_is_printed(kind: str) -> None:
    log = BorgLog()

    def work() -> None:
        for n in range(20 * LINES if "character" in kind else LINES):
            log.feed(_KINDS[kind](n))
        log.json()
        judge(2, log)

    assert peak(work) < 4 * MIB


def test_a_log_of_long_lines_is_bounded_too() -> None:
    log = BorgLog()

    def work() -> None:
        for n in range(60):
            log.feed(f"{n}" * (MIB // 2))
            log.feed(logged("ERROR", "x" * MIB))

    assert peak(work) < 16 * MIB  # a line itself, and its copies while it is parsed


def test_what_borg_prints_is_whole_up_to_the_limit_and_nothing_beyond_it() -> None:
    for max_bytes, count, whole in ((MIB, 1000, True), (MIB, 200_000, False), (LISTING, 200_000, True)):
        log = BorgLog(max_bytes=max_bytes)
        log.feed('= {"archives": [')
        for n in range(count):
            log.feed(f"= {n},")
        log.feed("= 0]}")
        assert (len(log.json().get("archives", ())) == count + 1) is whole
    assert log.json()["archives"][:3] == [0, 1, 2]


def test_a_live_view_samples_a_flood_of_progress() -> None:
    now = [0.0]
    tally = Tally(lambda: now[0])

    def work() -> None:
        tally.take(Started("web1"))
        for n in range(LINES):
            now[0] += 0.0002
            tally.take(Progress("web1", bytes=n * 1000))

    assert peak(work) < MIB
    assert tally.running["web1"].rate(now[0]) == pytest.approx(1000 / 0.0002, rel=0.1)


# --- a real host ------------------------------------------------------------------------------------------

_FLOOD = """
exec python3 - <<'END' >&2
line = '{"type": "archive_progress", "nfiles": %d, "original_size": %d, "finished": false}'
for n in range(60_000):
    print("= x", line % (n, n), "x" * 60, sep="\\n")
END
"""


def most_memory(vault: LocalVault) -> int:
    """Bytes that a process took which backed this vault up."""
    process, seen = backup_process.start(vault), 0
    while process.poll() is None:
        try:
            status = Path(f"/proc/{process.pid}/status").read_text()
        except OSError:
            continue
        if found := re.search(r"VmHWM:\s+(\d+) kB", status):
            seen = max(seen, int(found[1]) * 1024)
    process.communicate(timeout=120)
    return seen


def test_a_host_that_floods_costs_hardly_more_than_a_quiet_one(vault: LocalVault) -> None:
    host = vault.add("web1")
    quiet = most_memory(vault)
    misbehave(host, _FLOOD)
    home = vault.zfs.directory("tank/borg/web1")
    shutil.rmtree(home)
    home.mkdir()
    flooded = most_memory(vault)
    saved = vault.context().runs.newest("backup")
    assert saved is not None and saved.outcomes[0].status is Status.FAILED
    assert quiet > 10 * MIB
    assert flooded < quiet + 24 * MIB, f"{quiet >> 20} and {flooded >> 20} MiB"
    shown = (vault.directory / "events").read_text().count("progress web1")
    assert 1 <= shown < 600, "five a second, of sixty thousand"


# --- doctor's judge ---------------------------------------------------------------------------------------


def test_the_memory_that_hostile_hosts_could_take_is_compared_with_the_machines() -> None:
    enough = memory_finding("this machine", 4, 16 << 30, "/etc/zborg/zborg.toml")
    assert (enough.level, enough.remedy) == (Status.OK, "")
    short = memory_finding("this machine", 4, 8 << 30, "/etc/zborg/zborg.toml")
    assert short.level is Status.WARNING
    assert short.message == "4 borg serves at once may take 16.0 GiB in all, this machine has 8.0 GiB"
    assert "parallel = 2 in /etc/zborg/zborg.toml" in short.remedy
    assert "parallel = 1 in " in memory_finding("nas", 4, 1 << 30, "z").remedy


def test_the_judge_knows_the_limit_that_serve_sh_sets() -> None:
    script = (CHECKOUT / "zborg" / "hosts" / "serve.sh").read_text()
    found = re.search(r"memory=\$\{LIMIT-(\d+)\}$", script, re.MULTILINE)
    assert found and int(found[1]) * 1024 == SERVE_LIMIT
    assert 'limit -v "$memory"\n' in script
