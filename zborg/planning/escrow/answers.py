"""Whether an answer may count, before the storage is asked who made it. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from zborg.model.escrow.challenge import Answer, Bound
from zborg.model.text.units import moment

SKEW = 86_400
"""Seconds by which the newest archive may be later than the challenge: a host's clock made its time."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What the server knows of the challenge that an answer names, and what is sealed here now."""

    bound: Bound
    made: datetime
    until: datetime
    sealed: str  # digest of the sealed key that is here now


def refusal(asked: Asked | None, answer: Answer, now: datetime) -> str:
    """Why it does not count; "" when the storage may be asked."""
    if asked is None:
        return "this server made no such challenge, or it was answered already, or it has ended"
    if asked.bound.host != answer.host:
        return f"the challenge was made for {asked.bound.host}, and the answer says {answer.host}"
    if now > asked.until:
        return f"the challenge has ended at {moment(asked.until)}"
    if asked.sealed != asked.bound.sealed:
        return "the key was sealed anew since the challenge was made"
    if (answer.newest - asked.made).total_seconds() > SKEW:
        return f"it says that the newest archive is of {moment(answer.newest)}, long after the challenge"
    return ""
