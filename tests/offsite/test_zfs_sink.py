"""The sink's whitelist: what our own adapter says to a target, and nothing else; which streams."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.harness.builders.begin import golden
from tests.harness.builders.sink import MARKS, NAME, REFUSED, ROOT, WEB
from zborg.errors import ZborgError
from zborg.model import P_RUN, P_STATE, Snapshot, SnapshotName
from zborg.model.storage.zfs import P_ARRIVED
from zborg.model.text.units import moment
from zborg.zfs import argv, begin
from zborg.zfs.sink import (
    HELLO,
    HERE,
    MOST_A_DAY,
    GiveUp,
    Hello,
    Mark,
    Show,
    Take,
    check_mark,
    check_stream,
    name_of,
    parse,
)

NOW = datetime(2026, 2, 12, 15, 0, tzinfo=UTC)


# --- what it does -----------------------------------------------------------------------------------


@pytest.mark.parametrize("subject", [ROOT, WEB, f"{ROOT}/web1/sub", f"{ROOT}/we b"])
@pytest.mark.parametrize(
    "build",
    [argv.list_datasets, argv.dataset_properties, argv.list_snapshots, argv.snapshot_properties],
)
def test_every_listing_of_the_adapter_is_shown(build: Callable[[str], argv.Argv], subject: str) -> None:
    words = build(subject)
    assert parse(shlex.join(words), ROOT) == Show(words)


def test_a_sink_says_that_it_is_one_and_a_shell_does_not() -> None:
    """doctor asks so: a refusal would look like an attack in the off-site's log."""
    assert parse(shlex.join(HELLO), ROOT) == Hello()
    said = subprocess.run(HELLO, capture_output=True, text=True, check=True).stdout
    assert said == "zborg\n" != HERE


def test_the_pool_and_the_time_are_shown() -> None:
    for words in (argv.pool_status("vault"), argv.pool_list("vault"), argv.clock()):
        assert parse(shlex.join(words), ROOT) == Show(words)


def test_a_snapshots_guid_is_shown_and_nobody_elses() -> None:
    assert parse(shlex.join(words := argv.guid(f"{WEB}@{NAME}")), ROOT) == Show(words)
    for elsewhere in (f"vault/other@{NAME}", f"{ROOT}@{NAME}", f"vault/zborg2/web1@{NAME}"):
        with pytest.raises(ZborgError, match="refused by the sink"):
            parse(shlex.join(argv.guid(elsewhere)), ROOT)


@pytest.mark.parametrize("dataset", [WEB, f"{ROOT}/web1/sub", f"{ROOT}/we b"])
def test_what_is_done_below_the_root(dataset: str) -> None:
    assert parse(shlex.join(argv.receive(dataset)), ROOT) == Take(dataset)
    assert parse(shlex.join(argv.abort_receive(dataset)), ROOT) == GiveUp(dataset)
    marks = argv.set_properties([f"{dataset}@{NAME}"], MARKS)
    assert parse(shlex.join(marks), ROOT) == Mark(f"{dataset}@{NAME}", MARKS)
    one = argv.set_properties([f"{dataset}@{NAME}"], {P_STATE: "failed"})
    assert parse(shlex.join(one), ROOT) == Mark(f"{dataset}@{NAME}", {P_STATE: "failed"})


@pytest.mark.parametrize("name", REFUSED)
def test_every_other_command_is_refused(name: str) -> None:
    with pytest.raises(ZborgError, match="refused by the sink"):
        parse(REFUSED[name], ROOT)


def test_there_are_a_hundred_of_them() -> None:
    assert len(REFUSED) >= 100 and len(set(REFUSED.values())) == len(REFUSED)


ALLOWED = [
    *(build(name) for build in (argv.list_datasets, argv.list_snapshots) for name in (ROOT, WEB)),
    argv.receive(WEB),
    argv.abort_receive(WEB),
    argv.set_properties([f"{WEB}@{NAME}"], MARKS),
]


@given(st.sampled_from(ALLOWED), st.data())
def test_a_changed_command_means_the_same_dataset_or_is_refused(
    words: argv.Argv, data: st.DataObject
) -> None:
    """One character changed, put in or taken out: what is still allowed stays below the root, and is
    again what the adapter writes."""
    text = shlex.join(words)
    at = data.draw(st.integers(0, len(text)))
    character = data.draw(st.just("") | st.characters())
    changed = text[:at] + character + text[at + data.draw(st.integers(0, 1)) :]
    try:
        request = parse(changed, ROOT)
    except ZborgError:
        return
    if isinstance(request, Take):
        assert changed == shlex.join(argv.receive(request.dataset))
    if isinstance(request, Take | GiveUp):
        assert request.dataset.startswith(f"{ROOT}/") and "@" not in request.dataset
    if isinstance(request, Mark):
        assert request.snapshot.startswith(f"{ROOT}/") and set(request.properties) <= set(MARKS)
    if isinstance(request, Show):
        assert request.argv[-1] == ROOT or request.argv[-1].startswith(f"{ROOT}/")


@given(st.text() | st.lists(st.text(max_size=20), max_size=8).map(shlex.join))
def test_any_text_is_refused_in_words(text: str) -> None:
    with pytest.raises(ZborgError, match="refused by the sink"):
        parse(text, ROOT)


# --- streams ----------------------------------------------------------------------------------------

FULL = begin.parse(golden()["full"])
NEXT = begin.parse(golden()["increment"])


def snapshot(raw: str, guid: str, txg: int, **properties: str) -> Snapshot:
    return Snapshot(WEB, raw, guid, txg, NOW, 0, 0, properties)


HELD = snapshot(NAME, FULL.to_guid, 10)


