"""What could start zborg here: each thing that keeps a line, a script or a timer from it, with its remedy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from zborg.model import Endpoint, Host
from zborg.planning.doctor.crontab import Bad, parse
from zborg.planning.doctor.schedule import Wanted, schedule
from zborg.planning.doctor.shell_line import invocations
from zborg.planning.doctor.starts import Found, Parsed, Script, Start, Table, Timer, candidates, starts

pytestmark = pytest.mark.unit

BIN = "/usr/local/bin/zborg"
FOUND = Found(programs=frozenset({BIN}), daemon="cron", installed="cron")


def parser(words: Sequence[str]) -> Parsed:
    """Takes one word and nothing that begins with x."""
    return Parsed(error=f"no such command {words[0]}") if words[0].startswith("x") else Parsed(words[0])


def of_table(text: str, *, path: str = "/etc/cron.d/zborg", system: bool = True) -> Start:
    (one,) = starts(replace(FOUND, tables=(Table(path, text, system),)), parser)
    return one


def of_script(text: str, *, path: str = "/etc/cron.daily/zborg") -> list[Start]:
    return starts(replace(FOUND, scripts=(Script(path, text, 1),)), parser)


def test_what_would_be_looked_for_is_each_place_of_each_line() -> None:
    found = Found(
        tables=(Table("/etc/cron.d/a", "PATH=/a:/b\n1 1 * * * root zborg run\n61 1 * * * root zborg run\n"),),
        scripts=(Script("/etc/cron.daily/z", "/opt/zborg run\n", 1), Script("/etc/cron.daily/y", "'\n", 1)),
        timers=(Timer("zborg.timer", ("/srv/zborg run",)),),
    )
    assert candidates(found) == {"/a/zborg", "/b/zborg", "/opt/zborg", "/srv/zborg"}


@pytest.mark.parametrize(
    ("text", "why", "remedy"),
    [
        (f"1 1 * * * {BIN} run", "its last line does not end with a newline", "crontab -e"),
        (f"61 1 * * * {BIN} run\n", "line 1: '61' is no minute", "correct line 1:"),
        ("1 1 * * * /gone/zborg run\n", "it names /gone/zborg", "write the whole path into line 1:"),
        (
            f"1 1 * * * root {BIN} run\n",
            "a user's own crontab has no user's name",
            "take root out of line 1:",
        ),
        (f"1 1 * * * {BIN} xun\n", "zborg would refuse it: no such command xun", "crontab of root"),
    ],
)
def test_a_user_s_own_crontab_is_corrected_by_crontab(text: str, why: str, remedy: str) -> None:
    found = of_table(text, path="crontab of root", system=False)
    assert why in found.why_not and remedy in found.remedy


def test_a_bad_line_and_a_good_one_are_both_refused_with_the_file() -> None:
    table = Table("/etc/cron.d/zborg", f"61 1 * * * root {BIN} run\n1 1 * * * root {BIN} run\n")
    both = starts(replace(FOUND, tables=(table,)), parser)
    assert [one.place for one in both] == ["/etc/cron.d/zborg, line 1", "/etc/cron.d/zborg, line 2"]
    assert {one.why_not for one in both} == {
        "line 1: '61' is no minute: it is 0 to 59; cron ignores the file"
    }
    assert all("sed -n 1p /etc/cron.d/zborg" in one.remedy for one in both)


def test_a_line_without_a_command_is_bad() -> None:
    assert parse("1 1 * * *\n", system=False) == (Bad(1, "there is no command", "1 1 * * *"),)


@pytest.mark.parametrize(
    ("text", "why", "remedy"),
    [
        (f"{BIN} run\n", "", ""),
        ("/gone/zborg run\n", "it names /gone/zborg, which is not there", f"s|/gone/zborg |{BIN} |"),
        (f"{BIN} xun\n", "zborg would refuse it: no such command xun", "zborg --help"),
    ],
)
def test_a_script_of_run_parts(text: str, why: str, remedy: str) -> None:
    (found,) = of_script(text)
    assert found.why_not == why and remedy in found.remedy
    assert found.days == 1


def test_a_script_that_an_editor_left_is_nobody_s() -> None:
    assert of_script(f"{BIN} run\n", path="/etc/cron.daily/zborg.bak") == []
    (dotted,) = of_script(f"{BIN} run\n", path="/etc/cron.daily/zborg.sh")
    assert dotted.remedy == "mv /etc/cron.daily/zborg.sh /etc/cron.daily/zborg"


def test_a_wrapper_around_nothing_that_is_known_starts_nothing() -> None:
    assert invocations("nice -n 5 rsync -a /x /y") == ()
    assert invocations(f"nice -n 5 {BIN} run") == ((BIN, "run"),)


def test_what_an_off_site_starts_besides_a_run_is_named() -> None:
    found = replace(FOUND, tables=(Table("/etc/cron.d/zborg", f"1 1 * * * root {BIN} status\n"),))
    host = Host("web1", Endpoint("root", "web1", 22, "k", "i"), 26 * 3600, 60)
    here = schedule(found, Wanted("/z.toml", (host,), ()), parser)[0]
    assert here.message == "nothing starts a backup: all that is started here is zborg status"
    away = schedule(found, Wanted("/z.toml", (), (), received=True), parser)[0]
    assert away.message == "nothing starts zborg run: all that is started here is zborg status"
