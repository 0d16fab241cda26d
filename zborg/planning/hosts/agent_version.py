"""What an agent's answer to `version` says of its host. Pure; the words are another machine's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime

from zborg.model import Finding, Host, Status
from zborg.model.text.agent_conf import DEFAULT, show_lines
from zborg.model.text.remedy import command, on, remedy
from zborg.model.text.units import printable
from zborg.planning import clocks

SETUP = "/usr/local/libexec/zborg-agent --setup"
_CONF = DEFAULT
_SECRET = "/etc/zborg/passphrase"
_STATE = "/var/lib/zborg"
_KEYS = f"{_STATE}/borg/.config/borg/keys"

_NONE = "none"
_QUOTED = 60  # characters of what a shell printed
_LATEST = 253402300799  # seconds; the end of the year 9999, and of what datetime can hold


PRINTED = ""
"""The key of what stands before the agent's own first line: something else on the host printed it."""


def answer_of(text: str) -> dict[str, str]:
    """`key value` lines from `agent N` on; the first of each key counts."""
    lines = text.split("\n")
    first = next((number for number, line in enumerate(lines) if line.startswith("agent ")), len(lines))
    found: dict[str, str] = {}
    if printed := "\n".join(lines[:first]).strip():
        found[PRINTED] = printed
    for line in lines[first:]:
        key, blank, value = line.partition(" ")
        if blank:
            found.setdefault(key, value)
    return found


def clock_of(answer: Mapping[str, str]) -> datetime | None:
    """The host's clock as it reports it; None when it does not."""
    digits = answer.get("clock", "")
    if not digits.isascii() or not digits.isdigit() or len(digits) > 12 or int(digits) > _LATEST:
        return None
    return datetime.fromtimestamp(int(digits), UTC)


def clock_words(name: str, answer: Mapping[str, str], now: datetime) -> str:
    """ "" while the clocks agree."""
    there = clock_of(answer)
    return clocks.apart(name, there, now) if there else f"{name} does not report its time"


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
    if shell := shell_prints(name, answer):
        yield shell
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
    yield from _paths(name, answer)
    if answer.get("witness") == "broken":
        path = f"{_STATE}/witness"
        words = f"{path} on {name} has lines that are no checkpoints: none is added, and none is shown"
        yield Finding(name, Status.WARNING, words, on(name, command("mv", path, f"{path}.broken")))
    if clock := clock_words(name, answer, now):
        yield Finding(name, Status.WARNING, clock, clocks.REMEDY)
    if answer.get("initialised") != "yes":
        yield Finding(name, Status.WARNING, "no repository yet", command("zborg", "backup", name))
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


def shell_prints(name: str, answer: Mapping[str, str]) -> Finding | None:
    """Output of the login shell's start-up files gets into borg's protocol, which ends every backup."""
    printed = answer.get(PRINTED)
    if not printed:
        return None
    shell = answer.get("shell", "unknown")
    which = "the login shell" if shell == "unknown" else shell
    first = printable(printed.splitlines()[0])[:_QUOTED]
    message = f"{which} on {name} prints before the agent starts, into borg's protocol: {first!r}"
    sentence = f"on {name}, let the start-up files of root's shell print in interactive sessions only; then"
    return Finding(
        name, Status.FAILED, message, remedy(command("zborg", "host", "test", name), first=sentence)
    )


def _paths(name: str, answer: Mapping[str, str]) -> Iterator[Finding]:
    """Paths of agent.conf that a backup would miss. Agents from before these lines existed say nothing."""
    conf = answer.get("conf", "")
    conf = conf if conf.startswith("/") else DEFAULT
    if (links := answer.get("links", _NONE)) != _NONE:
        words = f"names a symbolic link instead of what it points to: {printable(links)}"
        message = f"{name}: {printable(conf)} {words}"
        yield Finding(name, Status.FAILED, message, show_lines(name, conf, links))
    if (absent := answer.get("absent", _NONE)) != _NONE:
        message = f"{name}: {printable(conf)} names what does not exist: {printable(absent)}"
        # A hook may create it before each backup.
        level = Status.WARNING if answer.get("before") == "yes" else Status.FAILED
        yield Finding(name, level, message, show_lines(name, conf, absent))
