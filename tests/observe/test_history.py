"""The history: its rows, its file, and that nothing which happens to it ever reaches a backup."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import Any, NoReturn

import pytest
from filelock import FileLock
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.harness.builders.reports import NOON, REPORTS, outcome, report
from tests.harness.steps import backup, night
from tests.harness.worlds.local import LocalVault
from tests.harness.worlds.steps import Hours, dataset_only, of, scrubbed, world
from zborg.errors import Exit, ZborgError
from zborg.model import Entry, Outcome, Report, Status
from zborg.state import history as module
from zborg.state.history import Corrupt, History
from zborg.state.recorder import Recorder
from zborg.state.runs import Runs
from zborg.steps.observe.history import recorder, told_by_snapshots


@pytest.fixture
def history(tmp_path: Path) -> History:
    return History(tmp_path / "history.db")


def at(hours: float, *outcomes: Outcome, run: str = "", command: str = "backup") -> Report:
    began = NOON + timedelta(hours=hours)
    ended = began + timedelta(minutes=5)
    run = run or f"{began:%Y%m%dT%H%M%SZ}-0000"
    return report(*outcomes, run=run, started=began, finished=ended, command=command)


def told(entries: tuple[Entry, ...]) -> list[str]:
    return [entry.outcome.message for entry in entries]


# --- rows ---------------------------------------------------------------------------------------------


@given(some=st.lists(REPORTS, max_size=4, unique_by=lambda one: (one.server, one.run, one.command)))
@settings(max_examples=60, deadline=None)
def test_what_is_recorded_comes_back(some: list[Report], tmp_path_factory: pytest.TempPathFactory) -> None:
    history = History(tmp_path_factory.mktemp("history") / "history.db")
    history.record_all(some)
    assert sorted(history.runs(), key=repr) == sorted(some, key=repr)


def test_a_report_that_grows_replaces_its_older_self(history: History) -> None:
    one = at(0, outcome(Status.OK), outcome(Status.FAILED, "web2"))
    history.record(replace(one, outcomes=one.outcomes[:1]))
    history.record(one)
    assert history.runs() == (one,)
    history.record(replace(one, command="snapshot"))
    assert len(history.runs()) == 2


def test_runs_and_outcomes_are_asked_by_command_subject_and_time(history: History) -> None:
    for hours in (2, 0, 1):
        history.record(at(hours, outcome(Status.OK, message=f"{hours}"), outcome(Status.OK, "web2")))
    history.record(at(3, Outcome("pool", "tank", Status.OK, "fine"), command="scrub"))
    assert [one.started for one in history.runs("backup")] == [NOON + timedelta(hours=n) for n in range(3)]
    assert len(history.runs(since=NOON + timedelta(hours=2))) == 2
    assert told(history.outcomes("host", "web1")) == ["0", "1", "2"]
    assert told(history.outcomes("host", "web1", NOON + timedelta(hours=1))) == ["1", "2"]
    assert told(history.outcomes("pool")) == ["fine"]
    assert len(history.outcomes("")) == 7


def test_an_outcome_ended_when_its_own_work_did(history: History) -> None:
    early = outcome(Status.OK, data={"finished": "2026-02-12T12:01:00Z"})
    history.record(at(0, early))
    assert history.outcomes("host")[0].ended == NOON + timedelta(minutes=1)


def test_what_a_night_gathered_is_told_once(history: History) -> None:
    history.record(at(0, outcome(Status.OK, message="its step's")))
    history.record(at(0, outcome(Status.OK, message="gathered", data={"step": "backup"}), command="run"))
    assert told(history.outcomes("host")) == ["its step's"]
    assert [one.outcomes[0].message for one in history.runs("run")] == ["gathered"]


def test_words_that_are_no_utf8_cost_their_odd_bytes_only(history: History) -> None:
    history.record(at(0, outcome(Status.FAILED, message="caf\udce9", data={"doubt": "caf\udce9"})))
    (entry,) = history.outcomes("host")
    assert entry.outcome.message == "caf?"
    assert entry.outcome.data["doubt"] == "caf\udce9"


def test_nothing_there_reads_as_empty_and_makes_nothing(history: History) -> None:
    assert (history.runs(), history.outcomes("host"), history.recorded()) == ((), (), {})
    assert not history.path.exists()


# --- the file -----------------------------------------------------------------------------------------


def _version(path: Path) -> int:
    with closing(sqlite3.connect(path)) as database:
        return int(database.execute("PRAGMA user_version").fetchone()[0])


_BACK = (  # what takes back each migration
    "DROP TABLE runs; DROP TABLE outcomes",
    "DROP INDEX runs_by_time; DROP INDEX outcomes_by_subject; DROP INDEX outcomes_by_time",
    "DROP INDEX outcomes_by_run; DROP TABLE files",
)


@pytest.mark.parametrize("version", range(len(module._MIGRATIONS)))
def test_an_older_file_is_brought_to_the_new_form_with_its_rows(history: History, version: int) -> None:
    one = at(0, outcome(Status.OK))
    history.record(one)
    with closing(sqlite3.connect(history.path)) as database:
        database.executescript("; ".join((*reversed(_BACK[version:]), f"PRAGMA user_version = {version}")))
    assert history.runs() == ((one,) if version else ())
    assert _version(history.path) == len(module._MIGRATIONS)
    with closing(sqlite3.connect(history.path)) as database:
        names = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'index'")]
        assert "outcomes_by_subject" in names
        assert database.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_a_file_of_a_newer_zborg_is_left_alone(history: History) -> None:
    history.record(at(0, outcome(Status.OK)))
    with closing(sqlite3.connect(history.path)) as database:
        database.execute("PRAGMA user_version = 99")
    for use in (history.runs, lambda: history.record(at(1))):
        with pytest.raises(ZborgError, match="newer zborg"):
            use()
    assert _version(history.path) == 99


def test_the_file_is_for_its_owner_alone(history: History) -> None:
    history.record(at(0))
    assert history.path.stat().st_mode & 0o777 == 0o600


def test_many_that_write_at_once_all_get_in(tmp_path: Path) -> None:
    """From the first record on, that makes the file."""
    with ThreadPoolExecutor(8) as pool:
        for nth in range(4):
            history = History(tmp_path / f"{nth}.db")
            list(pool.map(history.record, [at(hours, outcome(Status.OK)) for hours in range(8)]))
            assert len(history.runs()) == 8


def test_one_alone_makes_the_file(history: History, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 360 processes that made 60 files six by six, SQLite alone refused one."""
    monkeypatch.setattr(module, "_PATIENCE", 0.1)
    with FileLock(f"{history.path}.lock"), pytest.raises(ZborgError, match="by another run"):
        history.record(at(0))
    history.record(at(0))
    assert history.runs() == (at(0),)


