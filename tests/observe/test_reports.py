"""Reports: their JSON, their text, the files they are handed over in, and how outcomes become one."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta, timezone
from itertools import combinations_with_replacement
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.harness.builders.reports import NOON, REPORTS, outcome, report
from tests.harness.checkout import GOLDEN_FILES
from zborg.cli.command.perform import _coloured
from zborg.errors import Exit
from zborg.model import Outcome, Report, Status
from zborg.model.results import NOTHING, Contradiction
from zborg.model.serial.report import from_dict, to_dict
from zborg.model.serial.results import from_table
from zborg.model.text import remedy
from zborg.model.text.units import moment
from zborg.reporting.text import render
from zborg.state.runs import Runs, ended, new_run
from zborg.steps.context import conclude, inspect

pytestmark = pytest.mark.unit

GOLDEN = GOLDEN_FILES / "reports"


@given(one=REPORTS)
def test_json_and_back(one: Report) -> None:
    assert from_dict(json.loads(json.dumps(to_dict(one)))) == one


def test_moments_are_written_in_utc() -> None:
    east = NOON.astimezone(timezone(timedelta(hours=5)))
    assert to_dict(report(started=east))["started"] == "2026-02-12T12:00:00Z"


def test_the_form_is_versioned_and_fixed() -> None:
    table = to_dict(report(outcome(Status.OK)))
    assert list(table) == [
        "zborg", "command", "run", "server", "started", "finished", "status", "exit", "outcomes", "plan",
    ]  # fmt: skip
    assert table["zborg"] == 1
    assert list(table["outcomes"][0]) == ["kind", "subject", "status", "message", "remedy", "data"]
    with pytest.raises(ValueError, match="version 2"):
        from_dict(table | {"zborg": 2})


SCALARS = st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.text(max_size=10)


@given(key=st.sampled_from(sorted(to_dict(report()))), value=SCALARS | st.lists(SCALARS) | st.just({"a": 1}))
def test_another_form_is_refused_and_nothing_worse(key: str, value: object) -> None:
    try:
        found = from_dict(to_dict(report(outcome(Status.OK))) | {key: value})
    except (ValueError, KeyError, TypeError):
        return
    assert found.started.tzinfo is not None
    assert found.finished.tzinfo is not None


# --- run files ----------------------------------------------------------------------------------------


def saved(
    runs: Runs, hours: float, *outcomes: Outcome, lasting: float = 0, command: str = "backup"
) -> Report:
    began = NOON + timedelta(hours=hours)
    one = report(
        *outcomes,
        run=new_run(began),
        started=began,
        finished=began + timedelta(hours=lasting),
        command=command,
    )
    runs.save(one)
    return one


def test_the_newest_of_a_command(tmp_path: Path) -> None:
    runs = Runs(tmp_path)
    assert runs.newest("backup") is None
    saved(runs, 2)
    newest = saved(runs, 3)
    saved(runs, 1)
    saved(runs, 9, command="rotate")
    assert runs.newest("backup") == newest
    assert [r.started.hour for r in runs.newest_first("backup")] == [15, 14, 13]


def test_commands_of_two_words_have_files_of_their_own(tmp_path: Path) -> None:
    runs = Runs(tmp_path)
    saved(runs, 1, command="restore files")
    assert runs.newest("files") is None
    assert runs.newest("restore files") is not None


def told(found: dict[str, list[Outcome]]) -> dict[str, list[Status]]:
    return {name: [one.status for one in some] for name, some in found.items()}


def test_each_subjects_outcomes_since(tmp_path: Path) -> None:
    runs = Runs(tmp_path)
    saved(runs, 1, outcome(Status.FAILED, "web1"), outcome(Status.OK, "old"))
    saved(runs, 3, outcome(Status.OK, "web1"), outcome(Status.FAILED, "db1"))
    saved(runs, 4, outcome(Status.OK, "db1"))
    found = runs.outcomes_since("backup", NOON + timedelta(hours=2))
    assert told(found) == {"web1": [Status.OK], "db1": [Status.OK, Status.FAILED]}
    assert runs.outcomes_since("backup", NOON + timedelta(hours=3)).keys() == {"db1"}
    assert runs.outcomes_since("backup", None).keys() == {"web1", "old", "db1"}
    assert runs.outcomes_since("rotate", None) == {}


def test_a_long_run_counts_by_its_end(tmp_path: Path) -> None:
    """It began before a short run that ended before the last snapshot; its own end came after."""
    runs = Runs(tmp_path)
    saved(runs, 1, outcome(Status.OK, "big"), lasting=20)
    saved(runs, 5, outcome(Status.BUSY, "big"), outcome(Status.OK, "small"))
    found = runs.outcomes_since("backup", NOON + timedelta(hours=10))
    assert told(found) == {"big": [Status.OK]}


def test_the_last_that_ended_comes_first_whoever_began_first(tmp_path: Path) -> None:
    runs = Runs(tmp_path)
    saved(runs, 1, outcome(Status.FAILED, "web1"), lasting=4)
    saved(runs, 2, outcome(Status.OK, "web1"))
    assert told(runs.outcomes_since("backup", NOON)) == {"web1": [Status.FAILED, Status.OK]}


def test_an_outcome_counts_by_its_own_end(tmp_path: Path) -> None:
    """web1 was done, and snapshotted, hours before the run with a slow host ended: it is not new again."""
    runs = Runs(tmp_path)
    quick, slow = NOON + timedelta(hours=1), NOON + timedelta(hours=8)
    one = outcome(Status.OK, "web1", data={"finished": moment(quick)})
    other = outcome(Status.OK, "big", data={"finished": moment(slow)})
    saved(runs, 0, one, other, lasting=8)
    assert runs.outcomes_since("backup", NOON + timedelta(hours=2)).keys() == {"big"}


@pytest.mark.parametrize("wrong", [None, 7, "yesterday", "2026-02-12T12:00:00"])
def test_an_end_that_cannot_be_read_is_that_of_the_run(wrong: object) -> None:
    made = from_table("backup", "host", {"finished": wrong})
    one = report(replace(outcome(Status.OK), result=made))
    assert ended(one, one.outcomes[0]) == one.finished


def test_every_host_with_a_cron_line_of_its_own_is_found(tmp_path: Path) -> None:
    runs = Runs(tmp_path)
    for number in range(150):
        saved(runs, number / 60, outcome(Status.OK, f"host{number}"))
    assert len(runs.outcomes_since("backup", NOON - timedelta(hours=1))) == 150


@pytest.mark.parametrize(
    "garbage",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"7",
        b"\xff",
        b'{"zborg": 1}',
        b'{"zborg": 2}',
        b'{"zborg": 1, "outcomes": 5}',
    ],
)
def test_a_file_that_cannot_be_read_is_passed_over(tmp_path: Path, garbage: bytes) -> None:
    runs = Runs(tmp_path)
    good = saved(runs, 1, outcome(Status.OK))
    (tmp_path / "20991231T000000Z-ffff.backup.json").write_bytes(garbage)
    assert runs.newest("backup") == good
    assert runs.outcomes_since("backup", None).keys() == {"web1"}


def test_killed_in_the_middle_of_a_save(tmp_path: Path) -> None:
    runs = Runs(tmp_path)
    good = saved(runs, 1, outcome(Status.OK))
    text = json.dumps(to_dict(good))
    (tmp_path / "20991231T000000Z-ffff.backup.new").write_text(text[: len(text) // 2])
    assert runs.newest("backup") == good
    assert saved(runs, 2) == runs.newest("backup")


def test_a_report_saved_again_is_replaced(tmp_path: Path) -> None:
    runs = Runs(tmp_path)
    first = saved(runs, 1, outcome(Status.OK))
    runs.save(replace(first, outcomes=(*first.outcomes, outcome(Status.FAILED, "db1"))))
    assert [len(r.outcomes) for r in runs.newest_first("backup")] == [2]


def test_old_files_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zborg.state.runs._KEEP", 3)
    runs = Runs(tmp_path)
    for hour in (4, 1, 3, 2, 5):
        saved(runs, hour)
    saved(runs, 0, command="rotate")
    for minute in range(5):
        saved(runs, minute / 60, command="scrub")
    runs.prune()
    assert [r.started.hour for r in runs.newest_first("backup")] == [17, 16, 15]
    assert runs.newest("rotate") is not None
    assert len(list(runs.newest_first("scrub"))) == 3


# --- text ---------------------------------------------------------------------------------------------

TEXTS = {
    "ok": report(
        outcome(
            Status.OK,
            data={"files": 1, "original_bytes": 5_000_000, "new_bytes": 700, "seconds": 2.13, "archive": "x"},
        ),
        outcome(Status.WARNING, "tokyo", message="borg warned 2 times", data={"files": 9, "warnings": 2}),
        outcome(Status.SKIPPED, "mail", message="excluded on the command line"),
    ),
    "partial": report(
        outcome(Status.OK, data={"files": 12}),
        outcome(
            Status.FAILED,
            "database-primary",
            message="no connection to database-primary (ssh://root@db1.example.net:22): "
            "ssh: connect to host db1.example.net port 22: Connection timed out",
            remedy="is it up, and the port right?",
        ),
    ),
    "conflict": report(
        Outcome(
            "dataset",
            "offsite:vault/zborg/a-rather-long-host-name",
            Status.CONFLICT,
            "the target was changed since its newest common snapshot",
            remedy.remedy(
                "zfs rename vault/zborg/a-rather-long-host-name vault/zborg/aside",
                "zborg replicate",
                first="set the copy aside on the target, then send it in full:",
            ),
            Contradiction(
                conflict="modified",
                sides=("source: tank/borg/web1@zborg_2026-02-11T000000Z", "target: vault/zborg/web1 +12 KiB"),
            ),
        ),
        command="replicate",
    ),
    "dry_run": report(plan=("back up web1 (ssh://root@web1:22)", "1 hosts, 1 at once")),
}


@pytest.mark.parametrize("name", sorted(TEXTS))
def test_the_text_reads_like_its_golden_file(name: str) -> None:
    lines = [line.text for line in render(TEXTS[name])]
    assert "\n".join(lines) + "\n" == (GOLDEN / f"{name}.txt").read_text()


def test_verbose_tells_the_facts_as_well() -> None:
    lines = [line.text for line in render(TEXTS["ok"], verbose=True)]
    assert "\n".join(lines) + "\n" == (GOLDEN / "ok_verbose.txt").read_text()
    long = [line for line in lines if len(line) > 80]
    assert all(len(line.split()) <= 2 for line in long), "only what cannot be broken is longer"


def test_the_plan_is_shown_when_asked_for() -> None:
    one = report(outcome(Status.OK), plan=("a line of the plan",))
    assert "a line of the plan" not in [line.text for line in render(one)]
    assert render(one, verbose=True)[0].text == "a line of the plan"


@given(one=REPORTS)
def test_no_report_breaks_the_text_or_steers_the_terminal(one: Report) -> None:
    clean = replace(one, outcomes=tuple(replace(o, result=NOTHING) for o in one.outcomes))
    for line in render(clean, verbose=True)[:-1]:  # the last one holds our own words only
        assert all(" " <= char != "\x7f" and not "\x80" <= char <= "\x9f" for char in line.text)


def test_a_hostile_host_cannot_send_escape_codes() -> None:
    words = "\x1b]0;owned\x07\x1b[2J\r\n\x9b31m done"
    (line, *_) = render(report(outcome(Status.FAILED, message=words, remedy=words, data={"files": 1})))
    assert line.text == "web1  failed    ]0;owned  [2J   31m done; 1 file"


def test_the_colour_is_on_the_status_and_not_in_the_name() -> None:
    (line, *_) = render(report(outcome(Status.OK, "tokyo")))
    assert _coloured(line) == "tokyo  \x1b[32mok\x1b[0m"


# --- what many outcomes come to -----------------------------------------------------------------------


def table(some: Sequence[Status], *, partial_ok: bool) -> tuple[Status, Exit]:
    """The rule in words, of which conclude() must be an implementation:

    * skipped and pending subjects do not count; with none left all is well;
    * an interruption, then damage, then a conflict outranks everything;
    * without anything bad or partial: ok, or warning when there was one; exit 0;
    * something partial, or some bad among good: partial, exit 3;
    * where partial is allowed, anything but an interruption is exit 0 if some were good;
    * all bad: all busy is busy (11); else failed (4).
    """
    counted = {status for status in some if status not in (Status.SKIPPED, Status.PENDING)}
    good, bad = (
        counted & {Status.OK, Status.WARNING, Status.PARTIAL},
        counted
        - {
            Status.OK,
            Status.WARNING,
            Status.PARTIAL,
        },
    )
    if not bad and Status.PARTIAL not in good:
        return (Status.WARNING if Status.WARNING in good else Status.OK), Exit.OK
    if Status.INTERRUPTED in bad:
        return Status.INTERRUPTED, Exit.INTERRUPTED
    allowed = partial_ok and bool(good)
    if Status.DAMAGED in bad:
        return Status.DAMAGED, Exit.OK if allowed else Exit.DAMAGE
    if Status.CONFLICT in bad:
        return Status.CONFLICT, Exit.OK if allowed else Exit.CONFLICT
    if good:
        return Status.PARTIAL, Exit.OK if allowed else Exit.PARTIAL
    return (Status.BUSY, Exit.LOCKED) if bad == {Status.BUSY} else (Status.FAILED, Exit.FAILED)


SMALL = [some for size in range(5) for some in combinations_with_replacement(Status, size)]


@pytest.mark.parametrize("partial_ok", [False, True])
def test_conclude_over_all_small_combinations(partial_ok: bool) -> None:
    for some in SMALL:
        for order in (some, some[::-1]):
            found = conclude([outcome(status) for status in order], partial_ok=partial_ok)
            assert found == table(some, partial_ok=partial_ok), some


def test_nothing_bad_ever_ends_with_0_unless_partial_is_allowed() -> None:
    bad = {
        Status.PARTIAL,
        Status.FAILED,
        Status.BUSY,
        Status.CONFLICT,
        Status.DAMAGED,
        Status.INTERRUPTED,
    }
    for some in SMALL:
        assert (conclude([outcome(s) for s in some])[1] is Exit.OK) == (not bad & set(some)), some


def test_inspect_knows_no_partial() -> None:
    for some in SMALL:
        outcomes = [outcome(status) for status in some]
        status, code = inspect(outcomes)
        assert code not in (Exit.PARTIAL, Exit.LOCKED), some
        assert (code is Exit.OK) == (conclude(outcomes)[1] is Exit.OK), some
        if conclude(outcomes)[1] is Exit.PARTIAL:
            assert (status, code) == (Status.FAILED, Exit.FAILED)
