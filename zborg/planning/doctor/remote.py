"""What doctor says of other machines: hosts, targets, and who may come in at an off-site. Pure.

Their words are other machines' words: only what is looked for in them counts.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from zborg.model import Finding, Host, Status, Target
from zborg.model.text.remedy import command, on, quoted, remedy
from zborg.planning.doctor.this_machine import borg_fault
from zborg.planning.hosts.agent_version import answer_of, enrol, faults

AGENT = "1"
"""What our own agent calls itself."""

# Variables with which a client could run code of its own in the login shell before a forced command begins.
SENT = ("BASH_ENV", "ENV", "LD_PRELOAD", "PYTHONPATH", "BORG_PASSCOMMAND")

_COMMAND = re.compile(r'command="(?P<command>(?:[^"\\]|\\.)*)"')
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"')
_KEY = re.compile(r"(?:^|\s)(ssh-|ecdsa-|sk-)\S+ ")


@dataclass(frozen=True, slots=True)
class HostFacts:
    """A host's answer to `version`, and what this side knows of it."""

    host: Host
    answer: str
    accepted: tuple[str, ...]  # of SENT
    now: datetime
    escrow: bool
    sealed: bool
    repository: str | None  # the id of the one that lies here, "" for none; None: not seen


def host(facts: HostFacts) -> tuple[Finding, ...]:
    """What a host's answer shows that a backup would meet, or that its owner should know."""
    name = facts.host.name
    noise, answer = _split(facts.answer)
    bad = list(_noise(name, noise)) + list(sent(name, facts.accepted))
    asked = facts.escrow and facts.repository is not None  # what is sealed is sealed for an id
    mute = asked and not facts.sealed and answer.get("escrow") == "no"
    bad += faults(facts.host, answer, facts.now, escrow=asked and not mute, sealed=facts.sealed)
    bad += [_no_seal(name)] if mute else []
    bad += _configured(facts.host, answer)
    bad += _repository(facts, answer)
    words = f"borg {answer.get('borg', '?')}, agent {answer.get('agent', '?')}"
    if answer.get("opens") == "yes":
        words += ", its passphrase opens its key"
    return tuple(bad) or (Finding(name, Status.OK, words),)


def _split(output: str) -> tuple[str, dict[str, str]]:
    """What stands before the agent's first line, and its answer."""
    lines = output.split("\n")
    first = next((number for number, line in enumerate(lines) if line.startswith("agent ")), len(lines))
    return "\n".join(lines[:first]), answer_of("\n".join(lines[first:]))


def _noise(name: str, noise: str) -> Iterator[Finding]:
    if noise.strip():
        words = f"its login shell prints before the agent does ({noise.strip()[:60]!r}): borg cannot speak so"
        first = f"on {name}, as root: let these print in interactive shells only:"
        look = "ls -l ~/.bashrc ~/.profile ~/.bash_profile /etc/profile.d"
        yield Finding(name, Status.FAILED, words, remedy(look, first=first))


def sent(name: str, accepted: Sequence[str]) -> Iterator[Finding]:
    """sshd may let a client set these; the agent drops them, but root's login shell runs first."""
    if accepted:
        words = f"its sshd lets us set {', '.join(accepted)}: who has our key could run code by it"
        first = f"on {name}, as root: leave AcceptEnv LANG LC_* alone where it stands, then:"
        look = "/usr/sbin/sshd -T | grep -i acceptenv"
        lines = ("grep -ri acceptenv /etc/ssh", look, "systemctl reload ssh")
        yield Finding(name, Status.FAILED, words, remedy(*lines, first=first))


def _no_seal(name: str) -> Finding:
    words = (
        "its key is not in escrow, and it could seal it for nobody: no custodian is named there, or no age"
    )
    first = f"on {name}, as root, with an age1... key a line in /etc/zborg/custodians; then enrol it again:"
    return Finding(name, Status.WARNING, words, remedy("apt-get install age", first=first))


def _configured(host: Host, answer: Mapping[str, str]) -> Iterator[Finding]:
    """Agents from before a line existed say nothing of it."""
    name = host.name
    if (agent := answer.get("agent", "")) != AGENT:
        words = f"its agent is version {agent or '?'}, ours is {AGENT}"
        yield Finding(name, Status.FAILED, words, enrol(host))
    borg = answer.get("borg", "missing")
    if borg != "missing" and (fault := borg_fault(f"borg {borg}")):
        first = (
            f"{name} needs borg 1.2 or 1.4; borg = in /etc/zborg/agent.conf there names another one. Then:"
        )
        yield Finding(name, Status.FAILED, fault, remedy(f"zborg host test {name}", first=first))
    if answer.get("paths") == "no":
        words = f"no path in /etc/zborg/agent.conf on {name}: nothing would be backed up"
        yield Finding(name, Status.FAILED, words, on(name, "echo 'path = /etc' >>/etc/zborg/agent.conf"))