# --- kills --------------------------------------------------------------------------------------------

_KILLS = 200
_PER_FILE = 10  # kills of one file; the first of them may come while it is made
_HOSTS = 20


def test_killed_at_any_point_of_a_record_no_finished_run_is_lost(tmp_path: Path) -> None:
    """SIGKILL at random moments of a process that does nothing but record."""
    chance = random.Random(20260212)
    torn = 0
    for nth in range(_KILLS):
        history = History(tmp_path / f"{nth // _PER_FILE}.db")
        known = set(history.recorded())
        done = _killed_while_writing(history, nth, chance.uniform(0, 0.008), begun=nth % _PER_FILE > 0)
        history.check()
        names = set(history.recorded())
        assert known | {(f"{nth}-{number}", "backup") for number in range(done)} <= names
        assert _outcomes(history.path) == {run: _HOSTS for run, _ in names}, "half a report"
        torn += len(names) == len(known) + done
        history.record(_large(f"{nth}-next"))
    assert torn > _KILLS // 4, "hardly any kill came before its record was whole"


def _outcomes(path: Path) -> dict[str, int]:
    if not path.exists():  # killed before it made anything
        return {}
    with closing(sqlite3.connect(path)) as database:
        return dict(database.execute("SELECT run, count(*) FROM outcomes GROUP BY run"))


def _large(run: str) -> Report:
    return at(0, *[outcome(Status.OK, f"host{n}", message="x" * 200) for n in range(_HOSTS)], run=run)


