"""What the history answers in place of run files, against a reading of all of them."""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

from tests.harness.builders.reports import NOON, outcome, report
from zborg.model import Outcome, Report, Status
from zborg.model.text.units import moment
from zborg.state.history import History
from zborg.state.recorded import moment as module
from zborg.state.recorded.moment import Dated, Moment
from zborg.state.recorder import Recorder
from zborg.state.runs import Runs, ended, read_report

pytestmark = pytest.mark.unit

HOSTS = ("web1", "web2", "web3")
AHEAD = datetime(2999, 1, 1, tzinfo=NOON.tzinfo)  # a clock that was wrong


def begun(at: datetime, *outcomes: Outcome, end: str = "0000", command: str = "backup") -> Report:
    run = f"{at:%Y%m%dT%H%M%SZ}-{end}"
    return report(*outcomes, run=run, command=command, started=at, finished=at + timedelta(minutes=5))


def recording(place: Path, warned: list[str] | None = None) -> Runs:
    """Runs whose every report is recorded, in a process of their own."""
    (place / "runs").mkdir(exist_ok=True)
    words = [] if warned is None else warned
    history = History(place / "history.db")
    also = Recorder(history, place / "runs", lambda: (), words.append)
    return Runs(place / "runs", also, history=history)


def looked(place: Path) -> Moment:
    return Moment(Runs(place / "runs", history=History(place / "history.db")))


def every_file_to_good(place: Path) -> dict[str, list[Dated]]:
    found: dict[str, list[Dated]] = {host: [] for host in HOSTS}
    for one in Runs(place / "runs").newest_first("backup"):
        for part in one.outcomes:
            mine = found.get(part.subject)
            if part.kind == "host" and mine is not None and not any(seen.status.good for _, seen in mine):
                mine.append((ended(one, part), part))
    return found


def every_file_since(place: Path, since: datetime) -> dict[str, list[Outcome]]:
    """As `outcomes_since`, for which a run of a wrong clock does not count once there is an older one."""
    runs = Runs(place / "runs")
    oldest = f"{since - timedelta(days=7):%Y%m%dT%H%M%SZ}"
    is_over = any(command == "backup" and run < oldest for run, command in runs.changed())
    found: dict[str, list[Dated]] = {}
    for one in runs.newest_first("backup"):
        for part in one.outcomes if one.run >= oldest and not (is_over and one.started == AHEAD) else ():
            if part.kind == "host" and ended(one, part) > since:
                found.setdefault(part.subject, []).append((ended(one, part), part))
    return {
        name: [one for _, one in sorted(some, key=lambda dated: dated[0], reverse=True)]
        for name, some in found.items()
    }


def agrees(place: Path) -> None:
    seen = looked(place)
    assert seen.hosts_to_good("backup", HOSTS) == every_file_to_good(place)
    for since in (NOON - timedelta(days=30), NOON, NOON + timedelta(days=9, seconds=30)):
        found = seen.hosts_since("backup", since)
        assert {name: [one for _, one in some] for name, some in found.items()} == every_file_since(
            place, since
        )


OUTCOMES = st.lists(
    st.builds(
        lambda kind, host, status, words, late: replace(
            outcome(status, host, message=words, data={"finished": moment(NOON + timedelta(days=late))}),
            kind=kind,
        ),
        st.sampled_from(("host", "host", "host", "enrolment")),
        st.sampled_from(HOSTS),
        st.sampled_from(Status),
        st.sampled_from(("", "why", "caf\udce9")),
        st.integers(-9, 20),
    ),
    max_size=4,
)
MOMENTS = st.integers(-30, 20).map(lambda days: NOON + timedelta(days=days)) | st.just(AHEAD)


