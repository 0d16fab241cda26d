"""What people and monitors see: the screen of `status`, its line for Nagios, and the tables of `history`."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.bench.year import Year, fill
from tests.harness.builders.reports import outcome, report, result
from tests.harness.steps import night
from tests.harness.worlds.local import LocalVault
from tests.harness.worlds.steps import Hours, dataset_only, of, scrubbed, world
from tests.harness.worlds.world import ZBORG
from zborg.model import Endpoint, Entry, Outcome, Report, Scrub, Status, Target
from zborg.model.results import SnapshotTaken, Trend
from zborg.model.serial.results import from_table
from zborg.planning.observe.nights import nights, trend
from zborg.reporting.history import table
from zborg.reporting.status import one_line, screen
from zborg.state.history import History
from zborg.state.recorded.moment import Moment
from zborg.state.runs import Runs, new_run
from zborg.steps.observe.status import live
from zborg.steps.replicate.lag import Lag, lag_of

TODAY = datetime(2026, 2, 12, 9, 0, tzinfo=UTC)


@pytest.fixture(scope="module")
def year(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A short one of few hosts, with its ransomware night. Returns zborg.toml."""
    now = datetime.now(UTC).replace(microsecond=0)
    return fill(tmp_path_factory.mktemp("year"), Year(hosts=4, nights=60, now=now))


def zborg(config: Path, *words: str) -> subprocess.CompletedProcess[str]:
    argv = [str(ZBORG), *words, "--config", str(config)]
    return subprocess.run(argv, capture_output=True, text=True, timeout=120, env={**os.environ, "TZ": "UTC"})


def texts(lines: Sequence[object]) -> list[str]:
    return [line.text for line in lines]  # type: ignore[attr-defined]  # reporting.text.Line


# --- status -------------------------------------------------------------------------------------------


def test_the_screen_after_a_year_fits_and_tells_each_host_in_a_line(year: Path) -> None:
    shown = zborg(year, "status").stdout.splitlines()
    assert max(map(len, shown)) <= 80
    assert shown[0].split() == ["host", "age/limit", "size", "new", "took", "vs", "usual"]
    for number in range(4):
        (row,) = [line for line in shown if line.startswith(f"host{number:02} ")]
        assert row.split()[1] in ("ok", "failed", "warning")
        assert "/30 h " in row
    (target,) = [line for line in shown if line.startswith("replicate offsite")]
    assert "nothing behind" in target
    (pool,) = [line for line in shown if line.startswith("tank ")]
    assert "63% of 16.0 TiB used" in pool


def test_status_as_json_has_the_numbers_of_the_screen(year: Path) -> None:
    told = json.loads(zborg(year, "status", "--json").stdout)
    host = next(one for one in told["outcomes"] if one["subject"] == "host01")
    keys = {"last_good", "age", "max_age", "usual_seconds", "usual_new_bytes", "seconds"}
    assert host["data"].keys() >= keys
    assert host["data"]["max_age"] == 30 * 3600
    target = next(one for one in told["outcomes"] if one["subject"] == "replicate offsite")
    assert (target["data"]["behind"], target["data"]["lag"], target["data"]["lag_bytes"]) == ([], 0, 0)
    pools = [one["subject"] for one in told["outcomes"] if one["kind"] == "pool"]
    assert pools == ["tank", "offsite:vault"]


def test_what_needs_a_look_is_below_the_table_with_its_mend() -> None:
    numbers = {"age": 3600, "max_age": 7200, "seconds": 310.0, "usual_seconds": 100.0, "original_bytes": 2048}
    good = outcome(
        Status.OK, "web1", message="last good backup 60 minutes ago", data=numbers, command="status"
    )
    mend = "zborg backup web2"
    bad = outcome(
        Status.FAILED, "web2", message="never backed up", remedy=mend, data={"max_age": 1}, command="status"
    )
    told = "\n".join(texts(screen(report(good, bad))))
    assert told.splitlines()[1:3] == [
        "web1 ok            1/2 h    2.0 KiB          -      5 min     3.1x",
        "web2 failed        never          -          -          -        -",
    ]
    assert "never backed up" in told
    assert "-> zborg backup web2" in told
    assert "60 minutes ago" not in told


