"""doctor's judge of the ledger: each fault by itself."""

from __future__ import annotations

from dataclasses import replace

import pytest

from zborg.model import Dataset, Finding, Status
from zborg.planning.doctor.ledger import LedgerFacts, ledger

pytestmark = pytest.mark.unit

NAME = "tank/borg/zborg-ledger"
THERE = Dataset(NAME, "1", True, f"/{NAME}", 0, 1 << 40)
WELL = LedgerFacts(True, NAME, THERE, "/s/key.pub", "", 3600.0, 86400, "the storage", {"web1": 12, "web2": 9})


def only(facts: LedgerFacts) -> Finding:
    (one,) = ledger(facts)
    return one


def test_one_that_is_well_says_who_is_a_witness() -> None:
    found = only(WELL)
    assert (found.level, found.message) == (
        Status.OK,
        "it is there and signed; 2 hosts of 2 are witnesses of it",
    )


@pytest.mark.parametrize(
    ("facts", "level", "words", "remedy"),
    [
        (replace(WELL, begun=False), Status.WARNING, "no ledger was begun", "zborg init"),
        (replace(WELL, dataset=None), Status.FAILED, "does not exist", "zborg init"),
        (
            replace(WELL, dataset=replace(THERE, mounted=False)),
            Status.FAILED,
            "not mounted",
            f"zfs mount {NAME}",
        ),
        (replace(WELL, key_fault="it holds none"), Status.FAILED, "it holds none", "ls -l /s/key.pub"),
        (replace(WELL, age=None, witnesses={"web1": 0}), Status.WARNING, "no checkpoint yet", "zborg audit"),
        (replace(WELL, age=200_000.0), Status.FAILED, "its last checkpoint is 2 days old", "zborg audit"),
        (
            replace(WELL, witnesses={"web1": 0, "web2": None, "web3": 5}),
            Status.WARNING,
            "2 hosts no witness of it yet: web1, web2",
            "zborg backup",
        ),
        (
            replace(WELL, witnesses=dict.fromkeys((f"web{n}" for n in range(7)), 0) | {"web3": -1}),
            Status.WARNING,
            "7 hosts no witness of it yet: web0, web1, web2, web3 (its agent is older), web4 and 2 more",
            "zborg host add web3 ADDRESS",
        ),
    ],
)
def test_each_fault_is_named_with_its_remedy(
    facts: LedgerFacts, level: Status, words: str, remedy: str
) -> None:
    found = only(facts)
    assert (found.level, words in found.message) == (level, True), found
    assert remedy in found.remedy