def _killed_while_writing(history: History, nth: int, seconds: float, *, begun: bool) -> int:
    """How many records the writer had seen return when it was killed, `seconds` after it began."""
    reading, writing = os.pipe()
    writer = os.fork()
    if writer == 0:
        os.close(reading)
        _write_for_ever(history, nth, writing)
    os.close(writing)
    done = len(os.read(reading, 1)) if begun else 0
    time.sleep(seconds)  # not for luck: the point of the kill is meant to be random
    os.kill(writer, signal.SIGKILL)
    os.waitpid(writer, 0)
    with open(reading, "rb") as acknowledged:
        return done + len(acknowledged.read())


def _write_for_ever(history: History, nth: int, acknowledge: int) -> NoReturn:
    try:
        for number in count():
            history.record(_large(f"{nth}-{number}"))
            os.write(acknowledge, b".")
    finally:
        os._exit(1)


# --- what may happen to it, and what that costs -----------------------------------------------------------


class Full(History):
    """One whose disk has no room for another page."""

    def _connect(self) -> sqlite3.Connection:
        database = super()._connect()
        (pages,) = database.execute("PRAGMA page_count").fetchone()
        database.execute(f"PRAGMA max_page_count = {max(pages, 1)}")
        return database


def _recorder(history: History, runs: Path, words: list[str], *snapshots: Report) -> Recorder:
    runs.mkdir(exist_ok=True)
    return Recorder(history, runs, lambda: snapshots, words.append)


def test_a_full_disk_is_a_word_and_the_next_run_brings_what_was_missed(tmp_path: Path) -> None:
    words: list[str] = []
    path, runs = tmp_path / "history.db", tmp_path / "runs"
    saving = Runs(runs, _recorder(History(path), runs, words))
    saving.save(at(0, outcome(Status.OK)))
    Runs(runs, _recorder(Full(path), runs, words)).save(_large("full"))
    assert len(words) == 1
    assert "database or disk is full" in words[0]
    History(path).check()
    assert len(History(path).runs()) == 1
    Runs(runs, _recorder(History(path), runs, words)).save(at(1))
    assert [one.run for one in History(path).runs()] == [at(0).run, "full", at(1).run]
    assert len(words) == 1


