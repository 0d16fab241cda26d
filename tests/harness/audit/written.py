"""Repositories that a test writes itself, of a few objects: read by the real reader, and by no borg."""

from __future__ import annotations

from pathlib import Path

from tests.harness.audit.segments import MANIFEST, commit, key, put, segment
from tests.harness.steps import audit, begin_ledger, snapshot
from tests.harness.worlds.local import LocalVault
from tests.harness.worlds.steps import Hours, dataset_only, world
from zborg.errors import Exit
from zborg.state.ledger.compactions import Begun, Compactions, Undeleting
from zborg.steps.compact.facts import records_of, subject_of
from zborg.steps.context import Context
from zborg.steps.one_dataset import newest_of


def committed(home: Path, number: int, *entries: bytes) -> None:
    """A transaction of one segment."""
    (home / f"data/0/{number}").write_bytes(segment([*entries, commit()]))
    with (home / "transactions").open("a") as log:
        log.write(f"transaction {number}, UTC time 2026-02-12T14:49:33.000000\n")


def repository(home: Path) -> None:
    """One with a list of archives and one object, at transaction 2."""
    (home / "data/0").mkdir(parents=True)
    (home / "config").write_text(f"[repository]\nversion = 1\nid = {'5a' * 32}\n")
    (home / "nonce").write_text(f"{1 << 20:016x}")
    committed(home, 2, put(key(1), b"d" * 500), put(MANIFEST, b"m" * 500))


def written_hosts(vault: LocalVault, clock: Hours, *names: str) -> None:
    """Hosts that nobody reaches, with repositories, on a server with a ledger."""
    dataset_only(vault, *names)
    for name in names:
        repository(vault.zfs.directory(f"tank/borg/{name}"))
    begin_ledger(world(vault, clock))


def interrupted(context: Context, host: str, killed: str) -> None:
    """As a zborg leaves it that was killed behind its record, before it did anything."""
    subject = subject_of(context, next(one for one in context.config.hosts if one.name == host))
    newest = newest_of(context, subject.dataset.name)
    assert newest
    living = subject.facts(newest, (), explicit=True).living
    record = Compactions(begun=Begun("killed", newest.snapname, newest.guid, living))
    if killed == "undelete":
        record = Compactions(undeleting=Undeleting("killed", newest.guid, newest.full))
    records_of(context).put(host, record)


def audited_hosts(vault: LocalVault, clock: Hours, *names: str) -> None:
    """The same after a night: a snapshot that audit has looked at and found good."""
    written_hosts(vault, clock, *names)
    clock.tick()
    snapshot(world(vault, clock))
    clock.tick()
    assert audit(world(vault, clock)).exit is Exit.OK
