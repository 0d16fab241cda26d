"""What the zfs commands print: golden texts, and anything else ends in ZborgError and nothing worse.

tests/golden/zfs: status-*-2.3 and the rest were captured from OpenZFS 2.3.9 (pool renamed); status-*-2.1
and -2.2, and the column `written` of datasets, were written from knowledge of the format, not captured.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.harness.checkout import GOLDEN_FILES
from tests.harness.fake_zfs.child import pack_token
from zborg.errors import CommandFailed, TimedOut, ZborgError
from zborg.model import Scrub, Snapshot, Stream
from zborg.zfs import argv, names
from zborg.zfs.output import messages, parse, status, tokens

pytestmark = pytest.mark.unit

GOLDEN = GOLDEN_FILES / "zfs"


def golden(name: str) -> str:
    return (GOLDEN / f"{name}.txt").read_text()


def at(year: int, month: int, day: int, hour: int, minute: int, second: int = 0) -> datetime:
    return datetime(year, month, day, hour, minute, second, tzinfo=UTC)


# --- zpool status -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "scan", "errors"),
    [
        ("never-2.3", status.Scan(Scrub.NEVER), 0),
        ("never-2.1", status.Scan(Scrub.NEVER), 0),
        ("running-2.3", status.Scan(Scrub.RUNNING, done=0.0201), 0),
        ("running-2.1", status.Scan(Scrub.RUNNING, repaired=12800, done=0.1309), 0),
        ("paused-2.3", status.Scan(Scrub.CANCELED, at(2026, 11, 23, 6, 26, 37), done=0.9027), 0),
        ("canceled-2.3", status.Scan(Scrub.CANCELED, at(2026, 11, 23, 6, 29, 32)), 343),
        ("finished-2.3", status.Scan(Scrub.FINISHED, at(2026, 11, 23, 6, 26, 37), done=1.0), 0),
        (
            "healed-2.3",
            status.Scan(Scrub.FINISHED, at(2026, 11, 23, 6, 26, 58), 0, int(14.7 * 2**20), 1.0),
            0,
        ),
        ("damaged-2.3", status.Scan(Scrub.FINISHED, at(2026, 11, 23, 6, 29, 32), 343, 0, 1.0), 343),
        ("damaged-v-2.3", status.Scan(Scrub.FINISHED, at(2026, 11, 23, 6, 29, 32), 343, 0, 1.0), 2),
        (
            "finished-2.1",
            status.Scan(Scrub.FINISHED, at(2026, 2, 8, 9, 24, 2), 3, 3 * 2**19, 1.0),
            2,
        ),
        ("resilvering-2.3", status.Scan(Scrub.HIDDEN), 0),
        ("resilvered-2.3", status.Scan(Scrub.HIDDEN, at(2026, 11, 23, 6, 26, 52)), 0),
        ("errorscrub-2.3", status.Scan(Scrub.HIDDEN, at(2026, 11, 24, 7, 2, 5)), 123),
        ("devices-2.3", status.Scan(Scrub.HIDDEN, at(2026, 11, 24, 7, 2, 40)), 0),
        ("draid-2.2", status.Scan(Scrub.FINISHED, at(2026, 2, 8, 9, 24, 2), done=1.0), 0),
        ("unavail-2.1", status.Scan(Scrub.NEVER), 0),
    ],
)
def test_status(name: str, scan: status.Scan, errors: int) -> None:
    text = golden(f"status-{name}")
    assert status.scan(text) == scan
    assert status.data_errors(text) == errors


def test_every_golden_status_is_tested() -> None:
    (mark,) = test_status.pytestmark  # type: ignore[attr-defined]  # set by the decorator
    tested = {row[0] for row in mark.args[1]}
    assert {f"status-{name}.txt" for name in tested} == {p.name for p in GOLDEN.glob("status-*")}


def test_pool_counts_what_a_scrub_found_and_zfs_remembers_once() -> None:
    pool = status.pool("tank\tONLINE\t8053063680\t7819339264\n", golden("status-damaged-2.3"))
    assert (pool.errors, pool.size, pool.free) == (343, 8053063680, 7819339264)
    assert status.pool("tank\tUNAVAIL\t-\t-\n", golden("status-unavail-2.1")).health == "UNAVAIL"
    with pytest.raises(ZborgError, match="one pool"):
        status.pool("", golden("status-never-2.3"))


@pytest.mark.parametrize(
    ("name", "devices"),
    [
        ("devices-2.3", ("/vdev/e3 OFFLINE, 539 errors",)),
        ("errorscrub-2.3", ("/vdev/e1 ONLINE, 542 errors",)),
        ("unavail-2.1", ("vdb UNAVAIL",)),
        ("finished-2.3", ()),
    ],
)
def test_the_devices_that_are_not_well_are_named(name: str, devices: tuple[str, ...]) -> None:
    assert status.ailing(golden(f"status-{name}")) == devices


def test_errors_that_a_group_alone_counts_name_the_group() -> None:
    """What raidz could not repair may count for none of its disks."""
    rows = "\ttank  ONLINE 0 0 0\n\t  raidz1-0  ONLINE 0 0 4\n\t    sda  ONLINE 0 0 0\n"
    assert status.ailing(f"config:\n\n{rows}\nerrors: No known data errors\n") == (
        "raidz1-0 ONLINE, 4 errors",
    )


def test_damaged_files_are_listed() -> None:
    assert status.damaged_files(golden("status-damaged-v-2.3")) == ("q/borg@a:/f", "/srv/q/f")
    assert status.damaged_files(golden("status-damaged-2.3")) == ()


def test_the_worst_row_of_the_table_counts() -> None:
    assert status.device_errors(golden("status-devices-2.3")) == 539
    assert status.device_errors(golden("status-errorscrub-2.3")) == 542
    assert status.device_errors(golden("status-healed-2.3")) == 0
    listed = "tank\tONLINE\t8053063680\t7819339264\n"
    assert status.pool(listed, golden("status-devices-2.3")).device_errors == 539


@pytest.mark.parametrize(
    ("row", "count"),
    [
        ("vdb       ONLINE       1     2     4", 7),
        ("vdb       ONLINE       1     2     4     9", 7),  # with the column SLOW
        ("vdb       FAULTED     10     -     0  too many errors", 10),
        ("my disk   UNAVAIL      3     0     0", 3),
        ("vdb       ONLINE       -     -     -", 0),
        ("vdb       AVAIL   ", 0),
        ("vdb       ONLINE", 0),
        ("vdb       REMOVED      0     0", 0),
    ],
)
def test_columns_that_are_missing_count_nothing(row: str, count: int) -> None:
    table = "\tNAME        STATE     READ WRITE CKSUM\n\ttank        ONLINE       0     0     0\n"
    assert status.device_errors(f"config:\n\n{table}\t  {row}\n\nerrors: No known data errors\n") == count


def test_a_resilver_s_errors_count() -> None:
    text = golden("status-resilvered-2.3").replace("with 0 errors", "with 5 errors")
    assert status.scan(text) == status.Scan(Scrub.HIDDEN, at(2026, 11, 23, 6, 26, 52), errors=5)


@pytest.mark.parametrize("name", ["paused-2.3", "canceled-2.3", "resilvered-2.3"])
def test_a_date_that_cannot_be_read_hides_nothing_else(name: str) -> None:
    known = status.scan(golden(f"status-{name}"))
    assert known.finished
    unreadable = golden(f"status-{name}").replace("Mon Nov 23", "23. November")
    assert status.scan(unreadable) == replace(known, finished=None)


@pytest.mark.parametrize(
    ("words", "finished"),
    [
        ("error scrub in progress since Tue Nov 24 07:02:05 2026\n\t1.00% done, issued I/O for 1", None),
        (
            "error scrub paused since Tue Nov 24 07:02:05 2026\n\terror scrub started on Mon",
            at(2026, 11, 24, 7, 2, 5),
        ),
        ("error scrub canceled on Tue Nov 24 07:02:05 2026", at(2026, 11, 24, 7, 2, 5)),
    ],
)
def test_an_error_scrub_is_no_scrub(words: str, finished: datetime | None) -> None:
    assert status.scan(f" scrub: {words}\n") == status.Scan(Scrub.HIDDEN, finished)


def test_a_canceled_resilver_has_ended() -> None:
    for word in ("resilver", "resilver (draid1:4d:6c:0s-0)"):
        found = status.scan(f"  scan: {word} canceled on Mon Nov 23 06:26:52 2026\n")
        assert found == status.Scan(Scrub.HIDDEN, at(2026, 11, 23, 6, 26, 52))


def test_unknown_words_about_errors_are_not_taken_for_none() -> None:
    text = golden("status-finished-2.3").replace("No known data errors", "List of errors unavailable")
    with pytest.raises(ZborgError, match="List of errors unavailable"):
        status.data_errors(text)


# --- zfs list, get, holds, send ---------------------------------------------------------------------


def test_snapshots_in_order_with_properties() -> None:
    found = parse.snapshots(golden("snapshots"))
    properties = parse.user_properties(golden("snapshot-properties"), [s.full for s in found])
    found = parse.with_properties(found, properties)
    assert [s.full for s in found] == [
        "tank/borg@s1",
        "tank/borg/we b@s 1",
        "tank/borg/web1@s1",
        "tank/borg/web1@s2",
    ]
    made = datetime.fromtimestamp(1795504086, UTC)
    assert found[3] == Snapshot("tank/borg/web1", "s2", "3719043449328009551", 13, made, 0, 1, {})
    assert found[2].clones == ("tank/my rescue", "tank/rescue")
    assert found[1].properties == {"zborg:run": "r1", "zborg:state": "ok"}
    assert found[2].properties == {"zborg:run": "a\tb"}


@pytest.mark.parametrize(
    ("name", "columns"),
    [
        ("snapshots", argv.SNAPSHOT_COLUMNS),
        ("datasets", argv.DATASET_COLUMNS),
        ("bookmarks", argv.BOOKMARK_COLUMNS),
    ],
)
def test_what_is_asked_for_is_what_is_parsed(name: str, columns: str) -> None:
    assert parse.rows(golden(name), len(columns.split(",")))


def test_no_clone_is_a_dash_or_nothing() -> None:
    for none in ("-", ""):
        assert parse.snapshots(f"tank@a\t1\t2\t3\t4\t0\t{none}\n")[0].clones == ()


def test_a_newline_in_a_value_cannot_overwrite_another_property() -> None:
    # Captured: zfs set 'zborg:run=a<newline>q/borg@b<tab>zborg:state<tab>ok' q/borg@a
    text = "q/borg@a\tzborg:run\ta\nq/borg@b\tzborg:state\tok\nq/borg@b\tzborg:state\tfailed\n"
    with pytest.raises(ZborgError, match="twice"):
        parse.user_properties(text, ["q/borg@a", "q/borg@b"])


def test_lines_of_others_are_passed_over() -> None:
    text = "d\tcom.x:note\tone\ntwo\nother\tzborg:run\t1\nd\tzborg:run\t2\nd\tquota\n"
    assert parse.user_properties(text, ["d"]) == {"d": {"zborg:run": "2"}}


def test_datasets() -> None:
    borg, web, recv = parse.datasets(golden("datasets"), {"tank/borg": {"zborg:target.a": "1"}})
    assert borg.properties == {"zborg:target.a": "1"} and borg.mountpoint == "/tank/borg" and borg.mounted
    assert (web.name, web.mounted, web.resume_token) == ("tank/borg/we b", False, None)
    assert (borg.written, web.written) == (0, 24576)
    assert (recv.mountpoint, recv.resume_token) == (None, "1-111ea975c8-f8-789c63")
    assert [one.encrypted for one in (borg, web, recv)] == [False, False, True]


def test_bookmarks_and_holds() -> None:
    (mark,) = parse.bookmarks(golden("bookmarks"))
    assert (mark.full, mark.guid, mark.createtxg) == ("tank/borg/web1#b4", "2364357578891798200", 18)
    found = parse.holds(golden("holds"))
    assert [(h.snapshot, h.tag) for h in found[1:]] == [("tank/borg@s10", "c"), ("tank/borg/we b@s11", "c")]
    assert found[2].since == at(2026, 11, 2, 6, 29)


def test_what_a_destroy_would_free() -> None:
    assert parse.reclaim("destroy\ttank/a@b\ndestroy\ttank/a@c\nreclaim\t12345\n") == 12345
    for text in ("", "destroy\ttank/a@b\n", "reclaim\t1.2M\n", "would reclaim 3\n"):
        with pytest.raises(ZborgError, match="would free"):
            parse.reclaim(text)


def test_size_and_progress() -> None:
    text = golden("send")
    assert parse.size(text) == 10512368
    assert [parse.progress(line) for line in text.split("\n")] == [None, None, 8017296, 10104624, None]


# --- resume tokens ----------------------------------------------------------------------------------


def test_a_token_says_whether_the_rest_comes_raw() -> None:
    """Captured: the same increment of an encrypted dataset, sent with -w and cut."""
    raw = tokens.decode(golden("token-raw").strip())
    assert raw.raw and raw.to_name == "p1/enc@b" and raw.from_guid
    assert not tokens.decode(golden("token-increment").strip()).raw


def test_tokens_of_openzfs() -> None:
    full = tokens.decode(golden("token-full").strip())
    assert (full.to_name, full.to_guid) == ("tank/borg/web1@big2", str(0xC0AF418CEB721632))
    assert (full.from_guid, full.received) == (None, 0x3C2E90)
    increment = tokens.decode(golden("token-increment").strip())
    assert (increment.from_guid, increment.received) == (str(0x20F80333E5EE6B75), 0x5A40C0)


guids = st.integers(1, 2**64 - 1)


@given(guids, guids | st.none(), st.integers(0, 2**64 - 1), st.text("abc/@-_. ", min_size=1, max_size=200))
def test_tokens_round_trip(to: int, base: int | None, received: int, name: str) -> None:
    since: dict[str, int | str | None] = {"fromguid": base} if base else {}
    token = pack_token({**since, "bytes": received, "toguid": to, "toname": name, "compressok": None})
    known = tokens.decode(token)
    assert (known.to_guid, known.to_name, known.received) == (str(to), name, received)
    assert known.from_guid == (str(base) if base else None)


@given(st.data())
def test_damaged_tokens_are_refused(data: st.DataObject) -> None:
    token = golden("token-increment").strip()
    where = data.draw(st.integers(0, len(token) - 1))
    letter = data.draw(st.sampled_from("0123456789abcdef-"))
    changed = token[:where] + letter + token[where + 1 :]
    if changed != token:
        with pytest.raises(ZborgError):
            tokens.decode(changed)


@pytest.mark.parametrize(
    "facts", [{}, {"toname": "a@b", "toguid": 1}, {"toname": 1, "toguid": 1, "bytes": 1}]
)
def test_tokens_without_the_facts_are_refused(facts: dict[str, int | str | None]) -> None:
    with pytest.raises(ZborgError, match="missing"):
        tokens.decode(pack_token(facts))


@given(st.binary(max_size=200))
def test_any_payload_is_decoded_or_refused(body: bytes) -> None:
    import struct
    import zlib

    data = b"\0\1\0\0" + bytes(8) + body
    packed = zlib.compress(data)
    whole = struct.unpack(f"<{len(packed) // 4}I", packed[: len(packed) // 4 * 4])
    _only_zborg_errors(tokens.decode, f"1-{sum(whole):x}-{len(data):x}-{packed.hex()}")


def test_a_token_that_unpacks_to_much_is_refused() -> None:
    with pytest.raises(ZborgError, match="wrong length"):
        tokens.decode(pack_token({"toname": "a" * 1_000_000, "toguid": 1, "bytes": 1}))


# --- anything at all --------------------------------------------------------------------------------

PARSERS: list[Callable[[str], object]] = [
    status.scan,
    status.data_errors,
    status.device_errors,
    status.ailing,
    status.damaged_files,
    status.human,
    lambda text: status.pool(text, text),
    lambda text: status.pool("tank\tONLINE\t1\t1\n", text),
    lambda text: parse.datasets(text, {}),
    parse.snapshots,
    parse.bookmarks,
    parse.holds,
    parse.size,
    parse.progress,
    parse.instant,
    parse.date,
    lambda text: parse.values(text, 2),
    lambda text: parse.user_properties(text, ["tank", "tank@a"]),
    tokens.decode,
    tokens.checked,
]
SNIPPETS = sorted(
    {
        word
        for path in GOLDEN.glob("*.txt")
        for line in path.read_text().split("\n")
        for word in line.split(" ")
    }
)
texts = st.one_of(
    st.text(),
    st.binary().map(lambda data: data.decode("utf-8", "replace")),
    st.lists(st.sampled_from([*SNIPPETS, "\n", "\t", " ", "\n\t", "  scan: ", "errors: ", "9" * 30])).map(
        "".join
    ),
    st.lists(st.sampled_from([*SNIPPETS, "\n", "\t"])).map(" ".join),
    st.lists(st.text("0123456789\t\n@#-/ab", max_size=8)).map("\t".join),
)


def _only_zborg_errors(parser: Callable[[str], object], text: str) -> None:
    with suppress(ZborgError):
        parser(text)


@given(texts)
def test_parsers_understand_or_refuse(text: str) -> None:
    for parser in PARSERS:
        _only_zborg_errors(parser, text)


@given(
    st.sampled_from(sorted(GOLDEN.glob("*.txt"))),
    st.integers(0, 2000),
    st.integers(0, 60),
    st.text(max_size=5),
)
def test_parsers_understand_or_refuse_damaged_output(path: Path, start: int, gone: int, instead: str) -> None:
    text = path.read_text()
    for parser in PARSERS:
        _only_zborg_errors(parser, text[:start] + instead + text[start + gone :])


# --- names, command lines, errors -------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "",
        "/tank",
        "tank/",
        "tank//a",
        "-rf",
        "tank/a@b",
        "tank/..",
        "tank/a%b",
        "1a",
        "t" * 256,
        "tank/ä",
        "a\n",
    ],
)
def test_what_is_no_dataset(name: str) -> None:
    with pytest.raises(ZborgError):
        names.dataset(name)


@given(st.text(), st.text())
def test_no_name_reaches_a_command_line_as_an_option_or_a_range(dataset: str, raw: str) -> None:
    try:
        command = argv.destroy_snapshots(dataset, [raw])
    except ZborgError:
        return
    assert command[:2] == ("zfs", "destroy") and len(command) == 3
    assert command[2][0].isalpha() and command[2].count("@") == 1 and not set("%,#\n") & set(command[2])
    assert argv.freed(dataset, [raw]) == ("zfs", "destroy", "-n", "-v", "-p", command[2])


def test_a_clone_is_mounted_without_what_a_stranger_could_have_put_there() -> None:
    """What an off-site sent may hold devices and setuid programs of that machine's making."""
    words = argv.clone("tank/a@b", "tank/zborg-scratch/run/web1")
    assert {"setuid=off", "devices=off"} <= set(words)


