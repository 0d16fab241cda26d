"""What the kernel refuses is reported with its place and with a command that shows it."""

from __future__ import annotations

import errno
import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.harness.checkout import CHECKOUT
from tests.harness.fake_zfs.zfs import FakeZfs
from tests.harness.worlds.command_line import python
from zborg.errors import Exit, ZborgError
from zborg.hosts.serve import LocalServe
from zborg.model import Status, Storage
from zborg.model.text.os_errors import MACHINE, describe
from zborg.model.text.remedy import parse
from zborg.process import LocalRunner
from zborg.steps.context import outcome_of

SOURCES = sorted((CHECKOUT / "zborg").rglob("*.py"))


@pytest.mark.parametrize("number", sorted(MACHINE))
def test_each_names_its_place_and_a_command_that_works(number: int, tmp_path: Path) -> None:
    place = tmp_path / "it's here" / "file"
    place.parent.mkdir()
    place.touch()
    message, look = describe(OSError(number, os.strerror(number), str(place)))
    assert message == f"on this machine, {place}: {os.strerror(number)}"
    sentence, commands = parse(look)
    assert sentence.endswith(":") and commands
    for line in commands:
        if line != "dmesg":  # which a container may not let anybody read
            done = subprocess.run(
                ["bash", "-c", line], capture_output=True, text=True, timeout=120, check=False
            )
            assert done.returncode == 0, (line, done.stderr)


def test_an_error_without_a_file_has_the_place_that_the_caller_knows() -> None:
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert describe(full)[0] == "on this machine: No space left on device"
    assert parse(describe(full)[1])[1] == ("df -h", "df -i")
    message, look = describe(full, "/var/lib/zborg/history.db", "cannot be written")
    assert message == "on this machine, /var/lib/zborg/history.db cannot be written: No space left on device"
    assert parse(look)[1] == ("df -h /var/lib/zborg", "df -i /var/lib/zborg")
    assert describe(OSError("odd"))[0] == "on this machine: odd"


def test_an_outcome_and_a_screen_say_the_same() -> None:
    error = OSError(errno.EROFS, os.strerror(errno.EROFS), "/mnt/x")
    outcome = outcome_of("host", "web1", error)
    assert outcome.status is Status.FAILED
    assert (outcome.message, outcome.remedy) == describe(error)
    done = python(REFUSED)
    assert done.returncode == Exit.FAILED
    assert "zborg: on this machine, /mnt/x: Read-only file system" in done.stderr
    assert "  -> it is mounted read-only" in done.stderr and "     mount\n" in done.stderr


REFUSED = """
import sys, zborg.cli.main as main
def refuse():
    raise OSError(30, "Read-only file system", "/mnt/x")
sys.exit(main.guarded(refuse))
"""


def test_no_message_leaves_the_reader_alone() -> None:
    """These named neither a place nor anything to do."""
    for path in SOURCES:
        found = re.search(r"this machine says|see to it, |see to its ", path.read_text())
        assert not found, f"{path}: {found}"


def test_an_exported_pool_is_named_and_no_path_of_ours(tmp_path: Path) -> None:
    """It was "cannot be started: ... /nonexistent/web1 is not a directory"."""
    zfs = FakeZfs(tmp_path / "pool")
    serve = LocalServe(Storage("tank/borg", None, "root", "borg"), zfs, lambda *_: LocalRunner())
    with pytest.raises(
        ZborgError, match="there is no dataset tank/borg on this machine: is its pool tank"
    ) as gone:
        serve("serve web1", 0, 0)
    assert parse(gone.value.remedy)[1] == ("zpool import",)
    zfs.create("tank/borg", {"mountpoint": "none"})
    with pytest.raises(ZborgError, match="tank/borg on this machine has no mountpoint") as nowhere:
        serve("serve web1", 0, 0)
    assert parse(nowhere.value.remedy)[1] == ("zfs get mountpoint tank/borg",)
