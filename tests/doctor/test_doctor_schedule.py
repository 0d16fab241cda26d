"""doctor on the schedule: lines that start nothing, commands that back up nothing, steps left out."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.harness.doctor.clinic import Clinic, Plant
from zborg.cli.doctor import parsed
from zborg.model import Endpoint, Finding, Host, Outcome, Status
from zborg.model.text import remedy
from zborg.planning.doctor.schedule import Wanted, schedule
from zborg.planning.doctor.starts import Found, Script, Table, Timer

BIN = "/usr/local/bin/zborg"
HOSTS = tuple(Host(name, Endpoint("root", name, 22, "k", "i"), 26 * 3600, 60) for name in ("web1", "db1"))
WANTED = Wanted("/etc/zborg/zborg.toml", HOSTS, ("offsite",))
FOUND = Found(programs=frozenset({BIN, "/opt/zborg/bin/zborg"}), daemon="cron", installed="cron")
NIGHT = f"30 2 * * * root {BIN} run"


def judged(*lines: str, found: Found = FOUND, wanted: Wanted = WANTED, **table: Any) -> Sequence[Finding]:
    text = "".join(f"{line}\n" for line in lines)
    one = replace(Table("/etc/cron.d/zborg", text), **table)
    return schedule(replace(found, tables=(one,)), wanted, parsed)


def words(found: Sequence[Finding]) -> str:
    return " / ".join(one.message for one in found)


@pytest.mark.unit
@pytest.mark.parametrize(
    "line",
    [
        NIGHT,
        f"@daily root {BIN} run --allow-partial",
        f"@daily root {BIN} run --quiet --allow-partial",
        f"@daily root {BIN} run -q",
        f"0 2 * * * root flock -n /run/z {BIN} run 2>&1 | logger",
        f"0 2 * * * root {BIN} backup && {BIN} snapshot; {BIN} rotate; {BIN} replicate; {BIN} scrub",
        "0 2 * * * root /opt/zborg/bin/zborg run",
        "0 2 * * * root /opt/zborg/bin/zborg run --config /etc/zborg/zborg.toml",
        f"0 2 * * * root {BIN} backup web1 db1; {BIN} snapshot; {BIN} rotate; {BIN} replicate; {BIN} scrub",
    ],
)
def test_a_whole_night_is_good(line: str) -> None:
    (one,) = judged(line)
    assert (one.level, one.message) == (Status.OK, "zborg is started by /etc/cron.d/zborg, line 1")


BROKEN = {
    "four times": ("30 2 * * root /usr/local/bin/zborg run", "'root' is no day of week"),
    "minute 90": (f"90 2 * * * root {BIN} run", "'90' is no minute"),
    "another bad line": (
        f"{NIGHT}\n61 * * * * root true",
        "line 2: '61' is no minute: it is 0 to 59; cron ignores the file",
    ),
    "no user": (f"30 2 * * * {BIN} run", f"a user's name must stand before the command, and {BIN} is none"),
    "an unknown user": (f"30 2 * * * zborg {BIN} run", "a user's name must stand"),
    "another unknown user": (f"30 2 * * * backup {BIN} run", "there is no user backup"),
    "no such program": ("30 2 * * * root /opt/z/zborg run", "it names /opt/z/zborg, which is not there"),
    "no path": ("30 2 * * * root zborg run", "cron looks in /usr/bin:/bin alone"),
    "a dry run": (f"30 2 * * * root {BIN} run --dry-run", "`zborg run --dry-run` does nothing"),
    "another zborg.toml": (
        f"30 2 * * * root {BIN} run --config /x",
        "it reads /x, not /etc/zborg/zborg.toml",
    ),
    "at a reboot": (f"@reboot root {BIN} run", "it starts at a reboot alone"),
    "a host that is gone": (f"{NIGHT}\n5 * * * * root {BIN} backup old", "names no host old"),
    "a target that is gone": (f"{NIGHT}\n5 * * * * root {BIN} replicate old", "names no target old"),
}


@pytest.mark.unit
@pytest.mark.parametrize("name", BROKEN)
def test_a_line_that_cannot_work_is_named(name: str) -> None:
    line, why = BROKEN[name]
    bad = judged(line)
    assert bad and {one.level for one in bad} == {Status.WARNING} and len(bad) == 1, words(bad)
    assert why in bad[0].message and remedy.parse(bad[0].remedy)[1]


@pytest.mark.unit
def test_what_zborg_refuses_starts_no_backup() -> None:
    refused, nothing = judged(f"30 2 * * * root {BIN} rnu")
    assert "zborg would refuse it: No such command 'rnu'" in refused.message
    assert "nothing starts a backup" in nothing.message
    refused, _ = judged(f"30 2 * * * root {BIN} run --alow-partial")
    assert "No such option: --alow-partial" in refused.message


FILES: dict[str, tuple[dict[str, Any], str, str]] = {
    "mode": ({"mode": 0o666}, "its mode is 0666", "chmod 0644 /etc/cron.d/zborg"),
    "owner": ({"uid": 1000}, "it belongs to user 1000", "chown root /etc/cron.d/zborg"),
    "a dot": (
        {"path": "/etc/cron.d/zborg.cron"},
        "a dot in its name",
        "mv /etc/cron.d/zborg.cron /etc/cron.d/zborg",
    ),
    "another sign": (
        {"path": "/etc/cron.d/zborg+1"},
        "such a character",
        "mv /etc/cron.d/zborg+1 /etc/cron.d/zborg-1",
    ),
    "no newline": ({"text": NIGHT}, "does not end with a newline", "echo >>/etc/cron.d/zborg"),
}


@pytest.mark.unit
@pytest.mark.parametrize("name", FILES)
def test_a_file_that_cron_does_not_read_is_named(name: str) -> None:
    change, why, mend = FILES[name]
    (bad,) = judged(NIGHT, **change)
    assert bad.level is Status.WARNING and why in bad.message and bad.remedy == mend


@pytest.mark.unit
def test_what_an_editor_left_is_nobody_s_line() -> None:
    for name in ("zborg~", "zborg.bak", "zborg.dpkg-old", ".zborg.swp"):
        (one,) = judged(NIGHT, path=f"/etc/cron.d/{name}")
        assert one.message.startswith("nothing starts zborg"), one


def day(*commands: str) -> str:
    return f"@daily root {'; '.join(f'{BIN} {one}' for one in commands)}"


ALL = ("backup", "snapshot", "rotate", "replicate", "scrub")
LEFT_OUT = {
    "the weekly report alone": (day("report --mail"), "all that is started here is zborg report"),
    "status alone": (day("status"), "all that is started here is zborg status"),
    "verify alone": (day("replicate --verify"), "nothing starts a backup"),
    "no replicate": (day("backup", "snapshot", "rotate", "scrub"), "replicate to offsite"),
    "no snapshot": (day("backup", "rotate", "replicate", "scrub"), "nothing starts zborg snapshot"),
    "no rotate": (day("backup", "snapshot", "replicate", "scrub"), "nothing starts zborg rotate"),
    "a freeze": (day("backup", "snapshot", "rotate --freeze a", "replicate", "scrub"), "zborg rotate"),
    "no scrub": (day("backup", "snapshot", "rotate", "replicate"), "nothing starts zborg scrub"),
    "a host": (day("backup web1", *ALL[1:]), "a backup of db1"),
    "an excluded host": (day("backup -x db1", *ALL[1:]), "a backup of db1"),
}


@pytest.mark.unit
@pytest.mark.parametrize("name", LEFT_OUT)
def test_what_nothing_starts_is_named_with_its_line(name: str) -> None:
    line, why = LEFT_OUT[name]
    (bad,) = judged(line)
    assert bad.level is Status.WARNING and why in bad.message, bad
    assert bad.remedy.startswith("echo '") and bad.remedy.endswith(" >>/etc/cron.d/zborg")
    added = bad.remedy.split("'")[1]
    assert [one.level for one in judged(line, added)] == [Status.OK], "the printed line is what was missing"


@pytest.mark.unit
def test_where_nothing_starts_zborg_it_is_installed() -> None:
    """Unless /etc/cron.d/zborg is somebody's own: `schedule install` would refuse."""
    install = "zborg schedule install --config /etc/zborg/zborg.toml"
    for found in (FOUND, Found(systemd=True), Found(installed="cron")):
        assert schedule(found, WANTED, parsed)[0].remedy == install
    assert schedule(Found(), WANTED, parsed)[0].remedy == f"apt-get install cron\n{install}"
    (bad,) = judged("")
    assert bad.message.startswith("nothing starts zborg") and bad.remedy.startswith("echo '30 2")
    assert judged("", found=Found(systemd=True))[0].remedy.startswith("apt-get install cron\necho '30 2")