@given(
    subject=st.from_regex("[a-z0-9-]{1,18}", fullmatch=True),
    age=st.integers(-500, 10**8),
    limit=st.integers(0, 10**8),
    seconds=st.floats(0, 10**7),
    usual=st.floats(0, 10**7),
    size=st.integers(0, 2**60),
)
def test_no_host_is_wider_than_the_screen(
    subject: str, age: int, limit: int, seconds: float, usual: float, size: int
) -> None:
    data = {"age": age, "max_age": limit, "seconds": seconds, "usual_seconds": usual}
    data |= {"original_bytes": size, "new_bytes": size}
    for status in (Status.OK, Status.CONFLICT):
        lines = texts(screen(report(outcome(status, subject, data=data, command="status"))))
        assert max(map(len, lines[:2])) <= 80


@pytest.mark.parametrize(
    ("age", "limit", "seconds", "shown"),
    [
        (60, 26 * 3600, 51.0, ["<1/26", "h", "51.0", "s", "-49%"]),
        (19 * 3600, 26 * 3600, 2360.0, ["19/26", "h", "39", "min", "23.6x"]),
        (7150, 7150, 7150.0, ["119/119", "m", "119", "min", "71.5x"]),
        (27 * 3600, 3600, 100.0, ["27", "hours", "100.0", "s", "+0%"]),
    ],
)
def test_numbers_say_what_they_are_compared_with(
    age: int, limit: int, seconds: float, shown: list[str]
) -> None:
    data = {"age": age, "max_age": limit, "seconds": seconds, "usual_seconds": 100.0}
    head, row, *_ = texts(screen(report(outcome(Status.OK, "web1", data=data, command="status"))))
    assert head.split() == ["host", "age/limit", "size", "new", "took", "vs", "usual"]
    assert [word for word in row.split()[2:] if word != "-"] == shown
    assert len(row) <= 80


@pytest.mark.parametrize(
    ("statuses", "word", "code"),
    [
        ([Status.OK, Status.OK], "OK", 0),
        ([Status.OK, Status.WARNING], "WARNING", 1),
        ([Status.OK, Status.FAILED], "CRITICAL", 2),
        ([Status.WARNING, Status.DAMAGED], "CRITICAL", 2),
        ([Status.CONFLICT], "CRITICAL", 2),
    ],
)
def test_a_monitor_gets_one_line_and_its_own_codes(statuses: list[Status], word: str, code: int) -> None:
    some = [outcome(status, f"web{n}", message="a\nb | c=9") for n, status in enumerate(statuses)]
    line, number = one_line(report(*some))
    assert number == code
    assert line.startswith(f"ZBORG {word} - ")
    assert "\n" not in line
    words, _, numbers = line.partition("|")
    assert "c=9" not in numbers
    assert numbers.strip() == f"hosts={len(some)} good={sum(one.status.good for one in some)}"


def test_a_monitor_s_line_keeps_its_numbers_whatever_is_said() -> None:
    """NRPE cuts it after 1,024 characters."""
    said = [Outcome("host", f"web{n}", Status.FAILED, "x" * 20_000) for n in range(300)]
    line, _ = one_line(report(*said, status=Status.FAILED))
    assert line.endswith("...; 297 more | hosts=300 good=0")
    assert len(line) < 1000


def test_what_keeps_zborg_from_looking_is_unknown(tmp_path: Path) -> None:
    done = zborg(tmp_path / "none.toml", "status", "--nagios")
    assert done.returncode == 3
    assert done.stdout.startswith("ZBORG UNKNOWN - ")
    assert len(done.stdout.splitlines()) == 1


def test_asking_the_pools_saves_nothing(vault: LocalVault, clock: Hours) -> None:
    dataset_only(vault, "web1")
    scrubbed(vault, clock)
    night(world(vault, clock))
    before = sorted((vault.state / "runs").iterdir())
    scrubbed(vault, clock, Scrub.NEVER)
    assert of(live(world(vault, clock)), "tank").status is Status.FAILED
    assert sorted((vault.state / "runs").iterdir()) == before


# --- how far a target is behind -----------------------------------------------------------------------


