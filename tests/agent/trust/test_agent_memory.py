"""What borg remembers of a repository is whole, or nothing runs: also what a shell does not see of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness.machines.agent import A1, Lab

FILES = ("repository-id", "nonce", "key-type", "location", "manifest-timestamp")


@pytest.fixture(params=["sh", "busybox", "bash"])
def lab(request: pytest.FixtureRequest, tmp_path: Path, enrolled: Path) -> Iterator[Lab]:
    """A host whose borg is a stand-in that leaves a file."""
    made = Lab(tmp_path, "busybox" if request.param == "busybox" else "sh", "auto")
    if request.param == "bash":
        (place := made.host.directory / "bash").mkdir()
        (place / "sh").symlink_to("/bin/bash")
        text = made.host.agent.read_text()
        made.host.agent.write_text(text.replace("\nsh=/bin/sh\n", f"\nsh={place}/sh\n"))
    made.init(enrolled).configure(borg=made.script("stand-in", f"touch {made.host.directory}/ran\n"))
    with made.host:
        yield made


def test_zeros_in_a_file_are_seen_though_read_leaves_them_out(lab: Lab) -> None:
    """As a power cut leaves them: instead of a line feed, within, and in a line of their own."""
    (memory,) = (lab.host.state / "borg/.config/borg/security").iterdir()
    ran = lab.host.directory / "ran"
    for name in FILES:
        file = (lab.host.state if name == "repository-id" else memory) / name
        good = file.read_bytes()
        half, rest = good[:9], good[9:]
        for harmed in (good.strip() + b"\0", half + b"\0" + rest, good + b"\n\0"):
            file.write_bytes(harmed)
            done = lab.host.call(f"create web1 {A1}")
            assert (done.returncode, done.stdout) == (68, b""), (name, harmed, done.stderr)
            assert f"E_BROKEN broken: {file}\n".encode() in done.stderr
            assert file.read_bytes() == harmed and not ran.exists()
        file.write_bytes(good.strip() + b"\n")
        assert lab.host.call(f"create web1 {A1}").returncode == 0, "a line feed may be there"
        file.write_bytes(good)
        ran.unlink()
