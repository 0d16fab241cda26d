"""`zborg schedule` on a machine's own folders: once, again, in somebody's way, and gone again."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from tests.harness.worlds.command_line import zborg
from zborg.cli.doctor import parsed
from zborg.errors import CommandFailed, Exit, UsageError, ZborgError
from zborg.model import Completed, Report, Status, utc_now
from zborg.model.running import MAX_OUTPUT
from zborg.model.text import remedy
from zborg.planning.doctor.schedule import Wanted as Needed
from zborg.planning.schedule.render import UNITS, Wanted
from zborg.process import LocalRunner
from zborg.steps.doctor.schedule import Roots
from zborg.steps.doctor.schedule import schedule as probe
from zborg.steps.schedule.step import Places, Request, install, remove, show


@dataclass
class Systemctl(LocalRunner):
    """systemd's part: which timers are enabled, and what was asked of it."""

    enabled: set[str] = field(default_factory=set)
    asked: list[str] = field(default_factory=list)
    refuses: str = ""

    def run(
        self, argv: Sequence[str], *, timeout: float = 60, stdin: str = "", max_bytes: int = MAX_OUTPUT
    ) -> Completed:
        if argv[0] == "ps":
            return Completed(0, "systemd\ncron\n", "")
        assert argv[0] == "systemctl", argv
        verb = argv[1]
        if verb == "show":
            on = argv[2] in self.enabled
            words = {
                "UnitFileState": "enabled" if on else "disabled",
                "ActiveState": "active" if on else "inactive",
            }
            keys = [one.removeprefix("--property=") for one in argv[3:]]
            return Completed(0, "".join(f"{key}={words[key]}\n" for key in keys), "")
        self.asked.append(" ".join(argv[1:]))
        if verb == self.refuses:
            raise CommandFailed(tuple(argv), 1, "Failed to reload daemon: Access denied")
        {"enable": self.enabled.add, "disable": self.enabled.discard}.get(verb, str)(argv[-1])
        return Completed(0, "", "")


