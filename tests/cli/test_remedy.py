"""Remedies: what a shell makes of a quoted word, and what a screen makes of a remedy."""

import os
import subprocess
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zborg.errors import Exit
from zborg.model import Outcome, Report, Status
from zborg.model.text import remedy
from zborg.reporting.text import render

NAMES = st.binary(min_size=1, max_size=40).filter(lambda name: b"\0" not in name)


def typed(line: str) -> list[bytes]:
    """What bash gives a program for the words after the first."""
    script = f"show() {{ printf '%s\\0' \"$@\"; }}\nshow {line}\n"
    done = subprocess.run(["bash", "-c", script], capture_output=True, check=True, timeout=120)
    return done.stdout.split(b"\0")[:-1]


@pytest.mark.parametrize(
    "name",
    [b"/srv/caf\xe9", b"/srv/it's", b"/srv/a\nb", b"/srv/\x1b[31m", "/srv/é".encode(), b"/srv/$(id)", b"!!"],
)
def test_a_quoted_word_comes_back_byte_by_byte_and_shows_as_one_line(name: bytes) -> None:
    word = remedy.quoted(os.fsdecode(name))
    assert typed(word) == [name]
    assert word.isprintable()
    word.encode()  # no half of a surrogate pair is left


@given(st.lists(NAMES, min_size=1, max_size=5))
def test_any_command_comes_back_byte_by_byte(names: list[bytes]) -> None:
    line = remedy.command(*map(os.fsdecode, names))
    assert typed(line) == names
    assert line.isprintable()


def test_an_empty_word_stays_a_word() -> None:
    assert typed(remedy.command("a", "", "b")) == [b"a", b"", b"b"]


def test_a_remedy_is_a_sentence_and_its_commands() -> None:
    both = remedy.on("web1", "chown root /etc/x", "chmod 0600 /etc/x")
    assert remedy.parse(both) == ("on web1, as root:", ("chown root /etc/x", "chmod 0600 /etc/x"))
    assert remedy.parse("zborg init") == ("", ("zborg init",))
    assert remedy.parse("/usr/local/libexec/zborg-agent --setup web1")[0] == ""
    assert remedy.parse("wait for it") == ("wait for it", ())
    assert remedy.parse("") == ("", ())


def test_commands_are_never_broken_on_a_screen() -> None:
    long = remedy.command("zfs", "rename", "tank/borg/" + "a" * 60, "tank/" + "b" * 60)
    at = datetime(2026, 11, 30, tzinfo=UTC)
    outcome = Outcome("host", "web1", Status.FAILED, "bad", remedy.remedy(long, first="on the storage:"))
    report = Report("x", "run", "vault", at, at, Status.FAILED, Exit.FAILED, (outcome,))
    shown = [line.text.strip() for line in render(report)]
    assert "-> on the storage:" in shown
    assert long in shown
