"""Repositories that a test writes itself, of a few objects: read by the real reader, and by no borg."""

from __future__ import annotations

from pathlib import Path

from tests.harness.audit.segments import MANIFEST, commit, key, put, segment
from tests.harness.steps import begin_ledger
from tests.harness.worlds.local import LocalVault
from tests.harness.worlds.steps import Hours, dataset_only, world


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
