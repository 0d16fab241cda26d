"""A test that is marked unit fails when it starts a process or makes a socket, also when it hides that."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from tests.harness.checkout import CHECKOUT

TESTS = """
import contextlib, os, socket, subprocess
import pytest

@pytest.fixture(scope="module")
def listener():
    with socket.socket() as made:
        yield made

@pytest.mark.unit
def test_process(): subprocess.run(["true"])

@pytest.mark.unit
def test_caught():
    with contextlib.suppress(RuntimeError):
        subprocess.run(["true"])

@pytest.mark.unit
def test_fork(): os.waitpid(os.fork() or os._exit(0), 0)

@pytest.mark.unit
def test_socket(): socket.socketpair()

@pytest.mark.unit
def test_fixture(listener): pass

@pytest.mark.unit
def test_file(tmp_path): (tmp_path / "file").write_text("allowed")

@pytest.fixture(scope="session")
def shared():
    yield
    socket.socket().close()

def test_unmarked(shared): subprocess.run(["true"])

@pytest.mark.unit
def test_last(): pass  # what others share ends behind it
"""


def test_a_unit_test_that_starts_a_process_or_makes_a_socket_fails(tmp_path: Path) -> None:
    (tmp_path / "test_marked.py").write_text(TESTS)
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = unit\n")
    argv = [sys.executable, "-m", "pytest", "-q", "-rA", "-p", "tests.harness.unit", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*argv, f"--rootdir={tmp_path}", tmp_path], cwd=CHECKOUT, capture_output=True, text=True, timeout=120
    )
    said = {
        name: word
        for word, name in re.findall(r"^(PASSED|FAILED|ERROR) \S+::(\w+)", done.stdout, re.MULTILINE)
    }
    assert said == {
        "test_process": "FAILED",
        "test_caught": "FAILED",
        "test_fork": "FAILED",
        "test_socket": "FAILED",
        "test_fixture": "ERROR",
        "test_file": "PASSED",
        "test_unmarked": "PASSED",
        "test_last": "PASSED",
    }, done.stdout