def saved(runs: Runs, hours: float, command: str, *outcomes: Outcome) -> Report:
    at = TODAY + timedelta(hours=hours)
    one = report(*outcomes, command=command, run=new_run(at), started=at, finished=at + timedelta(minutes=1))
    runs.save(one)
    return one


def taken(name: str, raw: str) -> Outcome:
    dataset = f"tank/borg/{name}"
    return Outcome(
        "dataset", dataset, Status.OK, result=SnapshotTaken(snapshot=f"{dataset}@{raw}", state="ok")
    )


OFFSITE = Target("offsite", Endpoint("root", "offsite", 22, "ssh-ed25519 AAAA", "id"), "vault", 86400)


def sent(name: str, raw: str = "", status: Status = Status.OK) -> Outcome:
    data = {"streams": 1, "bytes": 5} | ({"snapshot": raw} if raw else {})
    return Outcome(
        "replica", f"offsite:vault/{name}", status, result=result("replica", data if status.good else {})
    )


def test_lag_is_told_from_the_last_good_replication_of_each_dataset(tmp_path: Path) -> None:
    runs = Runs(tmp_path)
    assert lag_of(Moment(runs), "tank/borg", OFFSITE, TODAY) is None
    saved(runs, 0, "snapshot", taken("a", "one"), taken("b", "one"))
    now = TODAY + timedelta(hours=40)
    never = lag_of(Moment(runs), "tank/borg", OFFSITE, now)
    assert never is not None
    assert (never.datasets, never.seconds) == (("a", "b"), None)
    saved(runs, 1, "replicate", sent("a", "one"), sent("b"))  # b was up to date, and tells no name
    assert str(lag_of(Moment(runs), "tank/borg", OFFSITE, now)) == "nothing behind"
    assert (
        str(lag_of(Moment(runs), "tank/borg", replace(OFFSITE, name="other"), now))
        == "2 datasets behind the newest snapshot, never sent"
    )
    for name in ("a", "b"):
        saved(runs, 23, "backup", outcome(Status.OK, name, data={"new_bytes": 3 << 20}))
    saved(runs, 24, "snapshot", taken("a", "two"), taken("b", "two"))
    saved(runs, 24, "replicate", sent("a", "two"), sent("b", status=Status.FAILED))
    late = lag_of(Moment(runs), "tank/borg", OFFSITE, now)
    assert late is not None
    assert late == Lag(("b",), (39 * 60 - 1) * 60.0, 3 << 20)
    assert str(late) == "1 dataset behind the newest snapshot, up to 38 hours, about 3.0 MiB"


def test_lag_of_a_dataset_below_a_host_s_is_its_own(tmp_path: Path) -> None:
    """web1/db was sent, and host db never was: once that read as "nothing behind"."""
    runs = Runs(tmp_path)
    saved(runs, 0, "snapshot", taken("db", "one"), taken("web1", "one"), taken("web1/db", "one"))
    saved(runs, 1, "replicate", sent("web1", "one"), sent("web1/db", "one"))
    found = lag_of(Moment(runs), "tank/borg", OFFSITE, TODAY + timedelta(hours=2))
    assert found is not None
    assert (found.datasets, found.seconds) == (("db",), None)
    saved(runs, 2, "replicate", sent("db", "one"))
    assert str(lag_of(Moment(runs), "tank/borg", OFFSITE, TODAY + timedelta(hours=3))) == "nothing behind"


# --- history ------------------------------------------------------------------------------------------


def entry(hours: float, name: str, status: Status, minutes: float = 1, **data: object) -> Entry:
    began = TODAY + timedelta(hours=hours)
    ended = began + timedelta(minutes=minutes)
    made = Outcome("host", name, status, result=from_table("backup", "host", data))
    return Entry(began, ended, "vault", f"{hours}", "backup", made)


def test_a_night_is_the_day_on_which_its_backups_began() -> None:
    some = [
        entry(0, "web1", Status.OK, minutes=60 * 20, original_bytes=10),  # ends on the next day
        entry(1, "web2", Status.FAILED),
        entry(1, "web3", Status.BUSY),
        entry(3, "web2", Status.WARNING, original_bytes=5),  # a second try
        entry(4, "web2", Status.FAILED),
        entry(48, "web1", Status.DAMAGED),
    ]
    first, between, last = nights(some, UTC)
    assert (first.good, first.bad, first.total(lambda one: one.original_bytes)) == (("web1", "web2"), {}, 15)
    assert first.seconds == 20 * 3600
    assert (between.hosts, between.seconds) == ({}, 0)
    assert last.bad == {"web1": "damaged"}
    assert nights(some, UTC)[0].day.isoformat() == "2026-02-12"
    assert nights([], UTC) == ()


