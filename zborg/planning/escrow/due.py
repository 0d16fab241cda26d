"""How a host's sealed key stands: of which repository, for how many, and when that was proved last. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from zborg.model import Finding, Status
from zborg.model.ledger.proved import Proved
from zborg.model.text.remedy import command
from zborg.model.text.units import counted, duration, moment


@dataclass(frozen=True, slots=True)
class KeyFacts:
    """Of one host. `repository` is the one that lies here, "" for none; None: that was not looked at."""

    host: str
    sealed_for: str = ""  # the repository whose key is here, "" for none
    at: datetime | None = None  # when it came
    digest: str = ""  # of the sealed key
    recipients: int | None = None  # for how many it is; None: it is no file of age
    custodians: int = 0  # how many zborg.toml names
    repository: str | None = None
    last: Proved | None = None


def is_proved(facts: KeyFacts) -> bool:
    """Whether the last proof is of this very sealed key, and of the repository that it is for."""
    last = facts.last
    return bool(last and last.sealed == facts.digest and last.repository == facts.sealed_for)


def standing(facts: KeyFacts, every: int, now: datetime) -> Finding:
    """One host's, for `escrow status`. `every`: seconds from one proof to the next, 0: none is asked for."""
    name = facts.host
    reseal = command("zborg", "escrow", "reseal", name)
    if not facts.sealed_for or facts.at is None:
        if facts.repository == "":
            return Finding(name, Status.SKIPPED, "there is no repository of it yet")
        return Finding(name, Status.WARNING, "its key is not in escrow here", reseal)
    if facts.recipients is None:
        return Finding(name, Status.FAILED, "what it sealed is no file of age: nobody can open it", reseal)
    if facts.repository not in (None, facts.sealed_for):
        there = f"that is {facts.repository[:8]} now" if facts.repository else "there is none now"
        words = f"the sealed key is of the repository {facts.sealed_for[:8]}, and {there}"
        return Finding(name, Status.WARNING, words, reseal if facts.repository else "")
    words = f"sealed for {counted(facts.recipients, 'custodian')} at {moment(facts.at)}; {_proof(facts, now)}"
    if facts.custodians and facts.recipients != facts.custodians:
        return Finding(name, Status.WARNING, f"{words}; zborg.toml names {facts.custodians}", reseal)
    late = overdue(facts, every, now)
    return late or Finding(name, Status.OK, words)


def _proof(facts: KeyFacts, now: datetime) -> str:
    if facts.last is None:
        return "never proved"
    ago = f"{duration(max((now - facts.last.at).total_seconds(), 0))} ago"
    if not is_proved(facts):
        return f"an older one was proved {ago}, this one was not"
    return f"proved {ago}: it opened {counted(facts.last.archives, 'archive')}"


def overdue(facts: KeyFacts, every: int, now: datetime) -> Finding | None:
    """Where a proof is late: a key that was never proved is due one period after it came."""
    if not every or facts.at is None:
        return None
    since = facts.last.at if facts.last and is_proved(facts) else facts.at
    if now - since <= timedelta(seconds=every):
        return None
    words = f"its sealed key: {_proof(facts, now)}; a proof is wanted every {duration(every)}"
    fix = command("zborg", "escrow", "challenge", facts.host, "--to", f"{facts.host}.challenge")
    return Finding(facts.host, Status.FAILED, words, fix)
