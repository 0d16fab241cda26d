"""What an agent's answer to `version` says of its host. Pure; the words are another machine's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime

from zborg.model import Finding, Status
from zborg.planning import clocks

_LATEST = 253402300799  # seconds; the end of the year 9999, and of what datetime can hold


def answer_of(text: str) -> dict[str, str]:
    """`key value` lines; the first of each key counts."""
    found: dict[str, str] = {}
    for line in text.split("\n"):
        key, blank, value = line.partition(" ")
        if blank:
            found.setdefault(key, value)
    return found


def clock_of(answer: Mapping[str, str]) -> datetime | None:
    """The host's clock as it tells it; None when it does not."""
    said = answer.get("clock", "")
    if not said.isascii() or not said.isdigit() or len(said) > 12 or int(said) > _LATEST:
        return None
    return datetime.fromtimestamp(int(said), UTC)


def clock_words(name: str, answer: Mapping[str, str], now: datetime) -> str:
    """ "" while the clocks agree."""
    there = clock_of(answer)
    return clocks.apart(name, there, now) if there else f"{name} does not tell its time"


def judge(name: str, answer: Mapping[str, str], now: datetime, *, escrow: bool, sealed: bool) -> Finding:
    """One host's state, the gravest first. `escrow`: keys are to be sealed; `sealed`: this one is, here."""
    found = next(faults(name, answer, now, escrow=escrow, sealed=sealed), None)
    words = f"answers: borg {answer.get('borg', '?')}, agent {answer.get('agent', '?')}"
    if found is None:
        return Finding(name, Status.OK, f"{words}{'; its key is in escrow' if sealed else ''}")
    if found.level is Status.WARNING:
        return replace(found, message=f"{words}; {found.message}")
    return found


def faults(
    name: str, answer: Mapping[str, str], now: datetime, *, escrow: bool, sealed: bool
) -> Iterator[Finding]:
    """All that is wrong, the gravest first."""
    own = answer.get("name", "")
    if own != name:
        words = f"zborg.toml says {name}, the host calls itself {own or 'nothing'}"
        mend = "set name in the host's agent.conf, or rename the table"
        yield Finding(name, Status.CONFLICT, words, mend)
    if answer.get("alarm") != "no":
        words = "there is an alarm: the host refuses all else until its root has looked into it"
        yield Finding(name, Status.CONFLICT, words, "on the host: /var/lib/zborg/alarm, docs/agent.md, Keys")
    if "borg" not in answer or answer["borg"] == "missing":
        yield Finding(name, Status.FAILED, "borg is missing on the host", "apt-get install borgbackup there")
    if clock := clock_words(name, answer, now):
        yield Finding(name, Status.WARNING, clock, clocks.REMEDY)
    if answer.get("initialised") != "yes":
        yield Finding(name, Status.WARNING, "no repository yet", f"zborg backup {name}")
    elif escrow and not sealed:
        mend = "zborg host add, with its URL, or docs/agent.md, Keys"
        yield Finding(name, Status.WARNING, "its key is not in escrow here", mend)
