"""What an off-site's own zborg tells its servers: written small, read as a stranger's, told with its age."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.harness.steps import night, replicate
from tests.harness.worlds.arrivals import ROOT, arrive, offsite
from tests.harness.worlds.local import LocalVault
from tests.harness.worlds.steps import Hours, dataset_only, nights, of, scrubbed, world
from zborg.errors import Exit, ZborgError
from zborg.model import Outcome, Report, Status
from zborg.model.storage.zfs import P_REPORT
from zborg.model.text.units import printable
from zborg.planning.offsite import published_report
from zborg.steps.observe.status import saved

NOW = datetime(2026, 2, 12, 15, 0, tzinfo=UTC)
DAY = 86400


def report(command: str, *outcomes: Outcome, finished: datetime = NOW) -> Report:
    status = Status.FAILED if outcomes else Status.OK
    return Report(command, "run", "offsite", NOW, finished, status, Exit.OK, outcomes)


# --- the words --------------------------------------------------------------------------------------


@pytest.mark.unit
@given(st.lists(st.text(), max_size=12), st.text(min_size=1))
def test_whatever_happened_fits_into_a_property(messages: list[str], subject: str) -> None:
    outcomes = [Outcome("pool", subject, Status.FAILED, message * 50) for message in messages]
    text = published_report.write([report("rotate"), report("scrub", *outcomes)])
    assert len(text) <= published_report.MOST and text.isascii() and text.isprintable()
    rotate, scrub = published_report.read(text)
    assert (rotate.command, rotate.finished, rotate.status, rotate.words) == ("rotate", NOW, Status.OK, ())
    assert scrub.status is (Status.FAILED if messages else Status.OK)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)
_SHAPED = st.fixed_dictionaries(
    {
        "zborg": st.just(1),
        "said": st.lists(
            st.fixed_dictionaries(
                {
                    "command": st.text() | _JSON,
                    "finished": st.just("2026-02-12T14:00:00Z") | st.text() | _JSON,
                    "status": st.sampled_from(["ok", "failed", "splendid"]) | _JSON,
                    "words": st.lists(st.text() | _JSON) | _JSON,
                }
            )
        ),
    }
)


@pytest.mark.unit
@given(st.text() | (_JSON | _SHAPED).map(json.dumps))
def test_any_text_is_an_outcome_of_one_line_and_never_more_than_a_warning(text: str) -> None:
    found = published_report.outcome("offsite", text, DAY, NOW, NOW)
    assert found.status in (Status.OK, Status.WARNING)
    assert found.message == printable(found.message) and len(found.message) < 20_000
    assert found.status is Status.WARNING or published_report.read(text)


@pytest.mark.unit
def test_nested_and_long_texts_are_refused() -> None:
    for text in (
        "[" * 8000,
        '{"zborg":' + "9" * 8000 + "}",
        " " * 9000 + published_report.write([report("scrub")]),
    ):
        assert "cannot be read" in published_report.outcome("offsite", text, DAY, NOW, NOW).message


@pytest.mark.unit
def test_a_word_that_would_steer_the_terminal_does_not() -> None:
    one = {"command": "rot\x1b]0;", "finished": "2026-02-12T14:00:00Z", "status": "failed"}
    said = [one | {"words": ["\x1b[2J\u202egone", {"a": "\n"}]}]
    found = published_report.outcome("offsite", json.dumps({"zborg": 1, "said": said}), DAY, NOW, NOW)
    assert "gone" in found.message and found.message == printable(found.message)


@pytest.mark.unit
def test_what_is_not_well_and_what_is_old_are_warnings() -> None:
    good = published_report.write([report("rotate"), report("scrub")])
    later = NOW + timedelta(hours=3)
    fine = published_report.outcome("offsite", good, DAY, NOW, later)
    assert (fine.status, fine.remedy) == (Status.OK, "")
    assert fine.message == "its own zborg reported 3 hours ago: rotate ok; scrub ok"
    bad = published_report.write([report("scrub", Outcome("pool", "vault", Status.DAMAGED, "2 data errors"))])
    sick = published_report.outcome("offsite", bad, DAY, NOW, NOW)
    assert sick.status is Status.WARNING and "scrub failed (vault: 2 data errors)" in sick.message
    old = published_report.outcome("offsite", good, DAY, NOW + timedelta(days=3), NOW + timedelta(days=4))
    assert old.status is Status.WARNING
    assert old.message.startswith("nothing new for 3 days; its own zborg reported 4 days ago: ")
    ahead = published_report.outcome("offsite", good, DAY, NOW - timedelta(hours=1), NOW)
    assert ahead.status is Status.WARNING and "its clock is ahead" in ahead.message


# --- from one zborg to the other --------------------------------------------------------------------


def test_the_server_shows_what_the_off_site_said_last(vault: LocalVault, clock: Hours) -> None:
    dataset_only(vault, "web1")
    nights(vault, clock, 2)
    scrubbed(vault, clock)
    assert replicate(world(vault, clock)).exit is Exit.OK
    context = world(vault, clock)
    assert published_report.KIND not in str(
        saved(context.config, context.runs, context.locks, clock.now).outcomes
    )
    arrive(vault, clock, "web1")
    there = offsite(vault, clock)
    night(replace(there, runs=vault.runs_of("offsite")))
    clock.tick(5)
    heard = of(replicate(world(vault, clock)), "offsite")
    assert (heard.kind, heard.status) == (published_report.KIND, Status.OK), heard
    assert heard.message == "its own zborg reported 5 hours ago: rotate ok; scrub ok; witness ok"
    clock.tick(5)
    shown = saved(context.config, context.runs, context.locks, clock.now).outcomes
    (own,) = [one for one in shown if one.kind == published_report.KIND]
    assert own.message == "its own zborg reported 10 hours ago: rotate ok; scrub ok; witness ok"


def test_it_counts_neither_for_nor_against_a_replication(vault: LocalVault, clock: Hours) -> None:
    dataset_only(vault, "web1")
    nights(vault, clock, 1)
    vault.far.set([ROOT], {P_REPORT: "no report at all"})
    warned = replicate(world(vault, clock))
    assert (warned.exit, warned.status) == (Exit.OK, Status.WARNING)
    nights(vault, clock, 1)
    vault.far.set([ROOT], {P_REPORT: published_report.write([report("rotate", finished=clock.now)])})

    def fail(method: str, arguments: tuple[object, ...]) -> None:
        if method == "receive":
            raise ZborgError("no")

    vault.far.fail = fail
    assert replicate(world(vault, clock)).exit is Exit.FAILED, "not in part: nothing was sent"


def test_a_word_that_cannot_be_left_is_a_warning_of_a_good_rotation(vault: LocalVault, clock: Hours) -> None:
    arrive(vault, clock, "web1")

    def fail(method: str, arguments: tuple[object, ...]) -> None:
        if method == "set":
            raise ZborgError("no space")

    vault.far.fail = fail
    scrubbed(vault, clock)
    there = replace(offsite(vault, clock), runs=vault.runs_of("offsite"))
    assert night(there).exit is Exit.OK
    assert [one.message for one in vault.events if one.kind == "warning"] == [
        "the servers will not see this report: no space"
    ] * 3
