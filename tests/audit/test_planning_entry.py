"""What one look writes into the ledger, and what stays of the one before where nothing could be read."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from zborg.model import Snapshot
from zborg.model.ledger.entries import Anomaly, Rule, audited, parse
from zborg.model.ledger.sealed import Listing, Log, News, SealedObject, Transaction
from zborg.model.ledger.sessions import Purpose, Session
from zborg.planning.audit.entry import Looked, entry

pytestmark = pytest.mark.unit
NOW = datetime(2026, 2, 12, 14, 49, 33, tzinfo=UTC)
SNAPSHOT = Snapshot("tank/borg/web1", "zborg_2026-02-12T144933Z", "17", 1, NOW, 0, 0)
ENDED, OPEN = Session(Purpose.BACKUP, "one", NOW, 1, 5), Session(Purpose.PRUNE, "two", NOW, 5)
LOOKED = Looked("web1", "run", NOW, SNAPSHOT, "5a", None, (ENDED, OPEN), released=True)
NEWS = News(
    version=1,
    last=9,
    prior=5,
    config="c",
    nonce=7,
    log=Log(90, "d", ""),
    sealed=Listing(6, 1000, "a"),
    bytes=1100,
    objects=(SealedObject("0/9", 17, "e"),),
    transactions=(
        Transaction(5, 3, 100, 500, 0, 0, 0),
        Transaction(7, 2, 100, 600, 1, 1, 0),
        Transaction(9, 1, 100, None, 0, 0, 0),
    ),
)


def test_an_entry_has_all_that_the_next_look_is_compared_with() -> None:
    made = entry(LOOKED, NEWS, ())
    assert (made.last, made.prior, made.config, made.nonce, made.bytes) == (9, 5, "c", 7, 1100)
    assert (made.manifest, made.most, made.puts, made.deletes) == (600, 600, 6, 1)
    assert (made.snapshot, made.guid, made.taken) == ("zborg_2026-02-12T144933Z", "17", NOW)
    assert made.sessions == (ENDED, OPEN) and made.clean
    later = entry(replace(LOOKED, before=made), replace(NEWS, last=13, transactions=()), ())
    assert (later.sessions, later.manifest, later.most) == ((OPEN,), 600, 600)


@pytest.mark.parametrize("news", [None, News(0), News(2)])
def test_of_what_could_not_be_read_the_state_of_before_stays(news: News | None) -> None:
    before = entry(LOOKED, NEWS, ())
    found = (Anomaly(Rule.UNREADABLE, "x"),)
    made = entry(replace(LOOKED, before=before), news, found)
    assert (made.last, made.config, made.log, made.sealed) == (9, "c", before.log, before.sealed)
    assert (made.objects, made.anomalies, made.clean) == ((), found, False)
    first = entry(LOOKED, news, found)
    assert (first.last, first.config, first.manifest) == (-1, "", None)


@pytest.mark.parametrize(
    ("deleted", "unjudged"),
    [
        ((), -1),
        (({"deletes": 1, "checkpoints": 1},), -1),  # a checkpoint that was replaced
        (({"deletes": 2, "checkpoints": 2},), 3),
        (({"deletes": 1},), 3),
        (({"rewrites": 1},), 3),
        (({"deletes": 1}, {}), 3),
        (({"deletes": 1}, {"deletes": 9}), 4),
        (({}, {}, {"deletes": 9}), -1),  # by a prune that zborg asked for
        (({"deletes": 1}, {}, {"deletes": 9}), 3),
    ],
)
def test_what_was_deleted_before_the_first_look_is_not_judged_and_not_forgotten(
    deleted: tuple[dict[str, int], ...], unjudged: int
) -> None:
    usual = Transaction(0, 3, 100, 500, 0, 0, 0)
    some = tuple(replace(usual, number=3 + n, **one) for n, one in enumerate(deleted))
    sessions = (Session(Purpose.BACKUP, "one", NOW, 2, 4), Session(Purpose.PRUNE, "two", NOW, 4, 5))
    made = entry(replace(LOOKED, sessions=sessions), replace(NEWS, transactions=some), ())
    assert made.unjudged == unjudged and audited(parse(made.line())) == made
    later = entry(replace(LOOKED, before=made, sessions=sessions), replace(NEWS, transactions=some), ())
    assert later.unjudged == -1, "a later look judges"


def test_it_is_clean_only_without_findings_of_now_or_before() -> None:
    assert not entry(replace(LOOKED, released=False), NEWS, ()).clean
    assert not entry(LOOKED, NEWS, (Anomaly(Rule.CONFIG, "x"),)).clean
