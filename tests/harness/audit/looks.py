"""What one look of audit came to, as tests of decisions need it: of six objects, without a finding."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from zborg.model.ledger.entries import Audited
from zborg.model.ledger.sealed import Listing, Log, SealedObject

NOW = datetime(2026, 2, 12, 14, 49, 33, tzinfo=UTC)
SEALED = Listing(6, 1000, "a" * 64)
AUDITED = Audited(
    host="web1",
    run="20260211T023000Z-0001",
    at=NOW - timedelta(days=1),
    snapshot="zborg_2026-02-11T023000Z",
    guid="1",
    taken=NOW - timedelta(days=1),
    repository="5a" * 32,
    last=5,
    prior=1,
    config="c" * 64,
    manifest=535,
    most=535,
    nonce=1000,
    log=Log(90, "d" * 64, ""),
    sealed=SEALED,
    bytes=1100,
    objects=tuple(SealedObject(f"0/{number}", 160, "9" * 64) for number in range(6)),
    puts=3,
    deletes=0,
    sessions=(),
    anomalies=(),
    clean=True,
)