def _repository(facts: HostFacts, answer: Mapping[str, str]) -> Iterator[Finding]:
    """One side has it and the other does not: writing is refused, and a history may be lost."""
    name, known = facts.host.name, answer.get("initialised")
    if known == "yes" and facts.repository == "":
        words = "the host has a repository, and here there is none"
        first = "README, The server is gone, has the way; what snapshots hold:"
        fix = remedy(f"zborg restore list {name}", first=first)
        yield Finding(name, Status.FAILED, words, fix)
    if known == "no" and facts.repository:
        words = "a repository lies here, and the host knows of none"
        yield Finding(name, Status.FAILED, words, "README, The rebuilt host")


def other_form(host: Host, dataset: str, why: str) -> Finding:
    """A repository that borg 1 did not make."""
    words = f"{dataset} {why}; nothing of it is served"
    fix = remedy(
        command("zfs", "rename", dataset, f"{dataset}-other"),
        command("zborg", "init", host.name),
        first="as root on the storage; all is kept, and a new one of borg 1 begins:",
    )
    return Finding(host.name, Status.FAILED, words, fix)


def keyed_here(host: Host, dataset: str, root: str) -> Finding:
    """A repository that holds its own key (repokey)."""
    pool = root.partition("/")[0]
    if host.reverse:
        words = (
            "its repository holds its key (repokey): that its backups are secret from this server is not "
            "claimed"
        )
        first = "docs/reverse.md; with the tunnel without a port it gets a keyfile:"
        return Finding(host.name, Status.WARNING, words, remedy(enrol(host), first=first))
    words = "its repository holds its key (repokey): a server that shows an older state could read on"
    fix = remedy(
        command("zfs", "rename", dataset, f"{pool}/{host.name}-repokey"),
        f"zborg init {host.name}",
        f"zborg backup {host.name}",
    )
    return Finding(host.name, Status.FAILED, words, fix)


# --- targets ----------------------------------------------------------------------------------------


def open_door(target: Target, lines: Sequence[str]) -> Finding:
    """A target whose account can do more than a sink's."""
    words = f"{target.endpoint.user} has no sink there: an attacker on this server can destroy its copies"
    fix = remedy(*lines, first=f"docs/sink.md has all of it; on {target.name}, as root, it begins with:")
    return Finding(target.name, Status.WARNING, words, fix)


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
        yield Finding(facts.path, Status.FAILED, words, command("chmod", "go-w", facts.path))
    found = False
    for number, line in enumerate(facts.lines, 1):
        key = _KEY.search(_QUOTED.sub(lambda quoted: "_" * len(quoted[0]), line))
        if key and not line.lstrip().startswith("#"):
            found = True
            yield from _line(facts, number, line[: key.start()], line[key.start() :].strip())
    if not found:
        words = f"no key may come in as {facts.user}: nothing can arrive"
        first = "with the public key of the server in place of SERVER_KEY (docs/sink.md):"
        line = f"echo {quoted(f'{_forced(facts.root)} SERVER_KEY')} >>{quoted(facts.path)}"
        yield Finding(facts.path, Status.WARNING, words, remedy(line, first=first))


def _line(facts: DoorFacts, number: int, options: str, key: str) -> Iterator[Finding]:
    """`options` stand before the key."""
    command_ = _COMMAND.search(options)
    fix = _rewritten(facts, number, key)
    if command_ is None:
        yield Finding(facts.path, Status.FAILED, f"line {number} opens a shell for {facts.user}", fix)
        return
    run = re.fullmatch(r"\S*zborg sink (?:--raw )?(\S+?)(?: --raw)?", command_["command"])
    if run is None:
        words = f"line {number} runs {command_['command'][:60]!r}, which is no sink below {facts.root}"
        yield Finding(facts.path, Status.FAILED, words, fix)
    elif run[1] != facts.root:
        words = (
            f"line {number} lets its key reach below {run[1][:60]}; what arrives here is below {facts.root}"
        )
        yield Finding(facts.path, Status.FAILED, words, fix)
    if "restrict" not in _COMMAND.sub("", options).split(","):
        words = f"line {number} has no restrict: ports and agents of {facts.user} can be forwarded"
        yield Finding(facts.path, Status.FAILED, words, fix)


def _rewritten(facts: DoorFacts, number: int, key: str) -> str:
    """Replaces one line of authorized_keys by the key with its forced command."""
    text = f"{_forced(facts.root)} {key}".replace("\\", "\\\\").replace("&", "\\&").replace("|", "\\|")
    return command("sed", "-i", f"{number}s|.*|{text}|", facts.path)


def _forced(root: str) -> str:
    return f'restrict,command="/usr/local/bin/zborg sink {root}"'
