"""The log: a line for each event with its run's id, in a file or the journal, and never a failed backup."""

from __future__ import annotations

import gzip
import json
import os
import socket
import subprocess
import threading
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from tests.harness.builders.reports import NOON, outcome, report
from tests.harness.checkout import CHECKOUT
from tests.harness.steps import night
from tests.harness.worlds.local import LocalVault
from tests.harness.worlds.steps import Hours, dataset_only, scrubbed, world
from tests.harness.worlds.world import ZBORG
from zborg.config.shape import DatasetName, Raw, RawStorage
from zborg.errors import Exit, UsageError, ZborgError
from zborg.model import Event, Status
from zborg.model.events import Finished, Paced, Progress, Reported, Started, StepBegun, Warned
from zborg.process import LocalRunner
from zborg.state import log_file as module
from zborg.state.log import FileSink, JournalSink, Log
from zborg.state.log_file import lines_of
from zborg.state.runs import Runs
from zborg.steps.observe.log import log_lines, logged


def nobody(_: Event) -> None:
    """Shows nothing."""


def begun(run: str, command: str = "backup") -> Event:
    return StepBegun(command, run=run)


def words(path: Path) -> list[str]:
    """Without the time."""
    return [line.split(" ", 1)[1] for line in path.read_text().splitlines()]


def test_each_event_is_one_line_with_the_id_of_its_run(tmp_path: Path) -> None:
    seen: list[Event] = []
    log = Log(FileSink(tmp_path / "log", nobody), seen.append)
    events = [
        begun("one"),
        Started("web1"),
        Progress("web1", files=3),
        Warned("web1", "odd"),
        Paced("backup", "8 hosts at once", parallel=8),
        Finished("web1", "good"),
        begun("two", "snapshot"),
    ]
    for event in events:
        log(event)
    bad = outcome(Status.FAILED, "web2", message="no way", remedy="look")
    log(Reported("snapshot", report=report(bad, command="snapshot", run="two")))
    assert seen == events, "who draws gets all of them"
    assert words(tmp_path / "log") == [
        "one backup begun",
        "one web1 started",
        "one web1 warning: odd",
        "one backup parallel: 8 hosts at once",
        "one web1 finished: good",
        "two snapshot begun",
        "two web2 failed: no way; -> look",
        "two snapshot failed, exit 4",
    ]
    assert (tmp_path / "log").stat().st_mode & 0o777 == 0o600


def test_what_another_machine_says_stays_one_printable_line(tmp_path: Path) -> None:
    log = Log(FileSink(tmp_path / "log", nobody), nobody)
    log(Warned("web1\n2026-02-12T12:00:00Z x", "a\nroot logged in\r\x1b[2J\u2028\udce9" + "y" * 9000))
    (line,) = (tmp_path / "log").read_text().splitlines()
    assert line.isprintable()
    assert len(line) < 5000


