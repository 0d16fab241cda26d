"""restore repo from a sender that is not honest, and onto a directory that cannot be emptied again."""

from __future__ import annotations

import subprocess
import tarfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from tests.harness.builders.tar import END, entry
from tests.harness.restore.repository import Instead, backed_up, clones
from tests.harness.steps import restore_repo
from tests.harness.worlds.local import LocalVault
from tests.harness.worlds.steps import Hours
from zborg.errors import Exit
from zborg.model import Outcome, Status
from zborg.model.text import remedy
from zborg.process import LocalRunner
from zborg.steps.context import Context


class Sender(LocalRunner):
    """A storage that sends `stream` in place of the repository."""

    def __init__(self, stream: Path) -> None:
        super().__init__()
        self._stream = stream

    def start(self, argv: Sequence[str], *, stdin: int, stdout: int):  # type: ignore[no-untyped-def]  # as its parent
        return super().start(["cat", str(self._stream)], stdin=stdin, stdout=stdout)


def copied(context: Context, vault: LocalVault, stream: bytes) -> Outcome:
    path = vault.directory / "stream"
    path.write_bytes(stream)
    report = restore_repo(
        replace(context, storage=replace(context.storage, runner=Sender(path))),
        "web1",
        vault.directory / "copy",
    )
    return report.outcomes[0]


def test_a_hostile_sender_leaves_neither_mode_nor_link_nor_device(vault: LocalVault, clock: Hours) -> None:
    _, context = backed_up(vault, clock)
    stream = entry("./data", tarfile.DIRTYPE, mode=0o1777) + entry("./data/0", data=b"#!", mode=0o6755, uid=7)
    stream += entry("./null", tarfile.CHRTYPE, devmajor=1, devminor=3)
    stream += entry("./\x1b[2J", tarfile.SYMTYPE, linkname="/etc/shadow")
    outcome = copied(context, vault, stream + END)
    assert outcome.status is Status.WARNING and outcome.data["skipped"] == 2, outcome
    assert "left out, neither files nor directories: 2 (./null, $'./\\x1b[2J')" in outcome.message
    to = vault.directory / "copy"
    assert {one.name for one in to.rglob("*")} == {"data", "0"}
    assert [oct((to / one).stat().st_mode) for one in ("data", "data/0")] == ["0o40700", "0o100600"]
    assert (to / "data/0").stat().st_uid == to.stat().st_uid == 0


def test_an_entry_that_leads_out_leaves_nothing(vault: LocalVault, clock: Hours) -> None:
    _, context = backed_up(vault, clock)
    outcome = copied(context, vault, entry("./a", data=b"1") + entry("./../pwned", data=b"!") + END)
    assert outcome.status is Status.FAILED
    assert "an entry leads out of the directory: './../pwned'" in outcome.message
    assert not (vault.directory / "copy").exists() and not (vault.directory / "pwned").exists()


def test_a_stream_that_is_cut_is_no_copy(vault: LocalVault, clock: Hours) -> None:
    _, context = backed_up(vault, clock)
    outcome = copied(context, vault, entry("./a", data=b"1"))
    assert outcome.status is Status.FAILED and "a broken stream" in outcome.message
    assert not (vault.directory / "copy").exists()


class Mounting(Instead):
    """Something is mounted in the directory while the copy is at work, and then it fails."""

    script = 'mkdir "$1/mnt" && mount --bind "$(dirname "$1")/elsewhere" "$1/mnt"; echo "no room" >&2; exit 1'


def test_what_is_mounted_in_the_directory_is_not_emptied_and_is_reported(
    vault: LocalVault, clock: Hours
) -> None:
    _, context = backed_up(vault, clock)
    (vault.directory / "elsewhere").mkdir()
    precious = vault.directory / "elsewhere" / "precious"
    precious.write_text("live")
    to = vault.directory / "copy"
    report = restore_repo(replace(context, here=Mounting()), "web1", to)
    try:
        (outcome,) = report.outcomes
        assert report.exit is Exit.FAILED and precious.read_text() == "live"
        assert f"could not be removed, it stays in {to}: something is mounted on {to}/mnt" in outcome.message
    finally:
        subprocess.run(["umount", str(to / "mnt")], check=True)
    _, (line,) = remedy.parse(outcome.remedy)
    subprocess.run(["sh", "-c", line], check=True)
    assert list(to.iterdir()) == [] and not clones(vault)


class Stubborn(Instead):
    """A file that cannot be removed."""

    script = 'echo x >"$1/file" && chattr +i "$1/file"; echo "no room" >&2; exit 1'


@pytest.mark.parametrize("there", [True, False])
def test_a_file_that_cannot_be_removed_is_reported(vault: LocalVault, clock: Hours, there: bool) -> None:
    _, context = backed_up(vault, clock)
    to = vault.directory / "copy"
    if there:
        to.mkdir()
    report = restore_repo(replace(context, here=Stubborn()), "web1", to)
    subprocess.run(["chattr", "-i", str(to / "file")], check=True)
    assert report.exit is Exit.FAILED
    assert f"could not be removed, it stays in {to}: " in report.outcomes[0].message
    assert "no room" in report.outcomes[0].message
