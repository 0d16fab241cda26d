"""Names of datasets, command lines of zfs, and errors in short."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zborg.errors import CommandFailed, TimedOut, ZborgError
from zborg.model import Stream
from zborg.zfs import argv, names
from zborg.zfs.output import messages, parse

pytestmark = pytest.mark.unit


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
    assert parse.snapshots("vault/my data@%recv-1:2.3_4\t1\t1\t1\t0\t0\t-\n")[0].snapname == "%recv-1:2.3_4"


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
