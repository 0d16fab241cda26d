"""The agent is written in parts and installed as one script: every way to it gives the same text."""

from __future__ import annotations

import subprocess
import sys

import pytest

from zborg.hosts import SCRIPTS, joined
from zborg.hosts.agent import script

SHELLS = ("sh", "dash", "bash --posix", "busybox sh")


def test_the_module_prints_what_cat_makes_of_the_parts() -> None:
    printed = subprocess.run([sys.executable, "-m", "zborg.hosts.agent"], capture_output=True, check=True)
    parts = subprocess.run(
        ["sh", "-c", 'cat "$1"/agent/*.sh', "sh", SCRIPTS], capture_output=True, check=True
    )
    assert printed.stdout == parts.stdout == script().encode()


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("folder", ["agent", "enrol"])
def test_every_shell_reads_the_whole(folder: str, shell: str) -> None:
    read = subprocess.run([*shell.split(), "-n"], input=joined(folder), capture_output=True, text=True)
    assert (read.returncode, read.stderr) == (0, "")


@pytest.mark.unit
def test_the_script_begins_with_its_first_part_and_ends_with_its_last() -> None:
    assert script().startswith("#!/bin/sh\n# zborg-agent: ")
    assert script().count("#!/bin/sh\n") == 1
    assert script().endswith("esac\n")


@pytest.mark.unit
@pytest.mark.parametrize("folder", ["agent", "enrol"])
def test_a_part_can_be_read_at_once(folder: str) -> None:
    parts = sorted((SCRIPTS / folder).glob("*.sh"))
    lengths = {part.name: len(part.read_text(encoding="utf-8").splitlines()) for part in parts}
    assert len(lengths) > 5
    assert [name for name, lines in lengths.items() if lines >= 200] == []
    assert all(name[:3].strip("0123456789") == "-" for name in lengths), "a number says where a part stands"
