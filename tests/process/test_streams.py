"""zborg.streams: two real processes joined by pipes, listened to, stopped together."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tests.harness.processes.children import alive, descriptors, number_in, sh, start
from tests.harness.watch import HANG
from zborg.errors import CommandFailed, Interrupted, TimedOut
from zborg.interrupt import cancelled
from zborg.model import Child
from zborg.process import LocalRunner
from zborg.state.locks import process_start
from zborg.streams import chain, join, pipe, pump

# --- pump ------------------------------------------------------------------------------------------


def pumped(*scripts: str, timeout: float = 120) -> tuple[dict[str, int], dict[str, list[str]]]:
    names = [f"child{number}" for number in range(len(scripts))]
    heard: dict[str, list[str]] = {name: [] for name in names}
    children: dict[str, Child] = {name: start(text) for name, text in zip(names, scripts, strict=True)}
    statuses = pump(children, lambda who, lines: heard[who].extend(lines), timeout=timeout)
    return statuses, heard


def test_pump_hears_both_and_knows_who_spoke() -> None:
    statuses, heard = pumped("echo one >&2; echo two >&2; exit 3", "echo other >&2")
    assert statuses == {"child0": 3, "child1": 0}
    assert heard == {"child0": ["one", "two"], "child1": ["other"]}


def test_pump_hears_a_last_line_without_an_end() -> None:
    assert pumped("printf 'a\\r\\nlast' >&2")[1] == {"child0": ["a", "last"]}


def test_pump_hands_out_a_very_long_line_in_pieces() -> None:
    _, heard = pumped("head -c 3000000 /dev/zero | tr '\\0' x >&2; echo end >&2")
    assert "".join(heard["child0"]) == "x" * 3_000_000 + "end"
    assert len(heard["child0"]) > 1, "a line without end must not fill the memory"
    assert max(map(len, heard["child0"])) <= (1 << 20) + 65536


def test_pump_survives_invalid_utf8() -> None:
    assert pumped("printf '\\377\\303\\n' >&2")[1] == {"child0": ["\ufffd\ufffd"]}


def test_pump_does_not_wait_for_a_grandchild_that_holds_stderr(tmp_path: Path) -> None:
    began = time.monotonic()
    statuses, heard = pumped(f"sleep 600 & echo $! >{tmp_path}/pid; printf 'last words' >&2; exit 4")
    assert statuses == {"child0": 4}
    assert heard == {"child0": ["last words"]}, "also a line that has no end yet"
    assert time.monotonic() - began < HANG
    os.kill(number_in(tmp_path / "pid"), signal.SIGKILL)


def test_pump_ends_although_a_grandchild_never_stops_talking(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("zborg.streams._REST", 0.3)
    began = time.monotonic()
    statuses, _ = pumped(f"yes >&2 & echo $! >{tmp_path}/pid; exit 0")
    os.kill(number_in(tmp_path / "pid"), signal.SIGKILL)
    assert statuses == {"child0": 0}
    assert time.monotonic() - began < HANG


def test_pump_stops_both_when_time_is_up() -> None:
    one, two = start("exec sleep 60"), start("trap '' TERM; while :; do sleep 0.1; done")
    with pytest.raises(TimedOut, match=r"not finished within 0\.2 s"):
        pump({"one": one, "two": two}, lambda _, __: None, timeout=0.2)
    assert one.poll() == -signal.SIGTERM
    assert two.poll() == -signal.SIGKILL
    assert not alive(one.pid)
    assert not alive(two.pid)


def test_pump_stops_both_when_cancelled() -> None:
    one, two = start("echo ready >&2; exec sleep 60"), start("exec sleep 60")
    with pytest.raises(Interrupted):
        pump({"one": one, "two": two}, lambda _, __: cancelled.set(), timeout=60)
    assert (one.poll(), two.poll()) == (-signal.SIGTERM, -signal.SIGTERM)


def test_pump_stops_both_when_a_listener_fails() -> None:
    def listen(who: str, lines: Sequence[str]) -> None:
        raise OSError("no space left on device")

    one, two = start("echo x >&2; exec sleep 60"), start("exec sleep 60")
    with pytest.raises(OSError, match="no space left"):
        pump({"one": one, "two": two}, listen, timeout=60)
    assert (one.poll(), two.poll()) == (-signal.SIGTERM, -signal.SIGTERM)


def test_pump_gives_the_other_side_time_for_last_words_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zborg.streams._LAST_WORDS", 0.2)
    statuses, _ = pumped("exit 0", "exec sleep 60")
    assert statuses == {"child0": 0, "child1": -signal.SIGTERM}


def test_pump_tells_whom_it_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    """ssh answers SIGTERM with 255 and no word, as it does when a connection is lost."""
    monkeypatch.setattr("zborg.streams._LAST_WORDS", 0.2)
    like_ssh = "trap 'exit 255' TERM; echo ready >&2; while :; do sleep 0.05; done"
    assert pumped("exit 0", like_ssh)[0]["child1"] == -signal.SIGTERM


@pytest.mark.parametrize(("first", "last"), [("exit 0", 0), ("exit 3", -signal.SIGTERM)])
def test_pump_can_be_more_patient_after_a_good_end(
    monkeypatch: pytest.MonkeyPatch, first: str, last: int
) -> None:
    """A receiver goes on for long after a sender that ended well, never after one that did not."""
    monkeypatch.setattr("zborg.streams._LAST_WORDS", 0.2)
    children: dict[str, Child] = {"send": start(first), "receive": start("exec sleep 1.5")}
    statuses = pump(children, lambda _, __: None, timeout=60, after={"send": 60})
    assert statuses["receive"] == last


# --- join and chain --------------------------------------------------------------------------------


def starter(script: str) -> Callable[[int, int], Child]:
    return lambda stdin, stdout: LocalRunner().start(sh(script), stdin=stdin, stdout=stdout)


def failing(*_: int) -> Child:
    raise CommandFailed(("second",), 127, "no such command")


def test_join_connects_each_with_the_other() -> None:
    heard: list[str] = []
    one, two, spare = join(
        starter("echo question; read answer; echo one heard $answer >&2"),
        starter("read question; echo answer; echo two heard $question >&2"),
    )
    statuses = pump({"one": one, "two": two}, lambda _, lines: heard.extend(lines), timeout=120, spare=spare)
    assert statuses == {"one": 0, "two": 0}
    assert sorted(heard) == ["one heard answer", "two heard question"]


def test_a_writer_whose_reader_died_can_still_say_why() -> None:
    """More than a pipe holds: without somebody who reads on, SIGPIPE would end it before its last words."""
    before = descriptors()
    heard: list[str] = []
    one, two, spare = join(
        starter("read gone; head -c 3000000 /dev/zero && echo the reason >&2; exit 3"),
        starter("exit 4"),
    )
    statuses = pump({"one": one, "two": two}, lambda _, lines: heard.extend(lines), timeout=120, spare=spare)
    assert (statuses, heard) == ({"one": 3, "two": 4}, ["the reason"])
    assert descriptors() == before


def test_chain_carries_every_byte_and_its_end(tmp_path: Path) -> None:
    data = os.urandom(1 << 20) * 5
    (tmp_path / "in").write_bytes(data)
    source, sink = chain(
        lambda stdout: LocalRunner().start(
            ["cat", str(tmp_path / "in")], stdin=subprocess.DEVNULL, stdout=stdout
        ),
        lambda stdin: LocalRunner().start(
            ["dd", f"of={tmp_path}/out", "bs=64k", "status=none"], stdin=stdin, stdout=subprocess.DEVNULL
        ),
    )
    assert pump({"source": source, "sink": sink}, lambda _, __: None, timeout=120) == {"source": 0, "sink": 0}
    assert (tmp_path / "out").read_bytes() == data


def test_when_the_sink_dies_the_source_learns_it() -> None:
    source, sink = chain(
        lambda stdout: LocalRunner().start(["yes"], stdin=subprocess.DEVNULL, stdout=stdout),
        lambda stdin: LocalRunner().start(sh("exit 5"), stdin=stdin, stdout=subprocess.DEVNULL),
    )
    statuses = pump({"source": source, "sink": sink}, lambda _, __: None, timeout=120)
    assert statuses["sink"] == 5
    assert statuses["source"] != 0


@pytest.mark.parametrize("joined", [True, False])
def test_a_second_start_that_fails_stops_the_first(joined: bool) -> None:
    started: list[Child] = []

    def first(*ends: int) -> Child:
        started.append(LocalRunner().start(["sleep", "60"], stdin=subprocess.DEVNULL, stdout=ends[-1]))
        return started[0]

    before = descriptors()
    with pytest.raises(CommandFailed, match="no such command"):
        _ = join(first, failing) if joined else chain(first, failing)
    assert started[0].poll() is not None
    assert not process_start(started[0].pid)
    assert descriptors() == before + 1, "the first's stderr alone, which we still hold"


def test_pipe_is_large_and_gone_afterwards() -> None:
    import fcntl

    with pipe() as (reading, writing):
        assert fcntl.fcntl(writing, fcntl.F_GETPIPE_SZ) == 1 << 20
    for end in (reading, writing):
        with pytest.raises(OSError):
            os.fstat(end)
