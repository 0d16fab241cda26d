"""A file written whole is the old one or the new one, whatever happens to the writer."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.harness.watch import until
from zborg import atomic

WRITER = """
import sys
from pathlib import Path
from zborg import atomic
while True:
    for letter in "ab":
        atomic.write(Path(sys.argv[1]), letter * 200_000)
"""


def test_a_killed_writer_leaves_an_old_text_or_a_new_one(tmp_path: Path) -> None:
    path = tmp_path / "record"
    for number in range(10):
        with subprocess.Popen([sys.executable, "-c", WRITER, str(path)]) as writer:
            until(path.exists, "something was written")
            time.sleep(0.003 * number)  # at another point each time
            writer.send_signal(signal.SIGKILL)
        assert path.read_text() in ("a" * 200_000, "b" * 200_000)


def test_what_cannot_be_written_names_the_file_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "record").mkdir()
    for content in ("text", b"bytes"):
        with pytest.raises(OSError, match="Is a directory") as caught:
            atomic.write(tmp_path / "record", content)
        assert caught.value.filename == str(tmp_path / "record")
    with pytest.raises(FileNotFoundError) as missing:
        atomic.write(tmp_path / "nowhere/record", "text")
    assert missing.value.filename == str(tmp_path / "nowhere/record")
    assert [one.name for one in tmp_path.iterdir()] == ["record"]


@pytest.mark.parametrize("mode", [atomic.FOR_OWNER, atomic.FOR_ALL, 0o640])
def test_the_mode_is_as_asked_whatever_the_mask_and_the_old_file_say(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "record"
    path.write_text("old")
    path.chmod(0o604)
    mask = os.umask(0o077)
    try:
        atomic.write(path, "new", mode)
    finally:
        os.umask(mask)
    assert (path.read_text(), path.stat().st_mode & 0o777) == ("new", mode)
