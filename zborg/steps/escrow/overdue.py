"""Proofs that are late, for `status`, `doctor` and `report`: by files of this machine alone."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from zborg.config import Config
from zborg.model import Finding, Outcome
from zborg.planning.escrow.due import overdue
from zborg.steps.escrow.facts import KIND, key_facts


def findings(config: Config, now: datetime) -> Iterator[Finding]:
    """One for each host whose sealed key should have been proved meanwhile; none without `prove_every`."""
    if not config.prove_every or config.storage.received:
        return
    for host in config.hosts:
        if late := overdue(key_facts(config, host.name), config.prove_every, now):
            yield late


def outcomes(config: Config, now: datetime) -> Iterator[Outcome]:
    """The same for a report."""
    for one in findings(config, now):
        yield Outcome(KIND, one.subject, one.level, one.message, one.remedy)
