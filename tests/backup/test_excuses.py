"""A host cannot talk itself out of failing: "not now" and "busy" end with `max_age`."""

from __future__ import annotations

import fcntl
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.harness.machines.host import BackedUpHost
from tests.harness.steps import Request, backup
from tests.harness.worlds.local import LocalVault
from tests.harness.worlds.steps import Hours, of, world
from zborg.errors import Exit
from zborg.model import Endpoint, Host, Outcome, Report, Status
from zborg.model.results import Result
from zborg.model.text import remedy
from zborg.planning.backup.excuses import judged

NOW = datetime(2026, 2, 12, 3, 0, tzinfo=UTC)
DAY = 86400


def nights(vault: LocalVault, clock: Hours, count: int) -> list[Report]:
    """`count` backups, a day apart; max_age of every host of the vault is an hour."""
    reports = []
    for _ in range(count):
        clock.tick(24)
        reports.append(backup(world(vault, clock)))
    return reports


def refusing(vault: LocalVault, name: str, by: str) -> BackedUpHost:
    """A host that was good once and has a reason of its own ever since."""
    host = vault.add(name)
    assert backup(vault.context(), Request(hosts=[name])).exit is Exit.OK
    if by == "min_interval":
        host.setup(name, [host.data], extra_conf=["min_interval = 500d"])
    else:
        host.agent.write_text("#!/bin/sh\necho zborg-agent: not now: I am tired >&2\nexit 78\n")
    return host


@pytest.mark.parametrize("by", ["min_interval", "a liar"])
def test_not_now_every_night_fails_once_max_age_has_passed(vault: LocalVault, clock: Hours, by: str) -> None:
    refusing(vault, "web1", by)
    vault.add("web2")
    clock.now = datetime.now(UTC) - timedelta(hours=23, minutes=30)
    within, after = nights(vault, clock, 2)
    assert (within.exit, of(within, "web1").status) == (Exit.OK, Status.SKIPPED)
    assert (after.exit, of(after, "web1").status) == (Exit.PARTIAL, Status.FAILED)
    message = of(after, "web1").message
    assert message.startswith(
        "no good backup of web1 for 24 hours, the limit (max_age) is 60 minutes; it answers: "
    )
    assert "not now" in message
    first, (line,) = remedy.parse(of(after, "web1").remedy)
    assert first == "on web1, as root:"
    assert line.startswith("sed -n -E ")


def test_busy_every_night_fails_as_well(vault: LocalVault, clock: Hours) -> None:
    host = vault.add("web1")
    assert backup(vault.context()).exit is Exit.OK
    with open(host.run / "lock", "a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        clock.now = datetime.now(UTC) - timedelta(hours=23, minutes=30)
        within, after = nights(vault, clock, 2)
    assert (within.exit, of(within, "web1").status) == (Exit.LOCKED, Status.BUSY)
    assert (after.exit, of(after, "web1").status) == (Exit.FAILED, Status.FAILED)
    assert "is at work on this host" in of(after, "web1").message


def test_a_host_that_was_never_good_has_max_age_from_its_first_try(vault: LocalVault, clock: Hours) -> None:
    host = vault.add("web1")
    host.agent.write_text(
        '[ "$SSH_ORIGINAL_COMMAND" != version ] || { echo name web1; echo initialised no; exit; }\n'
        "echo zborg-agent: not now: never >&2\nexit 78\n"
    )
    first, second, third = nights(vault, clock, 3)
    assert of(first, "web1").status is Status.SKIPPED
    assert of(second, "web1").status is of(third, "web1").status is Status.FAILED


def test_a_lock_of_another_run_is_no_word_of_the_host(vault: LocalVault, clock: Hours) -> None:
    vault.add("web1")
    assert backup(vault.context()).exit is Exit.OK
    clock.now = datetime.now(UTC) + timedelta(days=9)
    with vault.context().locks.hold("host-web1"):
        (report,) = nights(vault, clock, 1)
    assert of(report, "web1").status is Status.BUSY


@pytest.mark.unit
@given(
    status=st.sampled_from(Status),
    age=st.none() | st.integers(-DAY, 10 * DAY),
    max_age=st.integers(1, 5 * DAY),
)
def test_only_excuses_are_judged_and_only_by_age(status: Status, age: int | None, max_age: int) -> None:
    host = Host("web1", Endpoint("root", "web1", 22, "ssh-ed25519 AAAA", "/id"), max_age, 60)
    outcome = Outcome("host", "web1", status, "said", "do", Result(log=("x",)))
    since = None if age is None else NOW - timedelta(seconds=age)
    found = judged(host, outcome, since, NOW)
    if status in (Status.SKIPPED, Status.BUSY) and age is not None and age > max_age:
        assert found.status is Status.FAILED
        assert found.data == outcome.data
        assert found.message.endswith("said")
    else:
        assert found == outcome