class Site(RuleBasedStateMachine):
    """Runs that are saved, grow, are killed before their record, are deleted, or whose history gets lost."""

    saved = Bundle("saved")

    def __init__(self) -> None:
        super().__init__()
        self.place = Path(tempfile.mkdtemp())
        self.runs = recording(self.place)

    def teardown(self) -> None:
        shutil.rmtree(self.place)

    @rule(target=saved, at=MOMENTS, end=st.sampled_from(("0001", "0002", "0003")), outcomes=OUTCOMES)
    def save(self, at: datetime, end: str, outcomes: list[Outcome]) -> Report:
        self.runs.save(one := begun(at, *outcomes, end=end))
        return one

    @rule(at=MOMENTS, outcomes=OUTCOMES)
    def save_of_another_step(self, at: datetime, outcomes: list[Outcome]) -> None:
        self.runs.save(begun(at, *outcomes, command="host remove"))

    @rule(one=saved, more=OUTCOMES)
    def grow(self, one: Report, more: list[Outcome]) -> None:
        self.runs.save(replace(one, outcomes=(*one.outcomes, *more)))

    @rule(one=saved, more=OUTCOMES)
    def kill_before_the_record(self, one: Report, more: list[Outcome]) -> None:
        Runs(self.place / "runs").save(replace(one, outcomes=(*one.outcomes, *more)))

    @rule(one=saved, seconds=st.integers(-(10**6), 10**6))
    def turn_the_clock(self, one: Report, seconds: int) -> None:
        if (file := self._file(one)).exists():
            os.utime(file, (file.stat().st_mtime + seconds,) * 2)

    @rule(one=saved)
    def delete(self, one: Report) -> None:
        self._file(one).unlink(missing_ok=True)

    @rule(one=saved)
    def tear(self, one: Report) -> None:
        self._file(one).write_text("{")

    @rule()
    def begin_another_process(self) -> None:
        self.runs = recording(self.place)

    @rule()
    def lose_the_history(self) -> None:
        for file in self.place.glob("history.db*"):
            file.unlink()
        self.runs = recording(self.place)

    @rule()
    def break_the_history(self) -> None:
        for file in self.place.glob("history.db-*"):
            file.unlink()
        (self.place / "history.db").write_bytes(b"this was a database" * 100)
        self.runs = recording(self.place)

    @invariant()
    def answers_are_those_of_the_files(self) -> None:
        agrees(self.place)

    def _file(self, one: Report) -> Path:
        return self.place / "runs" / f"{one.run}.{one.command}.json"


Site.TestCase.settings = settings(max_examples=30, stateful_step_count=12, deadline=None)
TestSite = Site.TestCase


