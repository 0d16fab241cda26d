"""The sink's whitelist: what our own adapter says to a target, and nothing else; which streams may come."""

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
from zborg.errors import ZborgError
from zborg.model import P_RUN, P_STATE, P_TRANSACTION, Snapshot, SnapshotName, Stream
from zborg.model.storage.zfs import P_ARRIVED, P_LABEL
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

ROOT = "vault/zborg"
WEB = f"{ROOT}/web1"
NAME = "zborg_2026-02-12T144933Z"
MARKS = {P_RUN: "20260212T144933Z-4f3a", P_STATE: "ok", P_TRANSACTION: "17", P_LABEL: "before-upgrade"}
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


# --- what it refuses --------------------------------------------------------------------------------

_OURS = {
    # Everything else that the adapter itself can say.
    "holds": argv.holds([f"{WEB}@{NAME}"]),
    "bookmarks": argv.list_bookmarks(ROOT),
    "values": argv.values("guid", WEB),
    "create": argv.create(f"{ROOT}/new", {}),
    "create with options": argv.create(f"{ROOT}/new", {"mountpoint": "/etc"}),
    "create parents": argv.create_parents(f"{ROOT}/new/sub"),
    "mount": argv.mount(WEB),
    "what decides a mount": argv.values(argv.MOUNTING, WEB),
    "hide snapshots": argv.hide_snapshots([WEB]),
    "snapshot": argv.snapshot(WEB, NAME, {}),
    "destroy a snapshot": argv.destroy_snapshots(WEB, [NAME]),
    "destroy snapshots": argv.destroy_snapshots(WEB, [NAME, "b"]),
    "what a destroy would free": argv.freed(WEB, [NAME]),
    "destroy a bookmark": argv.destroy_bookmark(f"{WEB}#{NAME}"),
    "destroy scratch": argv.destroy_scratch(WEB),
    "hold": argv.hold("mine", [f"{WEB}@{NAME}"]),
    "release": argv.release("mine", [f"{WEB}@{NAME}"]),
    "bookmark": argv.bookmark(f"{WEB}@{NAME}", NAME),
    "clone": argv.clone(f"{WEB}@{NAME}", f"{ROOT}/clone"),
    "send": argv.send(Stream(f"{WEB}@{NAME}")),
    "send an increment": argv.send(Stream(f"{WEB}@{NAME}", base=f"{WEB}#a")),
    "estimate": argv.estimate(Stream(f"{WEB}@{NAME}")),
    "scrub": argv.scrub("vault"),
    "names of damaged files": argv.damaged_files("vault"),
    "receive under a name": argv.receive_as(f"{WEB}@{NAME}"),
    # The right words about the wrong thing.
    "receive into the root": argv.receive(ROOT),
    "receive into the pool": argv.receive("vault"),
    "receive beside the root": argv.receive("vault/other"),
    "receive where a name goes on": argv.receive("vault/zborg2/web1"),
    "receive elsewhere": argv.receive("tank/borg/web1"),
    "give up the root's": argv.abort_receive(ROOT),
    "give up another's": argv.abort_receive("vault/other"),
    "list the pool's datasets": argv.list_datasets("vault"),
    "list beside": argv.list_datasets("vault/zborgs"),
    "list another pool": argv.list_snapshots("tank"),
    "properties of the pool": argv.dataset_properties("vault"),
    "snapshots' properties beside": argv.snapshot_properties("vault/other"),
    "status of another pool": argv.pool_status("tank"),
    "list another pool's size": argv.pool_list("tank"),
    "status with a prefix": argv.pool_status("vault", ("sudo", "-n")),
    # Marks.
    "arrival": argv.set_properties([f"{WEB}@{NAME}"], {P_ARRIVED: "2026-02-12T14:49:33Z"}),
    "arrival among marks": argv.set_properties([f"{WEB}@{NAME}"], MARKS | {P_ARRIVED: "2026"}),
    "another key": argv.set_properties([f"{WEB}@{NAME}"], {"zborg:target.x": "1"}),
    "a foreign key": argv.set_properties([f"{WEB}@{NAME}"], {"com.sun:auto-snapshot": "true"}),
    "a mark of a dataset": argv.set_properties([WEB], {P_STATE: "ok"}),
    "a mark of the root": argv.set_properties([ROOT], {P_STATE: "ok"}),
    "a mark of a snapshot of the root": argv.set_properties([f"{ROOT}@{NAME}"], {P_STATE: "ok"}),
    "a mark of two": argv.set_properties([f"{WEB}@{NAME}", f"{ROOT}/web2@{NAME}"], {P_STATE: "ok"}),
    "a mark beside": argv.set_properties([f"vault/other@{NAME}"], {P_STATE: "ok"}),
    "no state": argv.set_properties([f"{WEB}@{NAME}"], {P_STATE: "splendid"}),
    "an empty state": argv.set_properties([f"{WEB}@{NAME}"], {P_STATE: ""}),
    "no run": argv.set_properties([f"{WEB}@{NAME}"], {P_RUN: "$(reboot)"}),
    "no transaction": argv.set_properties([f"{WEB}@{NAME}"], {P_TRANSACTION: "-1"}),
    "a long transaction": argv.set_properties([f"{WEB}@{NAME}"], {P_TRANSACTION: "9" * 21}),
    "an empty label": argv.set_properties([f"{WEB}@{NAME}"], {P_LABEL: ""}),
    "a label with a blank": argv.set_properties([f"{WEB}@{NAME}"], {P_LABEL: "two words"}),
    "a label like an option": argv.set_properties([f"{WEB}@{NAME}"], {P_LABEL: "-F"}),
    "a long label": argv.set_properties([f"{WEB}@{NAME}"], {P_LABEL: "a" * 64}),
    "a transaction with a blank": argv.set_properties([f"{WEB}@{NAME}"], {P_TRANSACTION: "1 "}),
}

