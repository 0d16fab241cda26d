"""Who else may be at work on a repository that is compacted, and the marks of a snapshot of it alone."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.harness.audit.segments import delete, key, put
from tests.harness.audit.written import audited_hosts, committed, interrupted, written_hosts
from tests.harness.steps import audit, compact, snapshot, undelete
from tests.harness.worlds.local import LocalVault
from tests.harness.worlds.steps import Hours, of, world
from zborg.errors import Conflict, Exit
from zborg.model import P_RUN, P_STATE, P_TRANSACTION, Outcome, Snapshot, Status
from zborg.model.ledger.sessions import Purpose, Session
from zborg.state.locks import Locks
from zborg.steps.compact.facts import records_of
from zborg.steps.compact.known import unfinished
from zborg.steps.context import Context
from zborg.steps.one_dataset import newest_of, take

WEB = "tank/borg/web1"


@pytest.fixture
def host(vault: LocalVault, clock: Hours) -> LocalVault:
    audited_hosts(vault, clock, "web1")
    return vault


def again(context: Context, killed: str) -> Outcome:
    step = compact(context, ["web1"]) if killed == "compact" else undelete(context, "web1")
    return of(step, "web1")


@contextmanager
def borg_at(home: Path) -> Iterator[int]:
    """A process with the command line of a `borg compact` that serve.sh started, and nobody hears now."""
    argv = [sys.executable, "-c", "import time; print(flush=True); time.sleep(600)", "--progress", str(home)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, user=home.stat().st_uid) as child:
        assert child.stdout and child.stdout.readline()
        try:
            yield child.pid
        finally:
            child.kill()


@pytest.mark.parametrize("killed", ["compact", "undelete"])
def test_nothing_is_finished_while_a_borg_whose_connection_was_lost_goes_on(
    host: LocalVault, clock: Hours, killed: str
) -> None:
    context = world(host, clock)
    interrupted(context, "web1", killed)
    clock.tick()
    with borg_at(host.zfs.directory(WEB)) as pid:
        busy = again(context, killed)
        assert busy.status is Status.BUSY and f"still runs on the storage, pid {pid}" in busy.message
        assert records_of(context).unfinished("web1") == killed
    assert again(context, killed).status is Status.OK
    assert not records_of(context).unfinished("web1")


@contextmanager
def other_zborg(locks: Path) -> Iterator[None]:
    """Another process that holds the host's lock, as one does that compacts."""
    ready, done = os.pipe(), os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            with Locks(locks, "zborg compact web1").hold("host-web1"):
                os.write(ready[1], b"x")
                os.close(done[1])
                os.read(done[0], 1)
        finally:
            os._exit(0)
    try:
        os.read(ready[0], 1)
        yield
    finally:
        for end in (*done, *ready):
            os.close(end)
        os.waitpid(pid, 0)


@pytest.mark.parametrize("killed", ["compact", "undelete"])
def test_of_two_zborgs_one_alone_goes_on_with_a_record(host: LocalVault, clock: Hours, killed: str) -> None:
    context = world(host, clock)
    interrupted(context, "web1", killed)
    before = records_of(context).path("web1").read_text()
    clock.tick()
    with other_zborg(host.state / "locks"):
        assert again(context, killed).status is Status.BUSY
        assert records_of(context).path("web1").read_text() == before
        assert not list(unfinished(context.config, context.locks)), "it is no interrupted one"
    assert again(context, killed).status is Status.OK


def test_what_the_audit_within_a_compaction_finds_ends_it(host: LocalVault, clock: Hours) -> None:
    """The newest snapshot is clean, and what came since is not: it is seen before anything is freed."""
    home, context = host.zfs.directory(WEB), world(host, clock)
    for purpose, number, entry in (
        (Purpose.BACKUP, 4, put(key(8), b"n" * 9000)),
        (Purpose.PRUNE, 6, delete(key(8))),
    ):
        context.sessions.begin("web1", Session(purpose, "run", clock.now, number - 2))
        committed(home, number, entry)
        context.sessions.end("web1", number)
    clock.tick()
    snapshot(context)
    clock.tick()
    assert audit(context).exit is Exit.OK
    committed(home, 8, put(key(9), b"behind zborg's back"))
    before = sorted(path.name for path in home.glob("data/*/*"))
    clock.tick()
    found = of(compact(context, ["web1"]), "web1")
    assert found.status is Status.DAMAGED and "while nothing was served" in found.message
    assert not records_of(context).unfinished("web1") and not records_of(context).of("web1").held
    assert sorted(path.name for path in home.glob("data/*/*")) == before
    assert "web1" in context.frozen.now()


# --- a snapshot of one dataset alone ------------------------------------------------------------------------


def taken(vault: LocalVault, clock: Hours) -> Snapshot:
    context = world(vault, clock)
    (dataset,) = context.storage.zfs.datasets(WEB)
    clock.tick()
    return take(context, dataset, newest_of(context, WEB))


def test_a_lone_snapshot_has_the_marks_of_the_one_before_while_nothing_was_committed(
    host: LocalVault, clock: Hours
) -> None:
    marks = {P_RUN: "run", P_STATE: "ok", P_TRANSACTION: "2"}
    host.zfs.snapshot(WEB, f"zborg_{clock.now:%Y-%m-%dT%H%M%SZ}", marks)
    alone = taken(host, clock).properties
    assert (alone.get(P_STATE), alone.get(P_TRANSACTION)) == ("ok", "2")
    assert P_RUN not in alone, "it is part of no snapshot of all"
    committed(host.zfs.directory(WEB), 4, put(key(8), b"news"))
    later = taken(host, clock).properties
    assert P_STATE not in later and P_TRANSACTION not in later, "what it has was never found good"


def test_one_before_any_other_has_no_marks_and_one_behind_a_wrong_clock_is_refused(
    vault: LocalVault, clock: Hours
) -> None:
    written_hosts(vault, clock, "web1")
    assert P_STATE not in taken(vault, clock).properties
    clock.tick(-48)
    with pytest.raises(Conflict, match="the clock says"):
        taken(vault, clock)