@dataclass
class Machine:
    directory: Path
    systemctl: Systemctl = field(default_factory=Systemctl)
    by_cron: bool = False

    @property
    def places(self) -> Places:
        return Places(
            self.directory / "etc/systemd/system",
            self.directory / "etc/cron.d/zborg",
            self.directory / "run",
            (self.directory / "sbin",),
        )

    def request(self) -> Request:
        wanted = Wanted(str(self.directory / "zborg"), report=True)
        return Request(self.places, wanted, self.by_cron, "vault")

    def install(self, *, dry_run: bool = False) -> Report:
        return install(self.systemctl, self.request(), utc_now, dry_run=dry_run)

    def remove(self, *, dry_run: bool = False) -> Report:
        return remove(self.systemctl, self.request(), utc_now, dry_run=dry_run)

    def files(self) -> dict[str, str]:
        found = {one.name: one.read_text() for one in self.places.units.glob("*") if one.exists()}
        return found | {f"cron.d/{one.name}": one.read_text() for one in self.places.cron.parent.glob("*")}


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """systemd runs, and cron is there as well."""
    for name in ("etc/cron.d", "run", "sbin"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("zborg", "sbin/cron"):
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
    return Machine(tmp_path)


TIMERS = {"zborg-night.timer", "zborg-report.timer"}


def test_a_second_time_changes_nothing(machine: Machine) -> None:
    assert machine.install().status is Status.OK
    assert set(machine.files()) == set(UNITS) and machine.systemctl.enabled == TIMERS
    times = {one: one.stat().st_mtime_ns for one in machine.places.units.iterdir()}
    assert {one.stat().st_mode & 0o7777 for one in times} == {0o644}
    machine.systemctl.asked.clear()
    assert machine.install(dry_run=True).plan == ("nothing: all of it is installed",)
    assert machine.install().status is Status.OK
    assert machine.systemctl.asked == []
    assert {one: one.stat().st_mtime_ns for one in times} == times


def test_a_dry_run_writes_nothing(machine: Machine) -> None:
    plan = machine.install(dry_run=True).plan
    assert plan[0].startswith("write ") and plan[-1] == "enable and start zborg-report.timer"
    assert machine.files() == {} and machine.systemctl.asked == []
    machine.install()
    assert len(machine.remove(dry_run=True).plan) == len(UNITS) and set(machine.files()) == set(UNITS)


def test_a_file_of_an_older_version_is_replaced_and_read(machine: Machine) -> None:
    older = replace(machine.request(), wanted=Wanted("/opt/old/zborg", report=True))
    install(machine.systemctl, older, utc_now)
    machine.systemctl.asked.clear()
    machine.install()
    assert "/opt/old" not in "".join(machine.files().values())
    assert machine.systemctl.asked == ["daemon-reload"]


@pytest.mark.parametrize(
    ("name", "text"),
    [("zborg-night.timer", "[Timer]\n"), ("zborg-night.service", None), ("../../cron.d/zborg", "#\n")],
)
def test_what_zborg_did_not_write_is_never_written_over(
    machine: Machine, name: str, text: str | None
) -> None:
    """A line by hand in /etc/cron.d/zborg too: beside timers it would start a second night."""
    machine.places.units.mkdir(parents=True)
    path = machine.places.units / name
    if text is None:
        path.symlink_to("/nonexistent")
    else:
        path.write_text(text)
    refused = machine.install()
    assert refused.exit is Exit.FAILED and len(refused.outcomes) == 1
    assert (
        "was not written by zborg, and is not replaced: nothing was installed" in refused.outcomes[0].message
    )
    assert machine.systemctl.asked == [] and len(machine.files()) <= 1
    move, again = remedy.parse(refused.outcomes[0].remedy)[1]
    subprocess.run(["sh", "-c", move.replace("/root", str(machine.directory))], check=True, timeout=60)
    assert again == "zborg schedule install" and machine.install().status is Status.OK


def test_what_was_changed_by_hand_stays(machine: Machine) -> None:
    machine.install()
    path = machine.places.units / "zborg-night.timer"
    path.write_text(path.read_text().replace("02:30", "04:00"))
    assert "was changed since zborg wrote it" in machine.install().outcomes[0].message
    left = machine.remove()
    assert [one.message for one in left.outcomes if one.status is Status.WARNING] == [
        "was changed since zborg wrote it: it stays"
    ]
    assert set(machine.files()) == {path.name} and machine.systemctl.enabled == {path.name}


def test_removal_removes_all_of_it_and_stops_the_timers(machine: Machine) -> None:
    (machine.places.cron.parent / "other").write_text("x")
    machine.install()
    assert machine.remove().status is Status.OK
    assert set(machine.files()) == {"cron.d/other"} and machine.systemctl.enabled == set()
    assert machine.systemctl.asked[-1] == "daemon-reload"
    assert machine.remove().outcomes == ()


def test_from_timers_to_cron_and_back(machine: Machine) -> None:
    machine.install()
    machine.by_cron = True
    assert machine.install().status is Status.OK
    assert set(machine.files()) == {"cron.d/zborg"} and machine.systemctl.enabled == set()
    machine.by_cron = False
    machine.install()
    assert set(machine.files()) == set(UNITS)


def test_cron_where_no_systemd_runs_and_a_remedy_where_neither_is(machine: Machine) -> None:
    (machine.directory / "run").rmdir()
    assert machine.install().status is Status.OK
    assert set(machine.files()) == {"cron.d/zborg"} and machine.systemctl.asked == []
    machine.remove()
    (machine.directory / "sbin/cron").unlink()
    with pytest.raises(ZborgError, match="runs no systemd and has no cron") as error:
        machine.install()
    assert remedy.parse(error.value.remedy)[1] == ("apt-get install cron", "zborg schedule install")
    machine.by_cron = True
    with pytest.raises(ZborgError, match="has no cron"):
        machine.install()
    assert machine.files() == {}


def test_systemd_that_refuses_is_an_outcome(machine: Machine) -> None:
    machine.systemctl.refuses = "daemon-reload"
    report = machine.install()
    assert report.exit is Exit.PARTIAL and "Access denied" in report.outcomes[-1].message
    machine.systemctl.refuses = "disable"
    assert "Access denied" in " ".join(one.message for one in machine.remove().outcomes)
    assert "zborg-night.timer" in machine.files(), "what still runs is not forgotten"


def test_a_path_with_a_line_in_it_is_refused(machine: Machine) -> None:
    request = replace(machine.request(), wanted=Wanted("/a\n* * * * * root rm"))
    with pytest.raises(UsageError):
        install(machine.systemctl, request, utc_now)


@pytest.mark.parametrize("by_cron", [False, True])
def test_doctor_finds_it_and_is_content(machine: Machine, *, by_cron: bool) -> None:
    machine.by_cron = by_cron
    machine.install()
    roots = Roots(machine.directory / "etc", (machine.places.units,), tabs=False)
    (found,) = probe(machine.systemctl, roots, Needed("/etc/zborg/zborg.toml"), parsed)
    assert found.level is Status.OK and ("cron.d" in found.message) is by_cron, found


def test_show_has_the_files_and_the_timers_state(machine: Machine) -> None:
    before = show(machine.systemctl, machine.request(), utc_now)
    assert {one.status for one in before.outcomes} == {Status.SKIPPED}
    machine.install()
    after = show(machine.systemctl, machine.request(), utc_now)
    assert [one.data["lines"] for one in after.outcomes] == [one.data["lines"] for one in before.outcomes]
    assert [one.message for one in after.outcomes][:2] == ["is installed", "is installed, enabled, active"]


# --- as a command -----------------------------------------------------------------------------------


def test_systemd_takes_the_files_without_a_word(tmp_path: Path) -> None:
    """With all that they may hold; and no wall was dropped: its score was 6.9 with systemd 252."""
    units, program = tmp_path / "usr/lib/systemd/system", shutil.which("true") or ""
    toml = tmp_path / "zb %.toml"
    toml.write_text(
        '[storage]\ndataset = "t/b"\n'
        '[notify]\nurls = ["json://127.0.0.1"]\nsecrets = "/etc/z %/secrets.toml"\n'
    )
    toml.chmod(0o600)
    words = (
        "schedule",
        "install",
        "--root",
        str(tmp_path),
        "--program",
        program,
        "--config",
        str(toml),
        "--json",
    )
    done = zborg(*words)
    assert done.returncode == 0, done.stdout
    assert len(json.loads(done.stdout)["outcomes"]) == len(UNITS)
    files = [str(units / name) for name in UNITS]
    verified = subprocess.run(
        ["systemd-analyze", "verify", *files], capture_output=True, text=True, timeout=120, check=False
    )
    assert (verified.returncode, verified.stdout, verified.stderr) == (0, "", "")
    rated = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", files[0]],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    score = re.search(r"exposure level for zborg-night.service: ([\d.]+)", rated.stdout)
    assert score and float(score[1]) <= 7.0