def test_a_locked_history_costs_one_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tries: list[str] = []
    words: list[str] = []

    class Counted(History):
        def record_all(self, *given: Any, **files: Any) -> int:
            tries.append("record")
            return super().record_all(*given, **files)

    history = Counted(tmp_path / "history.db")
    history.record(at(0))
    tries.clear()
    monkeypatch.setattr(module, "_PATIENCE", 0.1)
    recorder = _recorder(history, tmp_path / "runs", words)
    with closing(sqlite3.connect(history.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        for hours in range(5):
            recorder(at(hours))
        assert history.runs() == (at(0),), "readers are not locked out"
    assert len(tries) == len(words) == 1
    assert "database is locked" in words[0]


def test_a_place_that_cannot_be_written_is_a_word(tmp_path: Path) -> None:
    words: list[str] = []
    for path in (tmp_path, tmp_path / "nowhere" / "history.db"):
        Runs(tmp_path / "runs", _recorder(History(path), tmp_path / "runs", words)).save(at(0))
    assert [word.startswith("not recorded, a later run does it") for word in words] == [True, True]


def test_a_bug_in_recording_is_a_word_as_well(history: History, monkeypatch: pytest.MonkeyPatch) -> None:
    words: list[str] = []
    monkeypatch.setattr(history, "recorded", lambda: 1 // 0)
    _recorder(history, history.path.parent / "runs", words)(at(0))
    assert "ZeroDivisionError" in words[0]


def _garble_all(path: Path) -> None:
    path.write_bytes(b"this was a database" * 100)


def _garble_pages(path: Path) -> None:
    with open(path, "r+b") as file:
        size = file.seek(0, os.SEEK_END)
        for page in range(4096, size, 4096):
            file.seek(page)
            file.write(os.urandom(100))


def _drop_a_table(path: Path) -> None:
    with closing(sqlite3.connect(path)) as database:
        database.execute("DROP TABLE outcomes")


@pytest.mark.parametrize("harm", [_garble_all, _garble_pages, _drop_a_table])
def test_a_corrupt_history_is_set_aside_and_made_anew(tmp_path: Path, harm: Callable[[Path], None]) -> None:
    words: list[str] = []
    history, runs = History(tmp_path / "history.db"), tmp_path / "runs"
    first = Runs(runs, _recorder(history, runs, words))
    reports = [replace(_large(f"run{n}"), started=NOON + timedelta(hours=n)) for n in range(20)]
    for one in reports:
        first.save(one)
    harm(history.path)
    with pytest.raises(Corrupt):
        history.check()
    (runs / "run0.backup.json").unlink()
    of_zfs = [replace(_large(run), command="snapshot") for run in ("old1", "old2")]
    Runs(runs, _recorder(history, runs, words, *of_zfs)).save(at(30))
    wanted = {"old1", "old2", at(30).run, *(one.run for one in reports[1:])}
    assert {one.run for one in history.runs()} == wanted
    history.check()
    (aside,) = tmp_path.glob("history.db.corrupt-*Z")
    assert aside.name in words[0]
    assert "21 runs came from the run files and the snapshots" in words[1]
    assert len(words) == 2


def test_what_another_run_has_made_anew_is_not_set_aside_again(history: History) -> None:
    history.record(at(0))
    assert history.set_aside(NOON) is None
    assert history.runs() == (at(0),)


def test_killed_between_the_run_file_and_its_record_it_is_caught_up(tmp_path: Path) -> None:
    words: list[str] = []
    history, runs = History(tmp_path / "history.db"), tmp_path / "runs"
    recording = Runs(runs, _recorder(history, runs, words))
    recording.save(at(0, outcome(Status.OK)))
    whole = at(0, outcome(Status.OK), outcome(Status.OK, "web2"))
    Runs(runs).save(whole)  # the last report of that fleet
    Runs(runs).save(at(1, outcome(Status.OK)))
    Runs(runs, _recorder(history, runs, words)).save(at(2))
    assert history.runs() == (whole, at(1, outcome(Status.OK)), at(2))
    assert words == []


def test_a_backup_is_good_whatever_became_of_the_history(vault: LocalVault, clock: Hours) -> None:
    vault.add("web1")
    (vault.state / "history.db").mkdir()
    done = backup(world(vault, clock))
    assert done.exit is Exit.OK
    warned = [event.message for event in vault.events if event.subject == "history"]
    assert len(warned) == 1
    assert "Is a directory" in warned[0]


def test_every_step_of_a_night_is_recorded_and_lost_the_snapshots_tell_theirs(
    vault: LocalVault, clock: Hours
) -> None:
    vault.add("web1")
    dataset_only(vault, "never")
    scrubbed(vault, clock)
    context = world(vault, clock)
    night(context, allow_partial=True)
    history = History(vault.state / "history.db")
    known = history.runs()
    assert {one.command for one in known} == {"backup", "snapshot", "rotate", "replicate", "scrub", "run"}
    assert history.outcomes("host", "web1")[0].outcome.data["files"] > 0
    assert [one.outcome.subject for one in history.outcomes("replica")][-1] == "offsite:vault/zborg/web1"
    assert len(history.outcomes("pool")) == 2

    (taken,) = history.runs("snapshot")
    (told,) = told_by_snapshots(vault.zfs, context.config)
    assert (told.run, told.command, told.server) == (taken.run, "snapshot", "test")
    states = {one.subject: one.data["state"] for one in told.outcomes}
    assert states == {"tank/borg/web1": "ok", "tank/borg/never": "failed"}
    assert of(told, "tank/borg/web1").data == of(taken, "tank/borg/web1").data
    again = recorder(context.config, vault.state, vault.zfs, vault.events.append)
    again.rebuild()
    assert history.runs() == known, "what is known is not replaced by the little that snapshots tell"
    for file in (history.path, *(vault.state / "runs").glob("*")):
        file.unlink()
    again.rebuild()
    assert history.runs() == (told,)
