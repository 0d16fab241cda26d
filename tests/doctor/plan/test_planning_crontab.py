"""crontab(5) and the lines of shell in it: what they start, and what they do not."""

from __future__ import annotations

import shlex
from contextlib import suppress
from datetime import date, timedelta
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zborg.planning.doctor.crontab import Bad, Job, Times, is_read, parse
from zborg.planning.doctor.shell_line import invocations

pytestmark = pytest.mark.unit


def one(line: str, *, system: bool = True) -> Job | Bad:
    (found,) = parse(f"{line}\n", system=system)
    return found


@pytest.mark.parametrize(
    ("when", "days"),
    [
        ("30 2 * * *", 1),
        ("*/15 * * * *", 1),
        ("0-59/5,7 1,2,3 * * *", 1),
        ("@daily", 1),
        ("@midnight", 1),
        ("@hourly", 1),
        ("@weekly", 7),
        ("@monthly", 31),
        ("@annually", 366),
        ("0 2 * * sun", 7),
        ("0 2 * * 7", 7),
        ("0 2 * * mon-fri", 3),
        ("0 2 1 * *", 31),
        ("0 2 1,15 * *", 17),
        ("0 2 1 * sun", 7),  # either day is enough
        ("0 2 */2 * *", 2),
        ("0 2 * jan,JUL *", 154),
        ("0 2 29 feb *", 1461),
        ("-5 2 * * *", 1),  # SUSE: not logged
    ],
)
def test_times_and_the_days_between_two_starts(when: str, days: int) -> None:
    job = one(f"{when} root zborg run")
    assert isinstance(job, Job) and job.times, job
    assert (job.times.gap(), job.user, job.command) == (days, "root", "zborg run")


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("30 2 * * root zborg run", "'root' is no day of week"),
        ("90 2 * * * root zborg run", "'90' is no minute: it is 0 to 59"),
        ("30 24 * * * root zborg run", "'24' is no hour"),
        ("30 2 0 * * root zborg run", "'0' is no day of month"),
        ("30 2 * 13 * root zborg run", "'13' is no month"),
        ("30 2 * * 8 root zborg run", "'8' is no day of week"),
        ("30 2 * * mo root zborg run", "'mo' is no day of week"),
        ("30 2 31 feb,apr * root zborg run", "no year has that day"),
        ("5/10 2 * * * root zborg run", "is no minute"),
        ("*/0 2 * * * root zborg run", "names nothing"),
        ("30-5 2 * * * root zborg run", "names nothing"),
        ("*-5 2 * * * root zborg run", "is no minute"),
        ("1,,2 2 * * * root zborg run", "is no minute"),
        ("½ 2 * * * root zborg run", "is no minute"),
        ("@nightly root zborg run", "cron knows no @nightly"),
        ("30 2 * * *", "a user's name and a command must follow"),
        ("30 2 * * * root", "a user's name and a command must follow"),
        ("30 2", "there is no day of month: five times"),
        ("zborg run", "is no minute"),
    ],
)
def test_what_cron_does_not_take(line: str, why: str) -> None:
    bad = one(line)
    assert isinstance(bad, Bad) and why in bad.why, bad


def test_settings_comments_and_percent_signs() -> None:
    text = (
        "# zborg run\n\nPATH=/a:/b\n MAILTO = 'root' \n\t30 2 * * *\troot  zborg run % zborg snapshot\n"
        'PATH="/c"\n@daily anna date +\\%F; zborg run\n@reboot root zborg run\n'
    )
    first, second, third = parse(text, system=True)
    assert isinstance(first, Job) and isinstance(second, Job) and isinstance(third, Job)
    assert (first.number, first.path, first.command) == (5, "/a:/b", "zborg run")
    assert (second.path, second.user, second.command) == ("/c", "anna", "date +%F; zborg run")
    assert third.times is None
    own = one("30 2 * * * zborg run", system=False)
    assert isinstance(own, Job) and (own.user, own.path) == ("", "/usr/bin:/bin")


@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("zborg", True),
        ("zborg-2_A", True),
        ("zborg.cron", False),
        ("zborg~", False),
        (".zborg", False),
        ("", False),
    ],
)
def test_names_of_run_parts(name: str, read: bool) -> None:
    assert is_read(name) is read


