"""What the host's root puts around a backup: hooks, priorities, and times at which there is none."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest

from tests.harness.machines.agent import A1, A2, Lab, wait_until, without
from tests.harness.machines.host import BackedUpHost
from tests.harness.machines.join import Joined
from tests.harness.watch import HANG

GOOD = "exit 0\n"  # a borg that has nothing to do: these tests are about what is around it


def create(lab: Lab, borg: str, *conf: str) -> Joined:
    """One `create` with a stand-in for borg, the shell script `borg`."""
    lab.configure(*conf, borg=lab.script("stand-in", borg))
    return lab.verb("create", "web1", A1, serve=("true",))


@pytest.fixture(params=["sh", "busybox"])
def lab(request: pytest.FixtureRequest, tmp_path: Path, enrolled: Path) -> Iterator[Lab]:
    made = Lab(tmp_path, request.param, "auto")
    made.init(enrolled)
    with made.host:
        yield made


@pytest.fixture
def seen(tmp_path: Path) -> Path:
    """Where the hooks of a test write what happened."""
    return tmp_path / "seen"


def all_three(seen: Path) -> list[str]:
    return [
        f"{kind} = echo $ZBORG_HOOK $ZBORG_ARCHIVE $ZBORG_STATUS >>{seen}"
        for kind in ("on_error", "after", "before")
    ]


# --- When they run --------------------------------------------------------------------------------


def test_hooks_run_around_a_good_backup(lab: Lab, seen: Path) -> None:
    conf = [*all_three(seen), f"before = echo 2 | sed 's/^/number /' >>{seen}"]
    result = create(lab, f"echo borg >>{seen}\n", *conf)
    assert result.status == 0, result.stderr
    assert seen.read_text().splitlines() == [f"before {A1} 0", "number 2", "borg", f"after {A1} 0"]
    assert "hook" not in result.stderr


def test_no_backup_without_its_before(lab: Lab, seen: Path) -> None:
    conf = [*all_three(seen), "before = exit 3", f"before = echo never >>{seen}"]
    result = create(lab, f"echo never >>{seen}\n", *conf)
    assert result.status == 79
    assert "zborg-agent: E_HOOK hook before number 2 failed with 3: nothing is backed up" in result.stderr
    # What the first one stopped, `after` starts again.
    assert seen.read_text().splitlines() == [f"before {A1} 0", f"after {A1} 79", f"on_error {A1} 79"]


@pytest.mark.parametrize(("status", "bad"), [(0, False), (1, False), (105, False), (2, True), (64, True)])
def test_after_runs_whatever_the_backup_came_to(agent: Lab, seen: Path, status: int, bad: bool) -> None:
    result = create(agent, f"exit {status}\n", *all_three(seen))
    expected = 76 if status == 64 else status
    assert result.status == expected
    lines = [f"before {A1} 0", f"after {A1} {expected}", f"on_error {A1} {expected}"]
    assert seen.read_text().splitlines() == lines[: 3 if bad else 2]


def test_a_hook_that_fails_after_a_good_backup_is_seen(lab: Lab, seen: Path) -> None:
    result = create(
        lab, GOOD, "after = false", f"after = echo never >>{seen}", f"on_error = echo $ZBORG_STATUS >>{seen}"
    )
    assert result.status == 79 and "hook after number 1 failed with 1" in result.stderr
    assert "borg ended with 0" in result.stderr
    assert seen.read_text() == "79\n"
    worse = create(lab, "exit 2\n", "after = false")
    assert worse.status == 2 and "hook after number 1 failed" in worse.stderr, "borg's own status is the news"


def test_no_hook_without_a_create(agent: Lab, seen: Path) -> None:
    agent.configure(*all_three(seen), "keep_last = 1", borg=agent.script("stand-in", GOOD))
    for words in (
        ("sample", "web1", A1),
        ("list", "web1", "1"),
        ("prune", "web1"),
        ("create", "web1", "web1-x"),
    ):
        agent.host.verb(agent.root, *words, serve=("true",))
    assert not seen.exists()


# --- What they get, and what they tell ------------------------------------------------------------


def test_a_hook_has_nothing_of_the_tunnel(lab: Lab, seen: Path) -> None:
    look = f"ls -l /proc/self/fd >{seen}; env >>{seen}; wc -c >>{seen}; printf 'no protocol'"
    result = create(lab, GOOD, f"before = {look}", f"after = {look}")
    assert result.status == 0, result.stderr
    text = seen.read_text()
    targets = re.findall(r"(\d+) -> (\S+)", text)
    log = str(lab.host.state / "hooks.log")
    assert {target for fd, target in targets if not target.startswith("/proc/")} == {
        "/dev/null",
        str(seen),
        log,
    }
    assert text.endswith("0\n"), "its stdin is empty"
    names = {line.split("=")[0] for line in text.splitlines() if "=" in line}
    assert names - {"PWD", "SHLVL", "OLDPWD", "_"} == {
        "PATH",
        "LC_ALL",
        "HOME",
        "ZBORG_HOOK",
        "ZBORG_ARCHIVE",
        "ZBORG_STATUS",
    }


def test_what_hooks_print_stays_on_the_host(lab: Lab) -> None:
    told = create(lab, GOOD, "before = echo payroll; echo payroll >&2; exit 1").stderr
    assert "payroll" not in told and "echo" not in told
    log = lab.host.state / "hooks.log"
    assert log.read_text() == "payroll\npayroll\n" and log.stat().st_mode & 0o777 == 0o600
    told = create(lab, GOOD, "before = printf 'payroll\\033[2J\\n'; exit 1", "report_paths = yes").stderr
    assert "hook: payroll[2J\n" in told
    assert log.read_text() == "payroll\033[2J\n", "of the last run alone"
    told = create(lab, GOOD, "before = seq -s, 999999; exit 1", "report_paths = yes").stderr
    assert len(told) < 5000, "a line may be long"


def test_hooks_are_as_trusted_as_their_file(agent: Lab, seen: Path) -> None:
    agent.configure(*all_three(seen))
    (agent.host.confdir / "agent.conf").chmod(0o620)
    assert agent.verb("create", "web1", A1).status == 2
    assert not seen.exists()


# --- Their end ------------------------------------------------------------------------------------


def of_hooks(seen: Path) -> list[str]:
    """Processes that hooks of this test have left."""
    mark, found = os.fsencode(seen), []
    for entry in Path("/proc").iterdir():
        try:
            if (
                entry.name.isdigit()
                and mark in (entry / "cmdline").read_bytes()
                and int(entry.name) != os.getpid()
            ):
                found.append(entry.name)
        except OSError:
            pass
    return found


def test_a_hook_that_hangs_is_stopped_with_all_it_started(lab: Lab, seen: Path) -> None:
    hang = f"(trap '' TERM; sleep 600; : {seen}) | (sleep 601; : {seen})"
    begun = time.monotonic()
    result = create(lab, GOOD, "hook_timeout = 1s", f"before = {hang}", *all_three(seen)[:2])
    assert result.status == 79 and "stopped after 1 seconds" in result.stderr, result.stderr
    assert time.monotonic() - begun < HANG
    assert seen.read_text().splitlines() == [f"after {A1} 79", f"on_error {A1} 79"]
    wait_until(lambda: not of_hooks(seen), lambda: f"left running: {of_hooks(seen)}")


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGHUP])
def test_a_stopped_backup_starts_again_what_it_stopped(lab: Lab, seen: Path, sign: signal.Signals) -> None:
    lab.configure(f"before = echo stopped >>{seen}; sleep 60", *all_three(seen)[:2])
    with lab.host.pair(lab.root, "create", "web1", A1) as pair:
        pid = lab.agent_pid()
        wait_until(seen.exists, lambda: "the hook did not run")
        os.kill(pid, sign)
        status = pair.wait(20).status
    assert status == 128 + sign
    assert seen.read_text().splitlines() == ["stopped", f"after {A1} {status}", f"on_error {A1} {status}"]
    wait_until(lambda: not of_hooks(seen), lambda: f"left running: {of_hooks(seen)}")
    lab.assert_clean()


def test_after_runs_when_the_server_is_gone(agent: Lab, seen: Path) -> None:
    """It could otherwise leave a service stopped at will."""
    agent.configure(*all_three(seen))
    with agent.host.pair(agent.root, "create", "web1", A1, serve=("sleep", "30")) as pair:
        wait_until(agent.stands, lambda: "the tunnel does not stand")
        pair.left.kill()
        wait_until(lambda: "after" in seen.read_text(), lambda: "no hook ran after it")
    agent.assert_clean()
    assert [line.split()[0] for line in seen.read_text().splitlines()] == ["before", "after", "on_error"]


# --- Priorities -----------------------------------------------------------------------------------


def test_borg_runs_gently(agent: Lab, seen: Path) -> None:
    look = f"cut -d' ' -f19 /proc/self/stat >{seen}; ionice -p $$ >>{seen}\n"
    own = os.getpriority(os.PRIO_PROCESS, 0)
    assert create(agent, look, "nice = 7", "ionice = idle").status == 0
    assert seen.read_text().split() == [str(min(own + 7, 19)), "idle"]
    assert create(agent, look, "ionice = best-effort").status == 0
    assert seen.read_text().split() == [str(own), "best-effort:", "prio", "7"]
    without(agent, "ionice")
    refused = agent.verb("create", "web1", A1, serve=("true",))
    assert refused.status == 2 and "no ionice on this host" in refused.stderr


# --- Not now --------------------------------------------------------------------------------------


def test_there_is_a_least_time_between_backups(lab: Lab, seen: Path) -> None:
    record = lab.host.state / "last-create"
    conf = ("min_interval = 2h", f"before = echo ran >>{seen}")
    assert create(lab, GOOD, *conf).status == 0
    first = record.read_text()
    refused = create(lab, GOOD, *conf)
    assert refused.status == 78
    assert re.search(
        r"zborg-agent: E_NOT_NOW not now: .* every 7200 seconds, and the last one began \d+ seconds ago",
        refused.stderr,
    )
    assert (seen.read_text(), record.read_text()) == ("ran\n", first), "what is refused does not count"
    assert lab.verb("list", "web1", "1", serve=("true",)).status == 0, "it is about backups alone"
    for past in (int(time.time()) - 7201, int(time.time()) + 9000):  # long ago; and the clock was set back
        record.write_text(f"{past}\n")
        assert create(lab, GOOD, *conf).status == 0, past


@pytest.mark.parametrize(
    ("hours", "good", "bad"),
    [
        ("22-6", (22, 23, 0, 5), (6, 12, 21)),
        ("8-18", (8, 9, 17), (7, 18, 0)),
        ("0-24", (0, 23), ()),
        ("23-0", (23,), (0, 22)),
    ],
)
def test_there_are_hours_for_backups(
    agent: Lab, tmp_path: Path, hours: str, good: tuple[int, ...], bad: tuple[int, ...]
) -> None:
    clock = tmp_path / "bin"
    clock.mkdir()
    (clock / "date").write_text(
        f'#!/bin/sh\n[ "$1" = "+%s %H" ] && set -- "+%s $(cat {tmp_path}/hour)"\nexec /bin/date "$@"\n'
    )
    (clock / "date").chmod(0o755)
    text = agent.host.agent.read_text().replace("safe_path=/usr", f"safe_path={clock}:/usr", 1)
    agent.host.agent.write_text(text)
    agent.configure(f"allowed_hours = {hours}", "keep_last = 1", borg=agent.script("stand-in", GOOD))
    for hour in (*good, *bad):
        (tmp_path / "hour").write_text(f"{hour:02}\n")
        for words in (("create", "web1", A2), ("prune", "web1")):
            result = agent.host.verb(agent.root, *words, serve=("true",))
            assert result.status == (0 if hour in good else 78), (hour, result.stderr)
            assert ("o'clock" in result.stderr) is (hour in bad)


def test_hours_are_the_hosts_own(agent: Lab) -> None:
    now = datetime.now().hour
    if datetime.now().minute == 59:  # the hour must not end in between
        wait_until(lambda: datetime.now().hour != now, lambda: "the clock stands", 61)
        now = datetime.now().hour
    agent.configure(f"allowed_hours = {now}-{now + 1}", borg=agent.script("stand-in", GOOD))
    assert agent.verb("create", "web1", A2, serve=("true",)).status == 0


# --- Mistakes -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line",
    [
        "hook_timeout = 0s",
        "hook_timeout = 60",
        "hook_timeout = 1w",
        "min_interval = h",
        "min_interval = 1234567h",
        "nice = 20",
        "nice = -5",
        "ionice = realtime",
        "allowed_hours = 22",
        "allowed_hours = 6-6",
        "allowed_hours = 8-25",
        "allowed_hours = 1-2-3",
    ],
)
def test_values_that_mean_nothing(tmp_path: Path, line: str) -> None:
    host = BackedUpHost(tmp_path).setup("web1", [tmp_path])
    with open(host.confdir / "agent.conf", "a") as file:
        file.write(f"{line}\n")
    result = host.local("--key-export")
    assert result.returncode == 2 and f"agent.conf line 6: {line.split()[0]} is" in result.stderr, (
        result.stderr
    )