# --- how much is read -------------------------------------------------------------------------------------


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The run files that a Moment opens."""
    found: list[Path] = []
    read = read_report

    def counted(path: Path) -> Report | None:
        found.append(path)
        return read(path)

    monkeypatch.setattr(module, "read_report", counted)
    return found


def week(place: Path) -> Sequence[Report]:
    """Of three hosts with a cron line each, of which one is never good."""
    runs = recording(place)
    nights = [NOON + timedelta(days=day) for day in range(7)]
    reports = [
        begun(night, outcome(Status.FAILED if host == "web3" else Status.OK, host), end=f"000{n}")
        for night in nights
        for n, host in enumerate(HOSTS)
    ]
    for one in reports:
        runs.save(one)
    return reports


def test_recorded_runs_are_not_opened(tmp_path: Path, opened: list[Path]) -> None:
    week(tmp_path)
    seen = looked(tmp_path)
    assert {name: len(some) for name, some in seen.hosts_to_good("backup", HOSTS).items()} == {
        "web1": 1, "web2": 1, "web3": 7,
    }  # fmt: skip
    assert {len(some) for some in seen.hosts_since("backup", NOON - timedelta(days=1)).values()} == {7}
    assert opened == []


def test_a_failed_run_that_is_not_recorded_yet_is_read(tmp_path: Path, opened: list[Path]) -> None:
    reports = week(tmp_path)
    failed = begun(NOON + timedelta(days=8), outcome(Status.DAMAGED, "web1"), end="0009")
    Runs(tmp_path / "runs").save(failed)
    later = replace(reports[-2], outcomes=(outcome(Status.FAILED, "web2"),))
    Runs(tmp_path / "runs").save(later)
    found = looked(tmp_path).hosts_to_good("backup", HOSTS)
    assert [one.status for _, one in found["web1"]] == [Status.DAMAGED, Status.OK]
    assert [one.status for _, one in found["web2"]] == [Status.FAILED, Status.OK]
    assert len(opened) == 2


def test_a_record_is_not_taken_for_a_later_file_whose_clock_was_set_back(tmp_path: Path) -> None:
    """Killed before its record, on the day on which the clock was put right."""
    reports = week(tmp_path)
    Runs(tmp_path / "runs").save(replace(reports[-3], outcomes=(outcome(Status.FAILED, "web1"),)))
    file = tmp_path / "runs" / f"{reports[-3].run}.backup.json"
    os.utime(file, (0, 0))
    assert looked(tmp_path).hosts_to_good("backup", HOSTS)["web1"][0][1].status is Status.FAILED
    recording(tmp_path).save(begun(NOON + timedelta(days=9), command="scrub"))
    (again,) = (one for one in History(tmp_path / "history.db").runs("backup") if one.run == reports[-3].run)
    assert again.outcomes[0].status is Status.FAILED, "the next run catches up"


def test_of_runs_that_began_in_one_second_the_later_file_counts(tmp_path: Path) -> None:
    """The ends of their names are random."""
    runs = recording(tmp_path)
    for end, status in (("0003", Status.FAILED), ("0001", Status.CONFLICT), ("0002", Status.OK)):
        runs.save(begun(NOON, outcome(status), end=end))
        file = tmp_path / "runs" / f"{NOON:%Y%m%dT%H%M%SZ}-{end}.backup.json"
        os.utime(file, (file.stat().st_mtime - 10 * int(end),) * 2)
    recording(tmp_path).save(begun(NOON, command="scrub"))
    found = looked(tmp_path).hosts_to_good("backup", HOSTS)["web1"]
    assert [one.status for _, one in found] == [Status.CONFLICT, Status.OK]
    agrees(tmp_path)


def _run(path: Path, statement: str) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute(statement)


def _newer(path: Path) -> None:
    _run(path, "PRAGMA user_version = 99")


def _rows_of_nobody(path: Path) -> None:
    _run(path, "UPDATE outcomes SET data = '{'")


def _away(path: Path) -> None:
    path.unlink()


def _a_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _garbled(path: Path) -> None:
    path.write_bytes(b"this was a database" * 100)


@pytest.mark.parametrize("harm", [_newer, _rows_of_nobody, _away, _a_directory, _garbled])
def test_whatever_became_of_the_history_the_answers_are_the_same(
    tmp_path: Path, harm: Callable[[Path], None]
) -> None:
    week(tmp_path)
    harm(tmp_path / "history.db")
    agrees(tmp_path)


def test_an_older_history_is_made_good_by_the_next_run(tmp_path: Path, opened: list[Path]) -> None:
    """One that knows no identities of files: every file is read until they are recorded again."""
    reports = week(tmp_path)
    _run(tmp_path / "history.db", "DELETE FROM files")
    looked(tmp_path).hosts_to_good("backup", HOSTS)
    assert len(opened) == len(reports), "web3 was never good"
    opened.clear()
    recording(tmp_path).save(begun(NOON + timedelta(days=9), command="scrub"))
    looked(tmp_path).hosts_to_good("backup", HOSTS)
    assert opened == []


def test_a_report_that_found_no_room_counts(tmp_path: Path) -> None:
    week(tmp_path)
    runs = Runs(tmp_path / "runs", history=History(tmp_path / "history.db"))
    (tmp_path / "runs").rename(tmp_path / "away")
    (tmp_path / "runs").touch()
    runs.save(begun(NOON + timedelta(days=8), outcome(Status.FAILED, "web1")))
    (tmp_path / "runs").unlink()
    (tmp_path / "away").rename(tmp_path / "runs")
    assert runs.unsaved
    found = Moment(runs).hosts_to_good("backup", HOSTS)
    assert [one.status for _, one in found["web1"]] == [Status.FAILED, Status.OK]