def test_the_trend_counts_good_ones_alone_and_survives_odd_numbers() -> None:
    some = [
        entry(0, "web1", Status.OK, original_bytes=100, seconds=10, new_bytes=5),
        entry(24, "web1", Status.FAILED, original_bytes=1, seconds=999),
        entry(48, "web1", Status.SKIPPED),
        entry(72, "web1", Status.OK, original_bytes=150, seconds=30, new_bytes="many"),
    ]
    found = trend(some)
    assert (found.good, found.of) == (2, 3)
    assert (found.usual_seconds, found.usual_new_bytes, found.growth) == (20, 5, 0.5)
    assert found.since == some[0].ended
    assert trend([]) == Trend(good=0, of=0)


def test_history_tells_nights_and_a_host_s_backups(year: Path) -> None:
    past = History(year.parent / "state" / "history.db")
    shown = zborg(year, "history", "--days", "90").stdout.splitlines()
    assert len(shown) == 61
    assert max(map(len, shown)) <= 80
    told = json.loads(zborg(year, "history", "--days", "90", "--json").stdout)
    new = sum(int(one.outcome.data["new_bytes"]) for one in past.outcomes("host") if one.outcome.status.good)
    assert sum(one["data"]["new_bytes"] for one in told["outcomes"]) == new
    assert sum(one["data"]["good"] for one in told["outcomes"]) == sum(
        one.outcome.status.good for one in past.outcomes("host")
    )
    hit = max(told["outcomes"], key=lambda one: int(one["data"]["new_bytes"]))
    (began,) = [one.started for one in past.outcomes("host", "host01") if one.run.endswith("-0028")]
    assert hit["subject"] == f"{began:%Y-%m-%d}", "the ransomware night stands out"
    one = zborg(year, "history", "host01", "--days", "90").stdout.splitlines()
    assert max(map(len, one)) <= 80
    assert len([line for line in one if line.startswith("20")]) == 60
    assert "of 60 backups good" in one[-3]


def test_a_host_that_nobody_knows_is_an_error_and_an_empty_history_is_not(year: Path, tmp_path: Path) -> None:
    unknown = zborg(year, "history", "nobody")
    assert (unknown.returncode, unknown.stdout) == (2, "")
    assert "nothing is recorded of nobody" in unknown.stderr
    (tmp_path / "state" / "runs").mkdir(parents=True)
    text = year.read_text().replace('identity = "key"', f'identity = "{year.parent}/key"')
    config = tmp_path / "zborg.toml"
    config.write_text(text)
    config.chmod(0o600)
    for words in (["history"], ["history", "host01"]):
        done = zborg(config, *words)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith("nothing is recorded of ")
    assert not (tmp_path / "state" / "history.db").exists()


def test_a_broken_history_is_told_with_its_mend_and_made_anew(year: Path) -> None:
    path = year.parent / "state" / "history.db"
    whole = History(path).runs()
    path.write_bytes(b"broken" * 1000)
    shown = zborg(year, "history")
    assert shown.returncode == 4
    assert "zborg history --rebuild" in shown.stderr
    assert "Traceback" not in shown.stderr
    again = zborg(year, "history", "--rebuild")
    assert again.returncode == 0, again.stderr
    assert f"{len(whole)} runs recorded" in again.stdout
    assert "history.db.corrupt-" in again.stderr
    assert History(path).runs() == whole


def test_what_a_host_said_stays_in_its_line() -> None:
    words = "no\nway\x1b[31m " + "x" * 200
    data = {"ended_here": "2026-02-12 03:00"}
    bad = outcome(Status.FAILED, message=words, data=data, command="history")
    shown = texts(table(report(bad, Outcome("trend", "web1", Status.OK, result=trend([])))))
    assert max(map(len, shown)) <= 80
    assert all(line.isprintable() for line in shown)
