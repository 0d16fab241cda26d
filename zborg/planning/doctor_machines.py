"""What doctor says of other machines: hosts, targets, and who may come in at an off-site. Pure.

Their words are other machines' words: only what is looked for in them counts.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from zborg.model import Finding, Host, Status, Target
from zborg.planning.answer import answer_of, faults
from zborg.planning.doctor import borg_fault

AGENT = "1"
"""What our own agent.sh calls itself."""

# Variables with which a client could run code of its own in the login shell before a forced command begins.
SENT = ("BASH_ENV", "ENV", "LD_PRELOAD", "PYTHONPATH", "BORG_PASSCOMMAND")

_COMMAND = re.compile(r'command="(?P<command>(?:[^"\\]|\\.)*)"')
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"')
_KEY = re.compile(r"(?:^|\s)(ssh-|ecdsa-|sk-)\S+ ")


@dataclass(frozen=True, slots=True)
class HostFacts:
    """What a host said to `version`, and what this side knows of it."""

    host: Host
    said: str
    accepted: tuple[str, ...]  # of SENT
    now: datetime
    escrow: bool
    sealed: bool
    repository: str | None  # the id of the one that lies here, "" for none; None: not seen


def host(facts: HostFacts) -> tuple[Finding, ...]:
    name = facts.host.name
    noise, answer = _split(facts.said)
    bad = list(_noise(name, noise)) + list(sent(name, facts.accepted))
    asked = facts.escrow and facts.repository is not None  # what is sealed is sealed for an id
    mute = asked and not facts.sealed and answer.get("escrow") == "no"
    bad += faults(name, answer, facts.now, escrow=asked and not mute, sealed=facts.sealed)
    bad += [_no_seal(name)] if mute else []
    bad += _configured(name, answer)
    bad += _repository(facts, answer)
    words = f"borg {answer.get('borg', '?')}, agent {answer.get('agent', '?')}"
    return tuple(bad) or (Finding(name, Status.OK, words),)


def _split(said: str) -> tuple[str, dict[str, str]]:
    """What stands before the agent's first line, and its answer."""
    lines = said.split("\n")
    first = next((number for number, line in enumerate(lines) if line.startswith("agent ")), len(lines))
    return "\n".join(lines[:first]), answer_of("\n".join(lines[first:]))


def _noise(name: str, noise: str) -> Iterator[Finding]:
    if noise.strip():
        words = f"its login shell prints before the agent does ({noise.strip()[:60]!r}): borg cannot speak so"
        yield Finding(name, Status.FAILED, words, f"on {name}: print in interactive shells only (~/.bashrc)")


def sent(name: str, accepted: Sequence[str], where: str = "") -> Iterator[Finding]:
    """sshd may let a client set these; the agent drops them, but root's login shell runs first."""
    if accepted:
        words = f"its sshd lets us set {', '.join(accepted)}: who has our key could run code by it"
        mend = f"{where or f'on {name}: '}AcceptEnv LANG LC_* in sshd_config, and reload sshd"
        yield Finding(name, Status.FAILED, words, mend)


def _no_seal(name: str) -> Finding:
    words = (
        "its key is not in escrow, and it could seal it for nobody: no custodian is named there, or no age"
    )
    mend = (
        f"on {name}: apt-get install age, and the custodians into /etc/zborg/custodians; then zborg host add"
    )
    return Finding(name, Status.WARNING, words, mend)


def _configured(name: str, answer: Mapping[str, str]) -> Iterator[Finding]:
    """Agents from before a line existed say nothing of it."""
    if (agent := answer.get("agent", "")) != AGENT:
        words = f"its agent is version {agent or '?'}, ours is {AGENT}"
        yield Finding(name, Status.FAILED, words, "zborg host add, with its URL, brings it the new one")
    borg = answer.get("borg", "missing")
    if borg != "missing" and (said := borg_fault(f"borg {borg}")):
        yield Finding(name, Status.FAILED, said, f"on {name}: borg in agent.conf names another one")
    if answer.get("paths") == "no":
        words = "no path in its agent.conf: nothing would be backed up"
        yield Finding(
            name, Status.FAILED, words, f"on {name}: path = /etc and so on in /etc/zborg/agent.conf"
        )
    if answer.get("passphrase") == "no":
        words = "its passphrase is not there, or not its root's alone"
        mend = f"on {name}: chmod 0600 /etc/zborg/passphrase, or put its safe copy back"
        yield Finding(name, Status.FAILED, words, mend)