def test_command_lines_never_force_or_recurse() -> None:
    stream = Stream("tank/a@b", base="tank/a#c")
    assert argv.send(stream) == ("zfs", "send", "-v", "-P", "-L", "-e", "-c", "-i", "tank/a#c", "tank/a@b")
    assert "".join(flag[1:] for flag in argv.SEND_FLAGS).lower() == argv.SEND_WORD
    assert argv.receive("tank/a b") == ("zfs", "receive", "-s", "-u", "tank/a b")
    assert argv.destroy_snapshots("tank/a", ["b", "c d"]) == ("zfs", "destroy", "tank/a@b,c d")
    destroying = (
        argv.destroy_bookmark("tank/a#b"),
        argv.destroy_scratch("tank/a"),
        argv.abort_receive("tank/a"),
    )
    assert not {"-r", "-R", "-f", "-F"} & {word for command in destroying for word in command}


@pytest.mark.parametrize("name", ["vault/a;reboot", "vault/$(x)", "vault/\x1b[2J", "vault/" + "x" * 300])
def test_a_name_that_zfs_does_not_make_is_refused(name: str) -> None:
    """A target's word: it would go into reports, onto terminals and into what somebody is to type."""
    for read, text in (
        (parse.snapshots, f"{name}@zborg\t1\t1\t1\t0\t0\t-\n"),
        (parse.snapshots, f"vault@{name}\t1\t1\t1\t0\t0\t-\n"),
        (parse.bookmarks, f"{name}#zborg\t1\t1\n"),
        (lambda text: parse.datasets(text, {}), f"{name}\t1\tno\t0\t0\t-\t0\toff\tnone\n"),
    ):
        with pytest.raises(ZborgError, match="something else than a name"):
            read(text)
    assert parse.snapshots("vault/my data@%recv-1:2.3_4\t1\t1\t1\t0\t0\t-\n")[0].raw == "%recv-1:2.3_4"


@pytest.mark.parametrize("tag", ["", "-x", "a b", "a\tb", ".a"])
def test_what_is_no_tag(tag: str) -> None:
    with pytest.raises(ZborgError):
        argv.hold(tag, ["tank/a@b"])


def test_errors_are_told_in_short_with_a_remedy() -> None:
    said = "cannot open 'tank/nope': dataset does not exist\nusage:\n\tsnapshot [-r] ...\n"
    error = messages.explain(CommandFailed(("sudo", "zfs"), 2, said), ("zfs", "snapshot", "x"))
    assert error.message == "zfs snapshot failed: cannot open 'tank/nope': dataset does not exist"
    assert error.remedy and error.status == 2
    late = TimedOut(("zfs",), -1, "dataset does not exist")
    assert messages.explain(late, ("zfs", "x")) is late and not messages.says(late, "does not exist")
    clones = (
        "cannot destroy 'a@b': snapshot has dependent clones\nuse '-R' to destroy the following datasets:\nc"
    )
    assert "-R" not in messages.explain(CommandFailed(("zfs",), 1, clones), ("zfs", "destroy")).message
