"""Reports and outcomes as tests write them, and strategies for any."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import strategies as st

from zborg.errors import Exit
from zborg.model import Outcome, Report, Status
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


def outcome(status: Status, subject: str = "web1", **more: Any) -> Outcome:
    return Outcome("host", subject, status, **more)


SCALARS = st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.text(max_size=10)
OUTCOMES = st.builds(
    Outcome,
    kind=st.text(max_size=8),
    subject=st.text(max_size=20),
    status=st.sampled_from(Status),
    message=st.text(max_size=30),
    remedy=st.text(max_size=30),
    data=st.dictionaries(st.text(max_size=8), SCALARS | st.lists(SCALARS, max_size=3), max_size=3),
)
MOMENTS = st.datetimes(datetime(1990, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC)).map(
    lambda at: at.replace(microsecond=0)
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
