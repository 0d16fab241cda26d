"""A year of nights of thirty hosts, with interruptions, prunes, checkpoints and lost connections: no finding.

Segments are written as borg writes them and read by the program itself; only the processes are left out.
"""

from __future__ import annotations

import os
import random
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.harness.audit.segments import MANIFEST, commit, delete, put, segment
from zborg.borg.storage import reading, segments
from zborg.borg.storage.reader import parse
from zborg.model import Snapshot
from zborg.model.ledger.entries import Audited
from zborg.model.ledger.sealed import News
from zborg.model.ledger.sessions import Purpose, Session
from zborg.planning.audit.entry import Looked, entry
from zborg.planning.audit.rules import Known, judge

NIGHTS, SEED = 365, 20260212
_ARCHIVE = 54  # bytes of an archive in the list, as with borg 1.4


@dataclass
class Repository:
    """What one host's borg keeps in mind, and its files."""

    home: Path
    rng: random.Random
    archives: list[bytes] = field(default_factory=list)  # ids of their metadata
    last: int = -1
    segment: int = 0
    nonce: int = 0
    sessions: list[Session] = field(default_factory=list)
    before: Audited | None = None

    def __post_init__(self) -> None:
        (self.home / "data/0").mkdir(parents=True)
        (self.home / "config").write_text("[repository]\nversion = 1\nsegments_per_dir = 100000\n")

    def key(self) -> bytes:
        return self.rng.randbytes(32)

    def manifest(self) -> list[bytes]:
        size = 430 + _ARCHIVE * len(self.archives) + self.rng.randint(-6, 6)
        return [delete(MANIFEST), put(MANIFEST, b"m" * size)]

    def transact(self, *parts: bytes, committed: bool = True) -> None:
        """Behind the last commit; what was left behind it before is written over."""
        self.segment = self.last + 1
        (self.home / f"data/0/{self.segment}").write_bytes(segment(parts))
        if committed:
            self.segment += 1
            (self.home / f"data/0/{self.segment}").write_bytes(segment([commit()]))
            self.last = self.segment
            with (self.home / "transactions").open("a") as log:
                log.write(f"transaction {self.last}, UTC time 2026-02-12T14:49:33.000000\n")
        self.nonce += 1 << 28
        (self.home / "nonce").write_text(f"{self.nonce:016x}")

    def clean(self) -> None:
        """What borg does first: segments behind the last commit go."""
        for path in (self.home / "data/0").iterdir():
            if int(path.name) > self.last:
                path.unlink()

    def session(self, purpose: Purpose, at: datetime) -> None:
        if self.sessions and self.sessions[-1].last is None:
            open_ = self.sessions.pop()
            self.sessions.append(Session(open_.purpose, open_.run, open_.since, open_.first, self.last))
        self.sessions.append(Session(purpose, "run", at, self.last))

    def end(self) -> None:
        one = self.sessions.pop()
        self.sessions.append(Session(one.purpose, one.run, one.since, one.first, self.last))

    def backup(self, at: datetime) -> None:
        self.session(Purpose.BACKUP, at)
        self.clean()
        checkpoint: list[bytes] = []
        for _ in range(self.rng.choice([0, 0, 0, 1, 3])):
            new = self.key()
            self.archives.append(new)
            old = [delete(checkpoint[-1])] if checkpoint else []
            self.transact(put(self.key(), b"d" * 50), *old, put(new, b"meta"), *self.manifest())
            self.archives.remove(new)
            checkpoint.append(new)
        fate = self.rng.random()
        if fate < 0.05:  # killed in the middle: nothing of it is committed, and nobody saw the end
            self.transact(put(self.key(), b"d"), committed=False)
            if checkpoint:
                self.archives.append(checkpoint[-1])  # its last checkpoint stays as an archive
            return
        new = self.key()
        self.archives.append(new)
        old = [delete(checkpoint[-1])] if checkpoint else []
        self.transact(put(self.key(), b"d" * 90), *old, put(new, b"meta"), *self.manifest())
        if fate < 0.1:  # the connection was lost behind the commit
            return
        self.end()
        if self.rng.random() < 0.02:  # an archive gets another name, by the host's root, within a session
            self.session(Purpose.BACKUP, at)
            gone = self.rng.randrange(len(self.archives))
            named = self.key()
            parts = [put(named, b"meta"), delete(self.archives[gone])]
            self.archives[gone] = named
            self.transact(*parts, *self.manifest())
            self.end()

    def prune(self, at: datetime) -> None:
        self.session(Purpose.PRUNE, at)
        gone, self.archives = self.archives[:-7], self.archives[-7:]
        if gone:
            chunks = [delete(self.key()) for _ in range(3 * len(gone))]
            self.transact(*map(delete, gone), *chunks, *self.manifest())
        if self.rng.random() < 0.9:
            self.end()

    def audited(self, at: datetime) -> list[str]:
        before = self.before
        task = {
            "after": before.last if before else -1,
            "prior": before.prior if before else -1,
            "log": before.log.size if before else 0,
            "since": 9e12,
            "budget": 0,
        }
        descriptor = os.open(self.home, os.O_RDONLY)
        try:
            lines = list(reading.Reader(task, {"wall": None, "segments": segments}).lines(descriptor))
        finally:
            os.close(descriptor)
        (news,) = parse("\n".join(f"0 {line}" for line in [*lines, "end"]), 1)
        assert isinstance(news, News), news
        found = judge(news, Known(before, self.sessions, {}, at))
        snapshot = Snapshot("tank/borg/x", "zborg_x", str(at), 1, at, 0, 0)
        looked = Looked("x", "run", at, snapshot, "", before, self.sessions, released=True)
        self.before = entry(looked, news, found)
        self.sessions = [one for one in self.sessions if one.last is None or one.last > self.before.last]
        return [one.message for one in found]


@pytest.mark.parametrize("count", [3, pytest.param(30, marks=pytest.mark.deep)])
def test_a_year_of_many_hosts_raises_nothing(tmp_path: Path, count: int) -> None:
    rng = random.Random(SEED)
    hosts = [Repository(tmp_path / f"host{n}", random.Random(SEED + n)) for n in range(count)]
    now, looked = datetime(2026, 2, 12, 2, 30, tzinfo=UTC), 0
    for night in range(NIGHTS):
        now += timedelta(days=1)
        for number, host in enumerate(hosts):
            if rng.random() < 0.03:
                continue  # not reached
            host.backup(now)
            if night % 7 == number % 7:
                host.prune(now)
            if rng.random() < 0.95:  # else its snapshot is looked at the next night
                assert host.audited(now) == [], f"host {number}, night {night}"
                looked += 1
    assert looked > 0.85 * count * NIGHTS
