"""What an agent's answer to `version` says of its host. Pure; the words are another machine's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime

from zborg.model import Finding, Host, Status
from zborg.model.remedy import command, on, remedy
from zborg.planning import clocks

SETUP = "/usr/local/libexec/zborg-agent --setup"
_CONF = "/etc/zborg/agent.conf"
_SECRET = "/etc/zborg/passphrase"
_STATE = "/var/lib/zborg"
_KEYS = f"{_STATE}/borg/.config/borg/keys"

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


def judge(host: Host, answer: Mapping[str, str], now: datetime, *, escrow: bool, sealed: bool) -> Finding:
    """One host's state, the gravest first. `escrow`: keys are to be sealed; `sealed`: this one is, here."""
    found = next(faults(host, answer, now, escrow=escrow, sealed=sealed), None)
    words = f"answers: borg {answer.get('borg', '?')}, agent {answer.get('agent', '?')}"
    if found is None:
        opens = "; its passphrase opens its key" if answer.get("opens") == "yes" else ""
        return Finding(host.name, Status.OK, f"{words}{opens}{'; its key is in escrow' if sealed else ''}")
    if found.level is Status.WARNING:
        return replace(found, message=f"{words}; {found.message}")
    return found


def faults(
    host: Host, answer: Mapping[str, str], now: datetime, *, escrow: bool, sealed: bool
) -> Iterator[Finding]:
    """All that is wrong, the gravest first. A line that an older agent leaves out is no fault."""
    name, own = host.name, answer.get("name", "")
    if own != name:
        words = f"zborg.toml says {name}, the host calls itself {own or 'nothing'}"
        first = f"set name = {name} in {_CONF} there, or rename [hosts.{name}] in zborg.toml; then:"
        yield Finding(name, Status.CONFLICT, words, remedy(f"zborg host test {name}", first=first))
    if answer.get("alarm") != "no":
        words = f"there is an alarm on {name}: it refuses all else until its root has looked into it"
        first = f"on {name}, as root, read why; docs/agent.md, Keys, has what to do then:"
        yield Finding(name, Status.CONFLICT, words, remedy(f"cat {_STATE}/alarm", first=first))
    if "borg" not in answer or answer["borg"] == "missing":
        words = f"borg is missing on {name}"
        yield Finding(name, Status.FAILED, words, on(name, "apt-get install borgbackup"))
    yield from _key(name, answer)
    if clock := clock_words(name, answer, now):
        yield Finding(name, Status.WARNING, clock, clocks.REMEDY)
    if answer.get("initialised") != "yes":
        yield Finding(name, Status.WARNING, "no repository yet", f"zborg backup {name}")
    elif escrow and not sealed:
        yield Finding(name, Status.WARNING, "its key is not in escrow here", enrol(host))


def _key(name: str, answer: Mapping[str, str]) -> Iterator[Finding]:
    """What the repository's key depends on; the agent tries whether the passphrase opens it."""
    if answer.get("passphrase") == "no":
        words = f"{_SECRET} on {name} is gone, or others than root can read it"
        yield Finding(name, Status.FAILED, words, on(name, f"{SETUP} {name}"))
    if answer.get("key") == "no":
        words = (
            f"the key file of its repository is gone from {_KEYS} on {name}: nothing can be read or written"
        )
        first = f"on {name}, as root: type this, paste the key file (BORG_KEY and all), press Ctrl-D"
        file = f"{_KEYS}/{name}"
        yield Finding(name, Status.FAILED, words, remedy(f"cat >{file} && chmod 0600 {file}", first=first))
    if answer.get("opens") == "no":
        words = f"{_SECRET} on {name} does not open its repository's key: every backup would fail"
        first = (
            f"on {name}, as root: type this, paste the passphrase from its safe copy, press Enter and Ctrl-D"
        )
        line = f"cat >{_SECRET} && chmod 0600 {_SECRET}"
        yield Finding(name, Status.FAILED, words, remedy(line, first=first))
    if answer.get("memory") == "no":
        place = f"{_STATE}/borg/.config/borg/security"
        words = f"borg's memory of its repository is gone from {place} on {name}: a backup ends with an alarm"
        first = f"on {name}: put a copy of it back, or begin a new repository (docs/agent.md, Keys):"
        yield Finding(name, Status.FAILED, words, remedy(command("ls", "-l", place), first=first))


def enrol(host: Host) -> str:
    """The remedy that brings a host the agent of this version, and its sealed key here."""
    return command("zborg", "host", "add", host.name, str(host.endpoint))
