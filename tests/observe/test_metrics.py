"""Metrics: what is in the textfile, whether promtool takes it, and what alerts and dashboard make of it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import threading
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from prometheus_client.parser import text_string_to_metric_families

from tests.harness.builders.reports import NOON, OUTCOMES, REPORTS, outcome, report, result
from tests.harness.checkout import CHECKOUT
from tests.harness.worlds.command_line import zborg
from tests.harness.worlds.local import LocalVault
from tests.harness.worlds.steps import Hours, dataset_only
from zborg import atomic
from zborg.model import Outcome, Report, Status
from zborg.model.figures import CompactionFigures
from zborg.model.text.units import printable
from zborg.reporting.metrics import METRICS, Backups, Copies, Facts, text
from zborg.steps.observe.metrics import facts, publish

MONITORING = CHECKOUT / "scripts" / "monitoring"
NUMBERS = {"files": 12, "original_bytes": 5000, "new_bytes": 70, "seconds": 3.5}
POOL = {
    "health": "ONLINE",
    "scrub": "finished",
    "scrub_finished": "2026-02-10T00:00:00Z",
    "scan_ended": "2026-02-10T00:00:00Z",
    "errors": 0,
    "repaired": 0,
    "device_errors": 2,
    "devices": [],
    "damaged": [],
    "size": 1000,
    "free": 400,
}


def promtool(*words: str, stdin: str = "", cwd: Path | None = None) -> None:
    """Debian's prometheus has it. Where it is missing this fails."""
    done = subprocess.run(
        ["promtool", *words], input=stdin, capture_output=True, text=True, timeout=120, check=False, cwd=cwd
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert not done.stderr, done.stderr


def values(textfile: str) -> dict[tuple[str, ...], float]:
    """By name and labels' values."""
    return {
        (sample.name.removeprefix("zborg_"), *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(textfile)
        for sample in family.samples
    }


def some_facts(**changes: Any) -> Facts:
    good = outcome(Status.OK, data=NUMBERS)
    hosts = {
        "web1": Backups(3600, (NOON, good), good),
        "web2": Backups(3600, (NOON, good), outcome(Status.FAILED, "web2")),
        "new": Backups(3600, None, None),
    }
    targets = {"far": Copies(7200, NOON, 99), "new": Copies(7200, None, None)}
    status = report(outcome(Status.OK), outcome(Status.WARNING), outcome(Status.FAILED, "web2"))
    pools = [Outcome("pool", "tank", Status.OK, result=result("pool", POOL))]
    verified = {"web1": (NOON, outcome(Status.OK)), "web2": (NOON, outcome(Status.DAMAGED, "web2"))}
    space = (
        CompactionFigures("web1", NOON, 500, 20, 2, NOON),
        CompactionFigures("new", None, 0, 30, 0, None),
    )
    whole = Facts(
        NOON + timedelta(hours=1),
        *(status, hosts, targets, [report(good)], pools, verified),
        storage="tank/borg",
        compactions=space,
    )
    return replace(whole, **changes)


def test_every_fact_has_its_line() -> None:
    noon = NOON.timestamp()
    expected: dict[tuple[str, ...], float] = {
        ("written_timestamp_seconds",): noon + 3600,
        ("findings", "ok"): 0,
        ("findings", "warning"): 1,
        ("findings", "bad"): 1,
        ("finding_level", "host", "web1"): 1,
        ("finding_level", "host", "web2"): 2,
        ("host_last_success_timestamp_seconds", "web1"): noon,
        ("host_last_success_timestamp_seconds", "web2"): noon,
        **{("host_max_age_seconds", name): 3600 for name in ("web1", "web2", "new")},
        ("host_good", "web1"): 1,
        ("host_good", "web2"): 0,
        **{("host_duration_seconds", name): 3.5 for name in ("web1", "web2")},
        **{("host_files", name): 12 for name in ("web1", "web2")},
        **{("host_original_bytes", name): 5000 for name in ("web1", "web2")},
        **{("host_new_bytes", name): 70 for name in ("web1", "web2")},
        **{("host_verified_timestamp_seconds", name): noon for name in ("web1", "web2")},
        ("host_damaged", "web1"): 0,
        ("host_damaged", "web2"): 1,
        ("command_finished_timestamp_seconds", "backup"): noon + 75,
        ("command_duration_seconds", "backup"): 75,
        ("command_exit_code", "backup"): 0,
        ("compaction_freed_bytes", "tank/borg"): 500,
        ("compaction_reclaimable_bytes", "tank/borg"): 50,
        ("compaction_quarantined_snapshots", "tank/borg"): 2,
        ("host_compaction_freed_bytes", "web1"): 500,
        ("host_compaction_freed_bytes", "new"): 0,
        ("host_compaction_reclaimable_bytes", "web1"): 20,
        ("host_compaction_reclaimable_bytes", "new"): 30,
        ("host_quarantine_end_timestamp_seconds", "web1"): noon,
        ("target_last_success_timestamp_seconds", "far"): noon,
        ("target_max_age_seconds", "far"): 7200,
        ("target_max_age_seconds", "new"): 7200,
        ("target_sent_bytes", "far"): 99,
        ("pool_size_bytes", "tank"): 1000,
        ("pool_free_bytes", "tank"): 400,
        ("pool_online", "tank"): 1,
        ("pool_errors", "tank"): 0,
        ("pool_device_errors", "tank"): 2,
        ("pool_scrub_timestamp_seconds", "tank"): NOON.replace(day=10, hour=0).timestamp(),
    }
    assert values(text(some_facts())) == expected


def test_promtool_takes_it() -> None:
    promtool("check", "metrics", stdin=text(some_facts()))
    hostile = outcome(Status.FAILED, 'web"1\\\n{x="y"} 1\n# HELP\udcff', data={"log": ["\x1b"]})
    odd = some_facts(
        status=report(hostile), hosts={hostile.subject: Backups(1, (NOON, hostile), hostile)}, pools=[hostile]
    )
    promtool("check", "metrics", stdin=text(odd))
    assert ("finding_level", "host", printable(hostile.subject)) in values(text(odd))


@settings(deadline=None)  # other tests may keep the machine busy
@given(status=REPORTS, pool=OUTCOMES)
def test_whatever_is_in_the_run_files_it_can_be_read(status: Report, pool: Outcome) -> None:
    made = text(some_facts(status=status, pools=[pool], last=[status]))
    told = values(made)
    assert sum(told["findings", level] for level in ("ok", "warning", "bad")) == len(
        {(one.kind, one.subject) for one in status.outcomes}
    )


# --- gathered and written -----------------------------------------------------------------------------


def test_it_is_gathered_from_the_last_runs(vault: LocalVault, clock: Hours, tmp_path: Path) -> None:
    dataset_only(vault, "web1", "web2")
    context = replace(vault.context(), clock=clock)
    context.runs.save(report(outcome(Status.OK, "web1", data=NUMBERS), run="20260211T120000Z-0001"))
    context.runs.save(
        report(
            Outcome(
                "replica", "offsite:web1", Status.OK, result=result("replica", {"streams": 1, "bytes": 5})
            ),
            Outcome(
                "replica", "offsite:web2", Status.OK, result=result("replica", {"streams": 1, "bytes": 6})
            ),
            command="replicate",
            run="20260211T130000Z-0001",
            finished=NOON,
        )
    )
    context.runs.save(
        report(
            Outcome(
                "replica", "offsite:web1", Status.OK, result=result("replica", {"streams": 1, "bytes": 7})
            ),
            Outcome("replica", "offsite:web2", Status.FAILED),
            command="replicate",
            run="20260212T130000Z-0001",
        )
    )
    context.runs.save(
        report(
            Outcome("pool", "tank", Status.OK, result=result("pool", POOL)),
            command="scrub",
            run="20260212T140000Z-0001",
        )
    )
    told = values(text(facts(context)))
    assert told["host_files", "web1"] == 12
    assert ("host_last_success_timestamp_seconds", "web2") not in told
    assert told["target_last_success_timestamp_seconds", "offsite"] == NOON.timestamp()
    assert told["target_sent_bytes", "offsite"] == 7
    assert told["pool_free_bytes", "tank"] == 400
    assert told["command_exit_code", "replicate"] == 3
    assert told["finding_level", "host", "web2"] == 2


def test_it_is_written_for_other_users_and_whole(vault: LocalVault, tmp_path: Path) -> None:
    path = tmp_path / "zborg.prom"
    context = vault.context()
    context = replace(context, config=replace(context.config, metrics=path))
    before = os.umask(0o077)
    try:
        assert not list(publish(context))
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o644
    assert [one.name for one in tmp_path.glob("zborg.prom*")] == ["zborg.prom"]
    promtool("check", "metrics", stdin=path.read_text())


def test_no_link_of_another_user_is_followed(tmp_path: Path) -> None:
    """The collector's directory is its own: root would open /etc/shadow to all."""
    precious = tmp_path / "shadow"
    precious.write_text("root:*")
    precious.chmod(0o600)
    (tmp_path / f".zborg.prom.{os.getpid()}.new").symlink_to(precious)
    atomic.write(tmp_path / "zborg.prom", "metrics")
    assert (precious.read_text(), precious.stat().st_mode & 0o777) == ("root:*", 0o600)
    assert (tmp_path / "zborg.prom").read_text() == "metrics"


def test_a_reader_never_sees_half_of_it(tmp_path: Path) -> None:
    path = tmp_path / "zborg.prom"
    texts = {letter * 300_000 for letter in "ab"}
    atomic.write(path, "a" * 300_000)
    ending = threading.Event()

    def write() -> None:
        while not ending.is_set():
            for one in texts:
                atomic.write(path, one)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        assert {path.read_text() for _ in range(300)} <= texts
    finally:
        ending.set()
        writer.join()


def test_one_that_cannot_be_written_is_a_warning_and_leaves_nothing(config: Path, tmp_path: Path) -> None:
    before = zborg("scrub", "--config", str(config))
    (tmp_path / "taken.prom").mkdir()
    config.write_text(f'{config.read_text()}\n[metrics]\ntextfile = "{tmp_path}/taken.prom"\n')
    done = zborg("scrub", "--json", "--config", str(config))
    assert done.returncode == before.returncode
    assert json.loads(done.stdout)["exit"] == before.returncode
    assert f"zborg: metrics: {tmp_path}/taken.prom cannot be written: Is a directory" in done.stderr
    assert [one.name for one in tmp_path.glob("taken.prom*")] == ["taken.prom"]


@pytest.mark.parametrize(
    ("words", "written"), [(["scrub"], True), (["scrub", "-n"], False), (["status"], False)]
)
def test_every_command_that_does_something_writes_it(
    config: Path, tmp_path: Path, words: list[str], written: bool
) -> None:
    path = tmp_path / "zborg.prom"
    config.write_text(f'{config.read_text()}\n[metrics]\ntextfile = "{path}"\n')
    done = zborg(*words, "--config", str(config))
    assert "metrics" not in done.stderr
    assert path.exists() == written
    if written:
        assert values(path.read_text())["command_exit_code", "scrub"] == done.returncode


# --- what reads them ----------------------------------------------------------------------------------


def test_the_alerts_fire_when_they_should_and_only_then() -> None:
    promtool("check", "rules", "zborg.rules.yml", cwd=MONITORING)
    promtool("test", "rules", "zborg.rules.test.yml", cwd=MONITORING)


def expressions() -> list[str]:
    panels = json.loads((MONITORING / "dashboard.json").read_text())["panels"]
    return [target["expr"] for panel in panels for target in panel["targets"]]


def test_the_dashboard_is_made_of_queries_that_prometheus_takes(tmp_path: Path) -> None:
    rules = [{"record": f"panel:{n}", "expr": one} for n, one in enumerate(expressions())]
    path = tmp_path / "rules.yml"  # JSON is YAML
    path.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
    promtool("check", "rules", str(path))


@pytest.mark.parametrize("file", ["dashboard.json", "zborg.rules.yml", "zborg.rules.test.yml"])
def test_what_is_read_is_written(file: str) -> None:
    read = set(re.findall(r"\bzborg_(\w+)", (MONITORING / file).read_text()))
    assert read <= set(METRICS)
    assert read