FIELDS = st.tuples(
    st.sets(st.integers(1, 31), min_size=1),
    st.sets(st.integers(1, 12), min_size=1),
    st.sets(st.integers(0, 7)),
)


@settings(deadline=None, max_examples=40)
@given(FIELDS)
def test_the_gap_is_that_of_a_calendar(fields: tuple[set[int], set[int], set[int]]) -> None:
    """Against a walk over the years."""
    days, months, weekdays = fields
    week = ",".join(map(str, weekdays)) or "*"
    line = f"0 2 {','.join(map(str, days))} {','.join(map(str, months))} {week} root zborg run"
    found = one(line)
    every = [date(2024, 1, 1) + timedelta(days=number) for number in range(58 * 366)]
    on = [
        day
        for day in every
        if day.month in months and (day.day in days or day.isoweekday() % 7 in {one % 7 for one in weekdays})
    ]
    if not on:
        assert isinstance(found, Bad)
        return
    assert isinstance(found, Job) and found.times
    assert found.times.gap() == max((after - before).days for before, after in pairwise(on))
    assert [found.times.on(day) for day in every[:800]] == [day in on for day in every[:800]]


@given(st.text(alphabet="0123456789*/,- \t\n@%#='\"\\abdefhinorsuyzg", max_size=120), st.booleans())
def test_any_text_is_a_crontab(text: str, system: bool) -> None:
    for line in parse(text, system=system):
        assert isinstance(line, Job | Bad)
        with suppress(ValueError):  # open quotes; a shell refuses them as well
            invocations(line.command if isinstance(line, Job) else line.text)


def test_a_times_of_no_day_never_comes() -> None:
    assert Times(frozenset({31}), frozenset({2}), None).gap() == 36500


@pytest.mark.parametrize(
    ("line", "started"),
    [
        ("zborg run", ["zborg run"]),
        ("/opt/zborg/bin/zborg backup && /opt/zborg/bin/zborg snapshot", ["zborg backup", "zborg snapshot"]),
        ("flock -n /run/zborg.lock zborg run", ["zborg run"]),
        ("flock -w 60 /run/l -c 'zborg backup; zborg snapshot'", ["zborg backup", "zborg snapshot"]),
        ("nice -n 10 ionice -c3 timeout 10h zborg run", ["zborg run"]),
        ("test -x /usr/local/bin/zborg && zborg run >/dev/null 2>&1", ["zborg run"]),
        ("[ -x /usr/local/bin/zborg ] && /usr/local/bin/zborg run 2>>/var/log/z", ["zborg run"]),
        ("zborg run 2>&1 | logger -t zborg", ["zborg run"]),
        ("bash -lc 'cd / && exec zborg run'", ["zborg run"]),
        ("su - root -c 'zborg run'", ["zborg run"]),
        ("LANG=C ZBORG_CONFIG=/x zborg run", ["zborg run"]),
        ("env ZBORG_CONFIG=/x zborg run", ["zborg run"]),
        ("if true; then zborg run; fi", ["zborg run"]),
        ("(zborg backup; zborg snapshot)&", ["zborg backup", "zborg snapshot"]),
        (
            "#!/bin/sh\n# it's zborg run\nset -e\nzborg backup # zborg snapshot\nzborg rotate\n",
            ["zborg backup", "zborg rotate"],
        ),
        ("zborg run --config '/etc/z b.toml'", ["zborg run --config /etc/z b.toml"]),
        ("echo zborg run", []),
        ("ssh other zborg run", []),
        ("root zborg run", []),
        ("touch zborg run", []),
        ("/usr/local/bin/check_zborg run", []),
        ("", []),
    ],
)
def test_which_commands_a_line_starts(line: str, started: list[str]) -> None:
    found = [" ".join([words[0].rpartition("/")[2], *words[1:]]) for words in invocations(line)]
    assert found == started


def test_deep_nesting_ends() -> None:
    line = "zborg run"
    for _ in range(8):
        line = f"sh -c {shlex.quote(line)}"
    assert invocations(line) == ()
