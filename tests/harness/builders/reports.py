"""Reports and outcomes as tests write them, and strategies for any."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import strategies as st

from zborg.errors import Exit
from zborg.model import Outcome, Report, Scrub, Status
from zborg.model.results import NOTHING, HostBackup, PoolState, Result
from zborg.model.serial.results import classes, from_table, to_table
from zborg.steps.context import conclude

NOON = datetime(2026, 2, 12, 12, 0, 0, tzinfo=UTC)


def report(*outcomes: Outcome, **changes: Any) -> Report:
    status, code = conclude(outcomes)
    whole = Report(
        "backup",
        "20260212T120000Z-4f3a",
        "vault",
        NOON,
        NOON + timedelta(seconds=75),
        status,
        code,
        outcomes,
    )
    return replace(whole, **changes)


def result(kind: str, data: Mapping[str, Any], command: str = "backup") -> Result:
    """The result of an outcome of this kind, in a report of this command; nothing of `data` may get lost."""
    made = from_table(command, kind, data)
    assert to_table(made) == data, f"{type(made).__name__} does not have all of {data}"
    return made


def outcome(
    status: Status,
    subject: str = "web1",
    *,
    data: Mapping[str, Any] | None = None,
    command: str = "backup",
    **more: Any,
) -> Outcome:
    """Of a host, in a report of this command; `data` as the JSON form has it."""
    return Outcome("host", subject, status, result=result("host", data or {}, command), **more)


MOMENTS = st.datetimes(datetime(1990, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC)).map(
    lambda at: at.replace(microsecond=0)
)
COUNTS = st.none() | st.integers(0, 2**60)
LINES = st.lists(st.text(max_size=10), max_size=3).map(tuple)
BACKUPS = st.builds(
    HostBackup,
    wall=st.text(min_size=1, max_size=8),
    files=COUNTS,
    original_bytes=COUNTS,
    new_bytes=COUNTS,
    seconds=st.none() | st.floats(0, 10**7),
    warnings=st.integers(0, 9),
    clocks=st.just(()) | st.tuples(MOMENTS, MOMENTS),
    log=LINES,
    doubt=st.text(max_size=8),
    finished=st.none() | MOMENTS,
)
POOLS = st.builds(
    PoolState,
    health=st.text(max_size=8),
    scrub=st.sampled_from(Scrub).map(lambda scrub: scrub.value),
    scrub_finished=st.none() | MOMENTS,
    scan_ended=st.none() | MOMENTS,
    errors=st.integers(0, 9),
    repaired=st.integers(0, 2**60),
    device_errors=st.integers(0, 9),
    devices=LINES,
    damaged=LINES,
    size=st.integers(0, 2**60),
    free=st.integers(0, 2**60),
)
RESULTS = (
    st.tuples(st.just("host"), BACKUPS | st.just(NOTHING)),
    st.tuples(st.just("pool"), POOLS | st.just(NOTHING)),
    st.tuples(
        st.text(max_size=8).filter(lambda kind: ("", kind) not in classes()),
        st.builds(Result, commands=LINES, log=LINES, step=st.text(max_size=8)),
    ),
)
OUTCOMES = st.builds(
    lambda made, subject, status, message, remedy: Outcome(
        made[0], subject, status, message, remedy, made[1]
    ),
    st.one_of(*RESULTS),
    st.text(max_size=20),
    st.sampled_from(Status),
    st.text(max_size=30),
    st.text(max_size=30),
)
REPORTS = st.builds(
    Report,
    command=st.text(max_size=10),
    run=st.text(max_size=20),
    server=st.text(max_size=10),
    started=MOMENTS,
    finished=MOMENTS,
    status=st.sampled_from(Status),
    exit=st.sampled_from(Exit),
    outcomes=st.lists(OUTCOMES, max_size=4).map(tuple),
    plan=st.lists(st.text(max_size=20), max_size=3).map(tuple),
)
