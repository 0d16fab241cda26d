"""What audit takes for the work of backups, and what it does not: rule by rule."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.harness.audit.looks import AUDITED, NOW, SEALED
from zborg.model.ledger.entries import Anomaly, Audited, Rule
from zborg.model.ledger.sealed import Listing, Log, Malformed, News, SealedObject, Stray, Transaction
from zborg.model.ledger.sessions import Purpose, Session
from zborg.planning.audit.rules import UNNAMED, Known, judge, most_of

pytestmark = pytest.mark.unit
LATER = Listing(10, 2000, "b" * 64)
BACKUP = Session(Purpose.BACKUP, "20260212T023000Z-0001", NOW, 5, 9)
PRUNE = Session(Purpose.PRUNE, "20260212T023000Z-0001", NOW, 9, 13)
SIGN = Session(Purpose.SIGN, "20260212T023000Z-0001", NOW, 5, 9)


def transaction(number: int = 9, **changed: Any) -> Transaction:
    usual = Transaction(number, puts=3, bytes=1000, manifest=589, deletes=0, checkpoints=0, rewrites=0)
    return replace(usual, **changed)


def news(*transactions: Transaction, **changed: Any) -> News:
    usual = News(
        version=1,
        last=max((one.number for one in transactions), default=5),
        prior=5,
        config="c" * 64,
        nonce=1000 + (1 << 28),
        log=Log(135, "e" * 64, "d" * 64),
        earlier=SEALED,
        sealed=LATER,
        transactions=transactions,
    )
    return replace(usual, **changed)


def found(
    seen: News, *sessions: Session, before: Audited | None = AUDITED, digests: dict[str, str] | None = None
) -> list[tuple[Rule, str]]:
    known = Known(before, sessions or (BACKUP, PRUNE), digests or {}, NOW)
    return [(one.rule, one.message) for one in judge(seen, known)]


def rules(*arguments: Any, **options: Any) -> list[Rule]:
    return [rule for rule, _ in found(*arguments, **options)]


# --- what is normal -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "seen",
    [
        news(),
        news(transaction()),
        news(
            transaction(7, manifest=600), transaction(9, manifest=587, deletes=1, checkpoints=1)
        ),  # ended checkpoints
        news(transaction(), transaction(13, puts=0, deletes=33, manifest=200)),  # a prune
        news(transaction(), transaction(13, puts=0, deletes=33, manifest=None)),
        news(transaction(9, puts=1, deletes=1, manifest=580)),  # borg rename
        news(transaction(3), last=5),  # known already
        news(transaction(), nonce=int(NOW.timestamp()) << 24),  # zborg's own remedy for a lost nonce
    ],
)
def test_what_backups_and_prunes_do_is_no_finding(seen: News) -> None:
    assert found(seen) == []


def test_signing_replaces_the_metadata_of_archives() -> None:
    signed = news(transaction(9, puts=5, deletes=5, manifest=540))
    assert rules(signed, SIGN) == []
    assert rules(signed, BACKUP) == [Rule.DELETES]
    assert rules(news(transaction(9, puts=5, deletes=6, manifest=540)), SIGN) == [Rule.DELETES]


def test_a_session_that_lasts_covers_what_comes() -> None:
    assert rules(news(transaction(50)), replace(BACKUP, last=None)) == []
    assert rules(news(transaction(50)), BACKUP) == [Rule.OUTSIDE]


def test_of_a_new_repository_only_its_files_are_judged() -> None:
    past = news(transaction(3, deletes=50, rewrites=4), nonce=1 << 63, config="f" * 64)
    assert found(past, before=None) == []
    stray = replace(past, strays=(Stray("secret", "link", 7, huge=False),), stray_count=1)
    assert found(stray, before=None) == [(Rule.STRAY, "secret (link, 7 bytes) is no file of a repository")]


# --- what is not ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        (news(config="f" * 64), (Rule.CONFIG, "its configuration changed since 2026-02-11T14:49:33Z")),
        (
            news(transaction(9, deletes=20)),
            (
                Rule.DELETES,
                "20 objects deleted in transaction 9 (run 20260212T023000Z-0001, begun "
                "2026-02-12T14:49:33Z), which is no prune",
            ),
        ),
        (
            news(transaction(9, deletes=3, checkpoints=1, manifest=540)),
            (
                Rule.DELETES,
                "3 objects deleted in transaction 9 (run 20260212T023000Z-0001, begun 2026-02-12T14:49:33Z), "
                "which is no prune",
            ),
        ),
        (
            news(transaction(9, rewrites=20)),
            (
                Rule.REPLACED,
                "20 objects put again under the same id in transaction 9 (run 20260212T023000Z-0001, begun "
                "2026-02-12T14:49:33Z)",
            ),
        ),
        (
            news(transaction(9, manifest=481)),
            (
                Rule.MANIFEST,
                "the list of archives shrank from 535 to 481 bytes in transaction 9 (run "
                "20260212T023000Z-0001, begun 2026-02-12T14:49:33Z), which is no prune",
            ),
        ),
        (
            news(transaction(21)),
            (
                Rule.OUTSIDE,
                "transaction 21 was made while nothing was served: 3 objects of 1000 bytes, 0 deletes",
            ),
        ),
        (news(nonce=1 << 63), (Rule.NONCE, "its nonce jumped from 0x3e8 to 0x8000000000000000")),
        (news(nonce=999), (Rule.NONCE, "its nonce went back from 0x3e8 to 0x3e7")),
        (news(nonce=None), (Rule.NONCE, "its nonce is gone, or is no number")),
        (
            news(log=Log(135, "e" * 64, "f" * 64)),
            (Rule.LOG, "the list of its commits (transactions) is not what it was at 2026-02-11T14:49:33Z"),
        ),
        (
            news(earlier=Listing(5, 900, "f" * 64)),
            (
                Rule.GONE,
                "its sealed objects were 6 of 1000 bytes at 2026-02-11T14:49:33Z, and are 5 of 900 bytes",
            ),
        ),
        (
            news(last=3),
            (Rule.WENT_BACK, "its last transaction is 3, and was 5 at 2026-02-11T14:49:33Z"),
        ),
        (
            news(strays=(Stray("pipe\x1b", "special", 0, huge=False),), stray_count=1),
            (Rule.STRAY, "pipe  (special, 0 bytes) is no file of a repository"),
        ),
        (
            news(strays=(Stray("data/0/7", "file", 1 << 40, huge=True),), stray_count=1),
            (Rule.HUGE, "data/0/7 (file, 1.0 TiB) is larger than any file of a repository"),
        ),
        (
            news(malformed=(Malformed("0/7", 49, "crc"),)),
            (Rule.MALFORMED, "object 0/7 at byte 49 is no entry that borg writes (crc)"),
        ),
        (
            News(2),
            (
                Rule.VERSION,
                "a repository of version 2: zborg knows version 1, that of borg 1, and audits no other",
            ),
        ),
        (
            News(0),
            (Rule.VERSION, "there is no repository that can be read: its configuration is missing or broken"),
        ),
    ],
    ids=lambda value: value[0].value if isinstance(value, tuple) else "",
)
def test_each_rule_has_its_words(seen: News, expected: tuple[Rule, str]) -> None:
    assert found(seen) == [expected]


def test_more_strays_than_are_named_are_counted() -> None:
    seen = news(strays=(Stray("a", "file", 1, huge=False),), stray_count=40)
    assert found(seen)[1] == (Rule.STRAY, "39 files more that are no files of a repository")


def test_more_findings_than_are_named_are_one_that_nobody_can_approve() -> None:
    """Approving those that are named is not approving the others."""
    many = [transaction(number, deletes=5) for number in range(9, 69, 2)]
    covering = replace(BACKUP, last=None)
    found_ = judge(news(*many), Known(AUDITED, (covering,), {}, NOW))
    assert len(found_) == 21
    assert found_[19].transaction == 47 and found_[20].transaction == UNNAMED
    assert found_[20].message.startswith("10 more findings, the next: 5 objects deleted in transaction 49")


def test_an_empty_log_of_before_cannot_have_been_rewritten() -> None:
    assert rules(news(log=Log(10, "e" * 64, "")), before=replace(AUDITED, log=Log(0, "", ""))) == []


def test_a_nonce_that_was_never_seen_is_not_compared() -> None:
    assert rules(news(nonce=1 << 63), before=replace(AUDITED, nonce=None)) == []


def test_touched_objects_are_compared_with_what_was_recorded() -> None:
    touched = tuple(SealedObject(f"0/{n}", 10, f"{n:064x}") for n in range(8))
    seen = news(touched=touched)
    assert rules(seen, digests={one.name: one.digest for one in touched}) == []
    assert rules(seen, digests={}) == [], "of what was there before the ledger nothing is known"
    ((rule, words),) = found(seen, digests=dict.fromkeys((one.name for one in touched), "0" * 64))
    assert rule is Rule.REWRITTEN
    assert words.endswith("what was recorded: 0/1, 0/2, 0/3, 0/4, 0/5 and 2 more")
    ((_, words),) = found(seen, digests={"0/7": "f" * 64})
    assert words.endswith("what was recorded: 0/7")


# --- the size of the list of archives ---------------------------------------------------------------------


def test_a_list_that_shrinks_a_little_each_night_is_found_as_well() -> None:
    """Compared with the largest size since the last prune, not with the night before."""
    seen = news(transaction(7, manifest=515), transaction(9, manifest=495))
    assert rules(seen) == [Rule.MANIFEST]


def test_after_a_prune_its_own_size_counts() -> None:
    pruned = news(transaction(9), transaction(13, puts=0, deletes=5, manifest=200))
    assert most_of(pruned, AUDITED, (BACKUP, PRUNE)) == 200
    assert most_of(news(transaction(9)), AUDITED, (BACKUP,)) == 589
    assert most_of(news(transaction(3), transaction(9, manifest=None)), AUDITED, (BACKUP,)) == 535
    assert most_of(news(transaction(1, manifest=100)), None, ()) == 100


def test_a_rename_that_makes_the_list_smaller_is_no_rename() -> None:
    seen = news(transaction(9, puts=1, deletes=1, manifest=400))
    assert set(rules(seen)) == {Rule.DELETES, Rule.MANIFEST}
    assert rules(news(transaction(9, puts=1, deletes=1, manifest=None))) == [Rule.DELETES]


@given(st.integers(0, 60), st.integers(0, 60), st.integers(0, 60))
def test_no_number_of_deletes_outside_a_prune_goes_unseen(deletes: int, checkpoints: int, puts: int) -> None:
    checkpoints = min(checkpoints, deletes)
    one = transaction(9, deletes=deletes, checkpoints=checkpoints, puts=puts)
    unexplained = deletes - min(checkpoints, 1)
    is_rename = unexplained == 1 and puts == 1
    assert (Rule.DELETES in rules(news(one), replace(BACKUP, first=3))) == (unexplained > 0 and not is_rename)


def test_one_delete_is_a_checkpoint_s_and_only_within_its_own_session() -> None:
    """A host that deletes all that the last night brought, or what an earlier session left, is found."""
    replaced = transaction(9, deletes=1, checkpoints=1, manifest=587)
    assert rules(news(transaction(7), replaced), BACKUP) == []
    later = replace(BACKUP, first=7)
    assert rules(news(transaction(7), replaced), replace(BACKUP, last=7), later) == [Rule.DELETES]
    assert rules(news(replaced), BACKUP) == [Rule.DELETES], "the transaction before was another session's"
    assert rules(news(replaced), replace(BACKUP, first=3)) == [], "one that was at work when it was looked at"
    many = transaction(9, deletes=500, checkpoints=500)
    assert rules(news(transaction(7), many), BACKUP) == [Rule.DELETES]


def test_more_findings_than_a_person_reads_are_counted() -> None:
    seen = news(*(transaction(number, deletes=2) for number in range(20, 70)), last=70)
    shown = found(seen, BACKUP)
    assert len(shown) == 21
    assert shown[-1][1].startswith("80 more findings, the next: transaction 30 was made while nothing")


def test_a_finding_is_a_rule_and_words() -> None:
    (one,) = judge(news(config=""), Known(AUDITED, (BACKUP,), {}, NOW))
    assert one == Anomaly(Rule.CONFIG, "its configuration changed since 2026-02-11T14:49:33Z")