@pytest.mark.parametrize("name", ["full", "increment", "resumed"])
def test_what_zborg_sends_is_taken(name: str) -> None:
    check_stream(begin.parse(golden()[name]), raw=False)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("raw", "a raw stream"),
        ("clone", "a clone"),
        ("volume", "something else than a file system"),
        ("props", "a package of streams"),
        ("replicate", "a package of streams"),
        ("all", "a package of streams"),
    ],
)
def test_other_streams_are_refused(name: str, why: str) -> None:
    with pytest.raises(ZborgError, match=why):
        check_stream(begin.parse(golden()[name]), raw=False)


def test_raw_streams_where_they_are_configured() -> None:
    check_stream(begin.parse(golden()["raw"]), raw=True)
    with pytest.raises(ZborgError, match="features it does not know: 26"):
        check_stream(replace(FULL, features=FULL.features | {26}), raw=True)
    with pytest.raises(ZborgError, match="flags it does not know: 24"):
        check_stream(replace(FULL, flags=FULL.flags | {24}), raw=True)


@given(st.sets(st.integers(0, 63)), st.sets(st.integers(0, 31)), st.integers(0, 10), st.booleans())
def test_only_known_features_and_flags_pass(
    features: set[int], flags: set[int], kind: int, simple: bool
) -> None:
    stream = replace(FULL, features=frozenset(features), flags=frozenset(flags), kind=kind, simple=simple)
    harmless = features <= begin.PLAIN and flags <= begin.HARMLESS and simple and kind == begin.FILESYSTEM
    try:
        check_stream(stream, raw=False)
    except ZborgError:
        assert not harmless
    else:
        assert harmless


def test_the_name_is_the_streams_where_it_fits() -> None:
    assert name_of(FULL, [], NOW) == NAME
    assert name_of(NEXT, [HELD], NOW + timedelta(days=1)) == "zborg_2026-02-13T144933Z"


def named(stream: begin.Begin, raw: str) -> begin.Begin:
    return replace(stream, to_name=f"tank/borg/web1@{raw}")


def at(when: datetime) -> str:
    return str(SnapshotName.of(when))


@pytest.mark.parametrize(
    ("stream", "held", "why"),
    [
        (FULL, [HELD], "a full stream, and the newest held is @zborg_2026-02-12T144933Z"),
        (NEXT, [], "an increment on guid .*, and nothing is held"),
        (NEXT, [HELD, snapshot("x", "1", 11)], "an increment on guid .*, and the newest held is @x"),
        (named(NEXT, NAME), [HELD], "not later than the newest held"),
        (named(NEXT, at(NOW - timedelta(days=400))), [HELD], "not later than the newest held"),
        (named(NEXT, at(NOW + timedelta(minutes=61))), [HELD], "is of the future"),
        (named(FULL, "zborg_9999-12-31T235959Z"), [], "is of the future"),
        (named(FULL, "daily"), [], "'daily' is not a name that zborg gives"),
        (named(FULL, "zborg_2026-02-30T000000Z"), [], "is not a name that zborg gives"),
        (named(FULL, f"{NAME}@x"), [], "is not a name that zborg gives"),
        (replace(FULL, to_name="tank/borg"), [], "'' is not a name that zborg gives"),
    ],
)
def test_why_a_stream_does_not_fit(stream: begin.Begin, held: list[Snapshot], why: str) -> None:
    with pytest.raises(ZborgError, match=why):
        name_of(stream, held, NOW)


def test_a_back_dated_name_is_refused_although_the_newest_snapshot_is_somebody_elses() -> None:
    held = [HELD, snapshot("by-hand", "7", 11)]
    back = named(replace(NEXT, from_guid="7"), at(NOW - timedelta(days=1)))
    with pytest.raises(ZborgError, match=f"not later than the newest held, {NAME}"):
        name_of(back, held, NOW)


def test_a_flood_of_snapshots_ends_at_the_days_limit() -> None:
    def many(age: timedelta, count: int) -> list[Snapshot]:
        arrived = {P_ARRIVED: moment(NOW - age)}
        return [
            snapshot(f"zborg_2026-01-01T00{i // 60:02}{i % 60:02}Z", str(i), i, **arrived)
            for i in range(count)
        ]

    def on(held: list[Snapshot]) -> begin.Begin:
        return replace(NEXT, from_guid=held[-1].guid, to_name=f"a@{NAME}")

    held = many(timedelta(hours=23), MOST_A_DAY - 1)
    assert name_of(on(held), held, NOW) == NAME
    held = many(timedelta(hours=23), MOST_A_DAY)
    with pytest.raises(ZborgError, match="arrived here within a day"):
        name_of(on(held), held, NOW)
    held = many(timedelta(hours=25), MOST_A_DAY)
    assert name_of(on(held), held, NOW) == NAME
    unknown = [replace(one, properties={}) for one in held]
    with pytest.raises(ZborgError, match="arrived here within a day"):
        name_of(on(unknown), unknown, NOW)


# --- marks ------------------------------------------------------------------------------------------


def test_only_the_newest_snapshot_is_marked_and_only_once() -> None:
    mark = Mark(HELD.full, MARKS)
    check_mark(mark, [replace(HELD, snapname="older", createtxg=9), HELD])
    with pytest.raises(ZborgError, match="is not the newest"):
        check_mark(mark, [HELD, snapshot("newer", "2", 11)])
    with pytest.raises(ZborgError, match="is not the newest"):
        check_mark(mark, [])
    marked = replace(HELD, properties={P_STATE: "failed"})
    with pytest.raises(ZborgError, match="has zborg:state already"):
        check_mark(mark, [marked])
    check_mark(Mark(HELD.full, {P_RUN: MARKS[P_RUN]}), [marked])