def test_the_journal_gets_a_datagram_with_the_run_as_a_field(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journal:
        journal.bind(str(tmp_path / "socket"))
        journal.settimeout(10)
        log = Log(JournalSink(tmp_path / "socket"), nobody)
        log(begun("one"))
        log(Warned("web1", "a\nMESSAGE=forged"))
        log(Paced("backup", "8 hosts at once", parallel=8))
        log(Paced("backup", "4 to 8 hosts"))
        told = [
            dict(line.split("=", 1) for line in journal.recv(65536).decode().splitlines()) for _ in "abcd"
        ]
    assert told == [
        {"SYSLOG_IDENTIFIER": "zborg", "PRIORITY": "6", "ZBORG_RUN": "one", "MESSAGE": "backup begun"},
        {
            "SYSLOG_IDENTIFIER": "zborg",
            "PRIORITY": "4",
            "ZBORG_RUN": "one",
            "MESSAGE": "web1 warning: a MESSAGE=forged",
        },
        {
            "SYSLOG_IDENTIFIER": "zborg",
            "PRIORITY": "7",
            "ZBORG_RUN": "one",
            "MESSAGE": "backup parallel: 8 hosts at once",
        },
        {
            "SYSLOG_IDENTIFIER": "zborg",
            "PRIORITY": "6",
            "ZBORG_RUN": "one",
            "MESSAGE": "backup parallel: 4 to 8 hosts",
        },
    ]


def test_a_large_file_is_turned_over_when_a_run_begins_and_ten_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_LARGEST", 50)
    path = tmp_path / "log"
    for number in range(13):
        log = Log(FileSink(path, nobody), nobody)
        for _ in range(3):
            log(begun(f"run{number}"))
    assert sorted(one.name for one in tmp_path.glob("log*")) == sorted(
        ["log", "log.lock", *(f"log.{n}" for n in range(1, 10))]
    )
    assert [len(list(lines_of(path, f"run{n}".__eq__))) for n in range(13)] == [0] * 3 + [3] * 10


def test_a_file_that_is_renamed_amid_a_run_is_made_again_and_no_line_is_lost(tmp_path: Path) -> None:
    """As logrotate does it, with compression of the file before, while two runs write."""
    path, before = tmp_path / "log", tmp_path / "log.1"
    one, two = (Log(FileSink(path, nobody), nobody) for _ in "ab")
    for number in range(12):
        one(begun("one"))
        two(begun("two"))
        if before.exists():
            (tmp_path / f"log.{20 - number}.gz").write_bytes(gzip.compress(before.read_bytes()))
        path.rename(before)
        one(begun("one"))
    assert path.stat().st_mode & 0o777 == 0o600
    assert len(words(path)) == 1
    runs = [line.split(" ")[1] for line in lines_of(path, {"one", "two"}.__contains__)]
    assert runs == ["one", "two", *["one", "one", "two"] * 11, "one"]


def test_an_older_file_that_is_cut_off_is_an_error_and_the_whole_one_beside_it_is_read(
    tmp_path: Path,
) -> None:
    path = tmp_path / "log"
    text = "2026-02-12T12:00:00Z one begun\n" * 100
    (tmp_path / "log.1").write_text(text)
    (tmp_path / "log.1.gz").write_bytes(gzip.compress(text.encode())[:-20])
    assert len(list(lines_of(path, "one".__eq__))) == 100
    (tmp_path / "log.1").unlink()
    with pytest.raises(OSError, match=r"log\.1\.gz is no whole gzip file"):
        list(lines_of(path, "one".__eq__))


def test_runs_that_begin_at_once_rotate_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_LARGEST", 10_000)
    path = tmp_path / "log"
    path.write_text("2026-02-12T12:00:00Z old begun\n" * 1000)
    logs = [Log(FileSink(path, nobody), nobody) for _ in range(16)]
    together = threading.Barrier(len(logs))

    def begin(log: Log) -> None:
        together.wait(60)
        log(begun("new"))

    threads = [threading.Thread(target=begin, args=(log,)) for log in logs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(one.name for one in tmp_path.glob("log.[0-9]*")) == ["log.1"]
    assert len(list(lines_of(path, "old".__eq__))) == 1000
    assert len(list(lines_of(path, "new".__eq__))) == len(logs)


def test_a_file_that_cannot_be_rotated_grows_and_is_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_LARGEST", 10)
    path = tmp_path / "log"
    path.write_text("2026-02-12T12:00:00Z old begun\n")
    (tmp_path / "log.lock").mkdir()
    shown: list[Event] = []
    log = Log(FileSink(path, shown.append), shown.append)
    for _ in range(3):
        log(begun("new"))
    (warning,) = [event for event in shown if event.kind == "warning"]
    assert warning.message == f"{path} was not rotated: Is a directory"
    assert words(path) == ["old begun", *["new backup begun"] * 3]


def test_a_full_disk_is_one_warning() -> None:
    shown: list[Event] = []
    log = Log(FileSink(Path("/dev/full"), shown.append), shown.append)
    for _ in range(3):
        log(begun("one"))
    (warning,) = [event for event in shown if event.kind == "warning"]
    assert warning.message == "cannot be written, and nothing more is: No space left on device"


def test_lines_of_many_threads_never_mix(tmp_path: Path) -> None:
    log = Log(FileSink(tmp_path / "log", nobody), nobody)
    log(begun("one"))

    def say(name: str) -> None:
        for _ in range(200):
            log(Warned(name, name * 50))

    threads = [threading.Thread(target=say, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(words(tmp_path / "log")[1:]) == {f"one {name} warning: {name * 50}" for name in "abcd"}
    assert len(words(tmp_path / "log")) == 801


@pytest.mark.parametrize("kind", ["file", "journal"])
def test_a_log_that_cannot_be_written_is_one_warning_and_no_failed_night(
    vault: LocalVault, clock: Hours, kind: str
) -> None:
    dataset_only(vault, "web1")
    scrubbed(vault, clock)
    (vault.state / "log").mkdir()
    sink = FileSink(vault.state / "log", nobody) if kind == "file" else JournalSink(vault.state / "nowhere")
    shown: list[Event] = []
    context = replace(world(vault, clock), emit=Log(sink, shown.append))
    assert night(context, allow_partial=True).exit is Exit.FAILED  # its one host is not there
    (told,) = [event for event in shown if event.subject == "log"]
    assert told.message.startswith("cannot be written, and nothing more is: ")
    assert [event.subject for event in shown if event.kind == "begun"][-1] == "scrub"


def test_a_night_is_shown_with_its_steps(vault: LocalVault, clock: Hours) -> None:
    dataset_only(vault, "web1")
    scrubbed(vault, clock)
    config = replace(vault.config, log="file", log_file=vault.state / "zborg.log")
    context = world(vault, clock)
    context = replace(context, emit=logged(config, nobody))
    first = night(context, allow_partial=True)
    clock.tick()
    last = night(context, allow_partial=True)
    assert first.run != last.run
    told = log_lines(config, context.runs, LocalRunner(), first.run, clock.now)
    lines = told.outcomes[0].data["lines"]
    began = [line.split(" ", 2)[2] for line in lines if line.endswith(" begun")]
    assert began == [
        f"{step} begun" for step in ("run", "backup", "snapshot", "rotate", "replicate", "scrub")
    ]
    assert all(line.split(" ")[1].startswith(f"{first.started:%Y%m%dT%H%M%SZ}") for line in lines)
    with pytest.raises(UsageError, match="no line of run nothing"):
        log_lines(config, context.runs, LocalRunner(), "nothing", clock.now)


def test_the_journal_is_asked_for_all_runs_of_a_night(tmp_path: Path, vault: LocalVault) -> None:
    runs = Runs(tmp_path)
    step = report(outcome(Status.OK), run="a")
    whole = replace(step, run="b", command="run", outcomes=(outcome(Status.OK, data={"step": "backup"}),))
    runs.save(step)
    runs.save(replace(step, run="c", started=NOON - timedelta(days=1)))
    runs.save(whole)
    program = tmp_path / "bin" / "journalctl"
    program.parent.mkdir()
    program.write_text('#!/bin/sh\necho "$@"\n')
    program.chmod(0o755)
    config = replace(vault.config, log="journal")
    with pytest.MonkeyPatch.context() as path:
        path.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
        told = log_lines(config, runs, LocalRunner(), "b", NOON)
    (line,) = told.outcomes[0].data["lines"]
    assert line.endswith("SYSLOG_IDENTIFIER=zborg ZBORG_RUN=b ZBORG_RUN=a")


def test_a_log_that_cannot_be_read_is_told(tmp_path: Path, vault: LocalVault) -> None:
    config = replace(vault.config, log="file", log_file=tmp_path)
    with pytest.raises(ZborgError, match="cannot be read: Is a directory"):
        log_lines(config, Runs(tmp_path), LocalRunner(), "one", NOON)


def test_the_command_line_shows_what_it_has_logged(tmp_path: Path) -> None:
    config = tmp_path / "zborg.toml"
    config.write_text('state_dir = "."\n[storage]\ndataset = "tank/borg"\n[log]\nto = "file"\n')
    config.chmod(0o600)
    for directory in ("runs", "locks"):
        (tmp_path / directory).mkdir()

    def zborg(*given: str) -> subprocess.CompletedProcess[str]:
        argv = [str(ZBORG), *given, "--config", str(config)]
        return subprocess.run(argv, capture_output=True, text=True, timeout=120)

    empty = zborg("log")
    assert (empty.returncode, empty.stdout) == (Exit.USAGE, "")
    assert "there was no run yet" in empty.stderr
    run = json.loads(zborg("scrub", "--json").stdout)["run"]
    zborg("scrub", "--dry-run")
    shown = zborg("log", run)
    assert shown.returncode == 0
    lines = shown.stdout.splitlines()
    assert [line.split(" ", 2)[1] for line in lines] == [run] * 4
    assert lines[0].endswith(" scrub begun")
    assert " history warning: the snapshots could not be asked" in lines[1]
    assert " tank failed: " in lines[2]
    assert lines[3].endswith(" scrub failed, exit 4")
    assert zborg("log").stdout == shown.stdout
    assert json.loads(zborg("log", "--json").stdout)["outcomes"][0]["data"]["lines"] == lines
    assert len((tmp_path / "zborg.log").read_text().splitlines()) == 4, "a dry run leaves no line"


def test_the_file_for_logrotate_names_the_log_of_a_configuration_that_names_none() -> None:
    text = (CHECKOUT / "scripts/share/zborg/logrotate.conf").read_text()
    default = Raw(RawStorage(DatasetName("tank/borg")))
    assert f"\n{default.state_dir}/{default.log.file} {{\n" in text