@pytest.mark.unit
def test_too_seldom_is_named() -> None:
    bad = judged(f"0 2 * * 1-5 root {BIN} run")
    assert [one.message for one in bad] == [
        f"{host.name} waits up to 3 days for a backup, its max_age is 26 h" for host in HOSTS
    ]
    assert judged(NIGHT, f"0 2 * * 0 root {BIN} backup")[0].level is Status.OK, "the more frequent one counts"


@pytest.mark.unit
def test_an_off_site_needs_no_backup() -> None:
    off = Wanted("/etc/zborg/zborg.toml", received=True)
    assert judged(f"30 8 * * * root {BIN} run", wanted=off)[0].level is Status.OK
    assert judged(f"30 8 * * * root {BIN} rotate; {BIN} scrub", wanted=off)[0].level is Status.OK
    assert "nothing starts zborg scrub" in words(judged(f"30 8 * * * root {BIN} rotate", wanted=off))


@pytest.mark.unit
def test_without_a_cron_lines_start_nothing() -> None:
    (bad,) = judged(NIGHT, found=replace(FOUND, daemon="", installed=""))
    assert "no cron runs on this machine" in bad.message and bad.remedy == "apt-get install cron"
    (bad,) = judged(NIGHT, found=replace(FOUND, daemon="", installed="crond"))
    assert bad.remedy == "systemctl enable --now crond"


