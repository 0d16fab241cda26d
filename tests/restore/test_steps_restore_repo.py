"""restore repo with real borg and real tar, on the in-memory ZFS."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.harness.restore.repository import Instead, backed_up, clones, content
from tests.harness.steps import replicate, restore_repo
from tests.harness.worlds.local import LocalVault
from tests.harness.worlds.steps import Hours, snapnames
from zborg.errors import Exit, UsageError
from zborg.interrupt import cancelled
from zborg.model import Status
from zborg.steps.context import Context
from zborg.steps.restore.source import Source


def copy(context: Context, to: Path, at: str = "", target: str = "") -> dict[str, object]:
    report = restore_repo(context, "web1", to, at, Source(target))
    assert report.exit is Exit.OK, report.outcomes
    return dict(report.outcomes[0].data)


@pytest.mark.parametrize("source", ["storage", "target"])
def test_the_exported_key_opens_the_copy(vault: LocalVault, clock: Hours, source: str) -> None:
    host, context = backed_up(vault, clock)
    first, _ = snapnames(vault, "tank/borg/web1")
    target = ""
    if source == "target":
        assert replicate(context).exit is Exit.OK
        target = "offsite"
    data = copy(context, vault.directory / "copy", at=first, target=target)
    assert content(host, vault.directory / "copy") == "of web1"
    assert data["copied_files"] == sum(one.is_file() for one in (vault.directory / "copy").rglob("*")) > 3
    assert (vault.directory / "copy").stat().st_mode & 0o777 == 0o700
    assert not clones(vault)


def test_without_a_time_it_is_the_newest_good_one(vault: LocalVault, clock: Hours) -> None:
    host, context = backed_up(vault, clock)
    (vault.directory / "copy").mkdir()
    copy(context, vault.directory / "copy")
    assert content(host, vault.directory / "copy") == "changed"


def test_only_an_empty_directory_is_written_to(vault: LocalVault, clock: Hours) -> None:
    _, context = backed_up(vault, clock)
    full = vault.directory / "full"
    full.mkdir()
    (full / "mine").write_text("precious")
    (vault.directory / "link").symlink_to(vault.directory)
    for to in (full, full / "mine", vault.directory / "link", vault.directory / "no" / "parent"):
        with pytest.raises(UsageError, match="--to "):
            restore_repo(context, "web1", to)
    assert [one.name for one in full.iterdir()] == ["mine"]


@pytest.mark.parametrize("there", [True, False])
def test_a_copy_that_fails_leaves_no_part_of_it(vault: LocalVault, clock: Hours, there: bool) -> None:
    """A disk that is full: the writer ends, and the reader's pipe breaks."""
    _, context = backed_up(vault, clock)
    to = vault.directory / "copy"
    if there:
        to.mkdir()
    report = restore_repo(replace(context, here=_Full()), "web1", to)
    (outcome,) = report.outcomes
    assert (report.exit, outcome.status) == (Exit.FAILED, Status.FAILED)
    assert "No space left on device" in outcome.message and "unpacking into" in outcome.message
    assert list(to.iterdir()) == [] if there else not to.exists()
    assert not clones(vault)


class _Full(Instead):
    """tar writes a file, and then there is no more room."""

    script = 'tar -C "$1" -xof - ./config; echo "tar: No space left on device" >&2; exit 2'


class _Slow(Instead):
    """tar writes all, and then a slow disk keeps it from ending."""

    script = 'tar -C "$1" -xof -; exec sleep 60'


def test_an_interrupted_copy_leaves_no_part_and_no_clone(vault: LocalVault, clock: Hours) -> None:
    _, context = backed_up(vault, clock)
    to = vault.directory / "copy"
    stopping = replace(context, emit=lambda event: cancelled.set() if event.kind == "progress" else None)
    try:
        report = restore_repo(replace(stopping, here=_Slow()), "web1", to)
    finally:
        cancelled.clear()
    assert report.exit is Exit.INTERRUPTED
    assert not to.exists() and not clones(vault)


def test_a_dry_run_copies_nothing_and_names_the_snapshot(vault: LocalVault, clock: Hours) -> None:
    _, context = backed_up(vault, clock)
    to = vault.directory / "copy"
    report = restore_repo(context, "web1", to, dry_run=True)
    _, newest = snapnames(vault, "tank/borg/web1")
    assert report.plan[0] == f"clone tank/borg/web1@{newest}"
    assert not to.exists()


def test_an_unknown_target_is_refused(vault: LocalVault, clock: Hours) -> None:
    _, context = backed_up(vault, clock)
    with pytest.raises(UsageError, match="no such target: nowhere"):
        restore_repo(context, "web1", vault.directory / "copy", source=Source("nowhere"))
