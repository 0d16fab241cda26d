"""Files by which an account is entered, and that it must not own: what doctor finds and advises."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.harness.doctor.clinic import ZfsWords
from tests.harness.fake_zfs.zfs import FakeZfs
from zborg.model import Status
from zborg.steps.doctor.accounts import keys

NOBODY = 65534


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """As README, docs/sink.md and docs/reverse.md make it."""
    made = tmp_path / "home" / "zborg-serve"
    lines = f"install -d -m 0755 {made} {made}/.ssh; install -m 0644 /dev/null {made}/.ssh/authorized_keys"
    subprocess.run(["sh", "-ec", lines], check=True)
    return made


def runner(home: Path) -> ZfsWords:
    found = ZfsWords(FakeZfs(home.parent / "pool"), {})
    found.home = str(home)
    return found


def test_what_the_documents_make_is_good(home: Path) -> None:
    assert list(keys(runner(home), "zborg-serve")) == []


@pytest.mark.parametrize("name", ["", ".ssh", ".ssh/authorized_keys", ".ssh/authorized_keys2", ".ssh/rc"])
@pytest.mark.parametrize("how", ["owned", "writable"])
def test_what_the_account_could_write_is_found_and_the_advice_takes_it_away(
    home: Path, name: str, how: str
) -> None:
    path = home / name
    if not path.exists():
        path.write_text("")
    if how == "owned":
        os.chown(path, NOBODY, NOBODY)
    else:
        path.chmod(0o777)
    (found,) = keys(runner(home), "zborg-serve")
    assert found.level is Status.FAILED
    assert found.message.startswith(f"{str(path).rstrip('/')} can be written by zborg-serve")
    for line in found.remedy.split("\n"):
        subprocess.run(["sh", "-ec", line], check=True)
    assert list(keys(runner(home), "zborg-serve")) == []
    assert os.access(path, os.R_OK) and path.stat().st_mode & 0o044 == 0o044, "sshd reads it as the account"


def test_on_another_machine_the_advice_says_where(home: Path) -> None:
    os.chown(home, NOBODY, -1)
    (found,) = keys(runner(home), "zborg-sink", "offsite")
    assert found.remedy.startswith("on offsite, as root:\nchown root:root ")


def test_an_account_without_a_home_lets_nobody_in(home: Path) -> None:
    assert list(keys(replace_home(runner(home), home / "nowhere"), "zborg-serve")) == []


def replace_home(words: ZfsWords, home: Path) -> ZfsWords:
    words.home = str(home)
    return words
