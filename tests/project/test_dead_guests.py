"""A guest that dies under the tests: its console is shown, it boots again once, and no test passes by it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import tests

_SESSION = '''
import pytest
from tests.harness.lab.guests import GUESTS, pytest_runtest_makereport, pytest_runtest_setup

class Guest:
    """A guest whose console is all that is real."""
    name = "one"
    is_running = hung = False
    console = ""
    boots = 0

    def start(self):
        self.is_running, self.hung = True, False
        self.boots += 1

    def kill(self):
        self.is_running = False

    def answers(self):
        return self.is_running and not self.hung

    def die(self, console):
        self.is_running, self.console = False, console

@pytest.fixture(scope="session")
def guest():
    made = Guest()
    made.start()
    GUESTS.add(made)
    return made
'''


def session(directory: Path, text: str) -> str:
    """What pytest says of these tests."""
    (directory / "conftest.py").write_text(_SESSION)
    (directory / "pytest.ini").write_text("[pytest]\nmarkers = lab\n")
    (directory / "test_it.py").write_text(f"import pytest\npytestmark = pytest.mark.lab\n{text}")
    argv = [sys.executable, "-m", "pytest", "-rA", "-p", "no:cacheprovider"]
    env = {"PYTHONPATH": str(Path(tests.__file__).parents[1]), "PATH": ""}
    done = subprocess.run(
        argv, capture_output=True, text=True, timeout=60, env=env, cwd=directory, check=False
    )
    return done.stdout + done.stderr


@pytest.mark.parametrize("ending", ["assert False", "pass"])
def test_the_test_in_which_it_dies_fails_and_the_next_one_has_it_again(tmp_path: Path, ending: str) -> None:
    text = f"""
def test_first(guest):
    guest.die("Kernel panic - not syncing: double fault")
    {ending}

def test_second(guest):
    assert guest.is_running and guest.boots == 2
"""
    shown = session(tmp_path, text)
    assert "1 failed, 1 passed, 1 warning" in shown, shown
    assert "FAILED test_it.py::test_first" in shown and "double fault" in shown
    assert "booted again before test_it.py::test_second: guest one: its QEMU has ended" in shown


def test_one_that_gives_no_answer_is_ended_when_a_test_failed(tmp_path: Path) -> None:
    text = """
def test_first(guest):
    guest.hung = True
    assert False

def test_second(guest):
    assert guest.boots == 2
"""
    shown = session(tmp_path, text)
    assert "1 failed, 1 passed, 1 warning" in shown and "it ran and gave no answer" in shown, shown


def test_a_second_death_fails_all_that_follow_at_once(tmp_path: Path) -> None:
    text = """
@pytest.mark.parametrize("number", range(5))
def test_each(guest, number):
    guest.die(f"panic {number}")
"""
    shown = session(tmp_path, text)
    assert "2 failed, 1 warning, 3 errors" in shown, shown
    assert "Guests were booted again once, before test_it.py::test_each[1]" in shown


def test_what_needs_no_guest_is_left_alone(tmp_path: Path) -> None:
    text = """
def test_first(guest):
    guest.die("panic")
"""
    (tmp_path / "test_other.py").write_text("def test_alone(): pass\n")
    shown = session(tmp_path, text)
    assert "1 failed, 1 passed in" in shown, shown