_TEXTS = {
    # Force, and other options.
    "receive -F": f"zfs receive -F -s -u {WEB}",
    "receive -s -u -F": f"zfs receive -s -u -F {WEB}",
    "receive -Fsu": f"zfs receive -Fsu {WEB}",
    "-F behind": f"zfs receive -s -u {WEB} -F",
    "-F as a name": f"zfs receive -s -u -F{WEB}",
    "receive without -u": f"zfs receive -s {WEB}",
    "receive without -s": f"zfs receive -u {WEB}",
    "receive -o": f"zfs receive -s -u -o mountpoint=/ {WEB}",
    "receive -x": f"zfs receive -s -u -x readonly {WEB}",
    "receive -d": f"zfs receive -s -u -d {ROOT}",
    "receive -e": f"zfs receive -s -u -e {ROOT}",
    "receive -h": f"zfs receive -s -u -h {WEB}",
    "receive -M": f"zfs receive -s -u -M {WEB}",
    "recv": f"zfs recv -s -u {WEB}",
    "receive two": f"zfs receive -s -u {WEB} {ROOT}/web2",
    "receive nothing": "zfs receive -s -u",
    "receive -c": f"zfs receive -c {WEB}@{NAME}",
    "options in another order": f"zfs receive -u -s {WEB}",
    "an end of options": f"zfs receive -s -u -- {WEB}",
    "receive -A -F": f"zfs receive -A -F {WEB}",
    "list -r of all": "zfs list -Hp -t filesystem -r -o name,guid,mounted",
    "list of two": f"{shlex.join(argv.list_datasets(ROOT))} tank",
    "list another column": f"zfs list -Hp -t filesystem -r -o all {ROOT}",
    "all properties of snapshots": shlex.join(argv.dataset_properties(ROOT)).replace(
        "filesystem", "snapshot"
    ),
    # Other commands.
    "destroy -r": f"zfs destroy -r {ROOT}",
    "destroy -R": f"zfs destroy -R {WEB}@{NAME}",
    "rollback": f"zfs rollback -r {WEB}@{NAME}",
    "rename": f"zfs rename {WEB} {ROOT}/web2",
    "promote": f"zfs promote {WEB}",
    "set mountpoint": f"zfs set mountpoint=/etc {WEB}",
    "set readonly": f"zfs set readonly=off {WEB}",
    "set a native property of a snapshot": f"zfs set readonly=off {WEB}@{NAME}",
    "inherit": f"zfs inherit -r zborg:state {ROOT}",
    "allow": f"zfs allow -u zborg-sink destroy {ROOT}",
    "unallow": f"zfs unallow {ROOT}",
    "program": "zfs program vault /tmp/x.lua",
    "diff": f"zfs diff {WEB}@{NAME}",
    "share": "zfs share -a",
    "unmount": "zfs unmount -a",
    "load-key": f"zfs load-key {WEB}",
    "pool destroy": "zpool destroy vault",
    "pool export": "zpool export vault",
    "pool history": "zpool history vault",
    "pool status of all": "env TZ=UTC LC_ALL=C zpool status -p",
    "another environment": "env TZ=UTC LC_ALL=C LD_PRELOAD=/tmp/x zpool status -p vault",
    "env and a shell": "env TZ=UTC LC_ALL=C sh",
    "another time": "date -s 2020-01-01",
    "a shell": "sh",
    "bash -c": "bash -c 'zfs destroy -r vault'",
    "scp": "scp -t /etc/passwd",
    "sftp": "internal-sftp",
    "rsync": "rsync --server -e.L . /",
    "the sink itself": "zborg sink vault",
    "a path to zfs": f"/sbin/zfs receive -s -u {WEB}",
    "sudo": f"sudo zfs receive -s -u {WEB}",
    "upper case": f"ZFS RECEIVE -s -u {WEB}",
    # Quoting, white space, more than one command.
    "two blanks": f"zfs  receive -s -u {WEB}",
    "a blank before": f" zfs receive -s -u {WEB}",
    "a blank behind": f"zfs receive -s -u {WEB} ",
    "a tab": f"zfs receive -s\t-u {WEB}",
    "a newline behind": f"zfs receive -s -u {WEB}\n",
    "a newline between": f"zfs receive -s -u {WEB}\nzfs destroy -r {ROOT}",
    "a carriage return": f"zfs receive -s -u {WEB}\r",
    "a zero byte": f"zfs receive -s -u {WEB}\0",
    "an escape": f"zfs receive -s -u {WEB}\x1b[2J",
    "a semicolon": f"zfs receive -s -u {WEB}; zfs destroy -r {ROOT}",
    "and": f"zfs receive -s -u {WEB} && reboot",
    "a pipe": f"zfs receive -s -u {WEB} | sh",
    "a redirection": f"zfs receive -s -u {WEB} > /etc/passwd",
    "a substitution": f"zfs receive -s -u {ROOT}/$(reboot)",
    "a quoted substitution": f"zfs receive -s -u '{ROOT}/$(reboot)'",
    "backticks": f"zfs receive -s -u {ROOT}/`reboot`",
    "a variable": "zfs receive -s -u $HOME",
    "needless quotes": f"zfs receive -s -u '{WEB}'",
    "double quotes": f'zfs receive -s -u "{ROOT}/we b"',
    "a backslash": f"zfs receive -s -u {ROOT}/we\\ b",
    "an open quote": f"zfs receive -s -u '{WEB}",
    "a comment": f"zfs receive -s -u {WEB} # quite harmless",
    "a glob": f"zfs receive -s -u {ROOT}/*",
    "nothing": "",
    "a blank": " ",
    "empty quotes": "''",
    # Names.
    "dots": f"zfs receive -s -u {ROOT}/../other",
    "a dot": f"zfs receive -s -u {ROOT}/./web1",
    "dots at the end": f"zfs receive -s -u {ROOT}/..",
    "a slash at the end": f"zfs receive -s -u {ROOT}/",
    "two slashes": f"zfs receive -s -u {ROOT}//web1",
    "a slash before": f"zfs receive -s -u /{WEB}",
    "a name in the root": f"zfs receive -s -u {ROOT}@{NAME}",
    "a bookmark": f"zfs receive -s -u {WEB}#{NAME}",
    "a percent sign": f"zfs receive -s -u {WEB}%recv",
    "a comma": f"zfs receive -s -u {WEB},{ROOT}/web2",
    "a range in set": f"zfs set zborg:state=ok {WEB}@a%b",
    "a list in set": f"zfs set zborg:state=ok {WEB}@a,b",
    "set without a value": f"zfs set zborg:state {WEB}@{NAME}",
    "set with two states": f"zfs set zborg:state=ok zborg:state=failed {WEB}@{NAME}",
    "letters that look like others": "zfs receive -s -u vault/zb\N{CYRILLIC SMALL LETTER O}rg/web1",
    "an umlaut": f"zfs receive -s -u {ROOT}/w\N{LATIN SMALL LETTER A WITH DIAERESIS}b1",
    "a wide blank": f"zfs receive -s -u\N{NO-BREAK SPACE}{WEB}",
    "a separator of lines": f"zfs receive -s -u {WEB}\N{LINE SEPARATOR}reboot",
    "half a pair": f"zfs receive -s -u {WEB}\udcff",
    "a long name": f"zfs receive -s -u {ROOT}/{'a' * 250}",
    "a long command": f"zfs receive -s -u {ROOT}/{'a/' * 5000}a",
}
REFUSED = {name: shlex.join(words) for name, words in _OURS.items()} | _TEXTS


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
    check_mark(mark, [replace(HELD, raw="older", createtxg=9), HELD])
    with pytest.raises(ZborgError, match="is not the newest"):
        check_mark(mark, [HELD, snapshot("newer", "2", 11)])
    with pytest.raises(ZborgError, match="is not the newest"):
        check_mark(mark, [])
    marked = replace(HELD, properties={P_STATE: "failed"})
    with pytest.raises(ZborgError, match="has zborg:state already"):
        check_mark(mark, [marked])
    check_mark(Mark(HELD.full, {P_RUN: MARKS[P_RUN]}), [marked])
