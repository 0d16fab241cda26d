"""Completion: the files are what the command line is today, and bash takes them."""

from __future__ import annotations

import subprocess

import pytest

from tests.harness.checkout import CHECKOUT
from tests.harness.generated.completion import FILES, written

BASH = """
source scripts/share/bash-completion/completions/zborg
try() { COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=(); _zborg; echo "${COMPREPLY[*]}"; }
try zborg ho
try zborg host a
try zborg host add web1 --q
try zborg host add web1 --quota ''
try zborg run --config /x -- --allow
"""


@pytest.mark.unit
@pytest.mark.parametrize("path", FILES)
def test_the_files_are_written_anew(path: str) -> None:
    assert (CHECKOUT / path).read_text() == written(path), "scripts/completion"


def test_bash_completes_commands_and_options() -> None:
    """zsh and fish are not on a developer's machine: their files were tried by hand."""
    done = subprocess.run(
        ["bash", "--norc", "-c", BASH], cwd=CHECKOUT, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.splitlines() == ["holds host", "add accept", "--quota", "", "--allow-partial"]
    assert done.stderr == ""
