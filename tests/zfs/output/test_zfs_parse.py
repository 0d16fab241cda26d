"""What the zfs commands list: golden texts, and anything else ends in ZborgError and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.harness.builders.zfs_output import GOLDEN, at, golden, only_zborg_errors
from zborg.errors import ZborgError
from zborg.model import Snapshot
from zborg.zfs import argv
from zborg.zfs.output import parse, status, tokens

pytestmark = pytest.mark.unit

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


@given(texts)
def test_parsers_understand_or_refuse(text: str) -> None:
    for parser in PARSERS:
        only_zborg_errors(parser, text)


@given(
    st.sampled_from(sorted(GOLDEN.glob("*.txt"))),
    st.integers(0, 2000),
    st.integers(0, 60),
    st.text(max_size=5),
)
def test_parsers_understand_or_refuse_damaged_output(path: Path, start: int, gone: int, instead: str) -> None:
    text = path.read_text()
    for parser in PARSERS:
        only_zborg_errors(parser, text[:start] + instead + text[start + gone :])