@pytest.mark.unit
def test_a_user_s_own_crontab() -> None:
    own: dict[str, Any] = {"path": "crontab -l", "system": False, "mode": 0o666, "uid": 7}
    assert judged(f"30 2 * * * {BIN} run", **own)[0].level is Status.OK
    (bad,) = judged(NIGHT, **own)
    assert "it starts root: a user's own crontab has no user's name" in bad.message
    assert remedy.parse(bad.remedy)[1] == ("crontab -e",)


@pytest.mark.unit
def test_scripts_of_run_parts() -> None:
    def look(script: Script) -> Sequence[Finding]:
        return schedule(replace(FOUND, scripts=(script,)), WANTED, parsed)

    good = Script("/etc/cron.daily/zborg", f"#!/bin/sh\nexec {BIN} run\n", 1)
    assert look(good)[0].level is Status.OK
    assert "not executable" in words(look(replace(good, mode=0o644)))
    assert "with a dot in its name" in words(look(replace(good, path="/etc/cron.daily/zborg.sh")))
    assert "waits up to 7 days" in words(look(replace(good, days=7)))


@pytest.mark.unit
def test_timers() -> None:
    def look(timer: Timer) -> Sequence[Finding]:
        return schedule(replace(FOUND, timers=(timer,), daemon="", installed=""), WANTED, parsed)

    good = Timer("zborg.timer", (f"{BIN} run",), "enabled", "active")
    assert look(good)[0].level is Status.OK, "no cron is needed"
    for timer, why in (
        (replace(good, enabled="disabled", active="inactive"), "the timer is not enabled"),
        (replace(good, enabled="masked"), "the timer is masked"),
        (replace(good, active="inactive"), "it is inactive"),
        (replace(good, active="failed"), "it is failed"),
        (replace(good, lines=("/gone/zborg run",)), "its service names /gone/zborg, which is not there"),
        (replace(good, lines=(f"{BIN} runn",)), "zborg would refuse it"),
    ):
        found = look(timer)
        assert why in found[0].message and found[0].level is Status.WARNING, found
        assert remedy.parse(found[0].remedy)[1][0].startswith("systemctl ")


# --- the probe itself, on files ---------------------------------------------------------------------


def bad(clinic: Clinic) -> list[Outcome]:
    return [one for one in clinic.look("schedule").outcomes if one.status is not Status.OK]


PLANTED: dict[str, tuple[Callable[[Plant, Path], None], str]] = {
    "no newline": (lambda plant, cron: plant.text(cron, cron.read_text().rstrip("\n")), "newline"),
    "mode 0666": (lambda plant, cron: plant.mode(cron, 0o666), "its mode is 0666"),
    "no user": (lambda plant, cron: plant.replaced(cron, "root  ", ""), "a user's name must stand"),
    "an unknown user": (
        lambda plant, cron: plant.replaced(cron, "root ", "nosuchuser "),
        "no user nosuchuser",
    ),
}


@pytest.mark.parametrize("name", PLANTED)
def test_the_remedy_of_a_broken_file_works_when_typed(clinic: Clinic, plant: Plant, name: str) -> None:
    sow, why = PLANTED[name]
    sow(plant, clinic.cron)
    (one,) = bad(clinic)
    assert why in one.message, one
    for line in remedy.parse(one.remedy)[1]:
        subprocess.run(["sh", "-c", line], check=True, timeout=120)
    assert bad(clinic) == []


def test_a_machine_without_a_cron(clinic: Clinic, plant: Plant) -> None:
    plant.attribute(clinic.machine, "processes", ["systemd", "sshd"])
    (one,) = bad(clinic)
    assert "no cron runs on this machine" in one.message


def test_a_timer_by_systemd_s_word(clinic: Clinic, plant: Plant) -> None:
    units = clinic.etc / "systemd"
    units.mkdir()
    plant.later(units.rmdir)
    plant.away(clinic.cron)
    plant.text(units / "night.service", f"[Service]\nType=oneshot\nExecStart=-{clinic.program} run\n")
    plant.text(units / "zborg.timer", "[Timer]\nOnCalendar=02:30\nUnit=night.service\n")
    state = {"zborg.timer UnitFileState": "enabled", "zborg.timer ActiveState": "active"}
    plant.attribute(clinic.machine, "units", state)
    assert bad(clinic) == []
    plant.attribute(clinic.machine, "units", {"zborg.timer UnitFileState": "enabled"})
    (one,) = bad(clinic)
    assert (one.message, one.remedy) == (
        "the timer is enabled and does not run: it is inactive",
        "systemctl enable --now zborg.timer",
    )