def _repository(facts: HostFacts, answer: Mapping[str, str]) -> Iterator[Finding]:
    """One side has it and the other does not: writing is refused, and a history may be lost."""
    name, known = facts.host.name, answer.get("initialised")
    if known == "yes" and facts.repository == "":
        words = "the host has a repository, and here there is none"
        yield Finding(name, Status.FAILED, words, f"zborg restore list {name}; README, The server is gone")
    if known == "no" and facts.repository:
        words = "a repository lies here, and the host knows of none"
        yield Finding(name, Status.FAILED, words, "README, The rebuilt host")


def keyed_here(host: Host, dataset: str, root: str) -> Finding:
    """A repository that holds its own key (repokey)."""
    pool = root.partition("/")[0]
    if host.reverse:
        words = (
            "its repository holds its key (repokey): that its backups are secret from this server is not "
            "claimed"
        )
        mend = "docs/reverse.md; with the tunnel without a port it gets a keyfile: zborg host add"
        return Finding(host.name, Status.WARNING, words, mend)
    words = "its repository holds its key (repokey): a server that shows an older state could read on"
    mend = f"zfs rename {dataset} {pool}/{host.name}-repokey, then zborg init and zborg backup {host.name}"
    return Finding(host.name, Status.FAILED, words, mend)


# --- targets ----------------------------------------------------------------------------------------


def open_door(target: Target, lines: Sequence[str]) -> Finding:
    """A target whose account can do more than a sink's."""
    words = f"{target.endpoint.user} has no sink there: whoever has this server has its copies too"
    mend = "\n".join([f"docs/sink.md has all of it; on {target.name}, as root, it begins with:", *lines])
    return Finding(target.name, Status.WARNING, words, mend)


# --- an off-site's own door -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class DoorFacts:
    """The authorized_keys of an account that may receive."""

    user: str
    path: str
    lines: Sequence[str]
    loose: bool  # others can write in it
    root: str


def door(facts: DoorFacts) -> Iterator[Finding]:
    """Every key has to end in the sink, and its account may not be able to let others in."""
    if facts.loose:
        words = "others can write in it: every key could be let in"
        yield Finding(facts.path, Status.FAILED, words, f"chmod go-w {facts.path}")
    found = False
    for number, line in enumerate(facts.lines, 1):
        key = _KEY.search(_QUOTED.sub(lambda quoted: "_" * len(quoted[0]), line))
        if key and not line.lstrip().startswith("#"):
            found = True
            yield from _line(facts, number, line[: key.start()])
    if not found:
        words = f"no key may come in as {facts.user}: nothing can arrive"
        mend = f"the server's key, as in docs/sink.md: {_forced(facts.root)} ssh-ed25519 AAAA..."
        yield Finding(facts.path, Status.WARNING, words, mend)


def _line(facts: DoorFacts, number: int, options: str) -> Iterator[Finding]:
    command = _COMMAND.search(options)
    mend = f"{facts.path}, line {number}, begins with: {_forced(facts.root)}"
    if command is None:
        yield Finding(facts.path, Status.FAILED, f"line {number} opens a shell for {facts.user}", mend)
        return
    if not re.fullmatch(rf"\S*zborg sink (--raw )?{re.escape(facts.root)}( --raw)?", command["command"]):
        words = f"line {number} runs {command['command'][:60]!r}, which is no sink below {facts.root}"
        yield Finding(facts.path, Status.FAILED, words, mend)
    if "restrict" not in _COMMAND.sub("", options).split(","):
        words = f"line {number} lacks restrict: ports and agents of {facts.user} can be forwarded"
        yield Finding(facts.path, Status.FAILED, words, mend)


def _forced(root: str) -> str:
    return f'restrict,command="/usr/local/bin/zborg sink {root}"'
