"""What an enrolment would change on which machine, and what keeps it from beginning. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from zborg.model.enrolment import HostFacts, Problem, Request
from zborg.model.text.units import size
from zborg.planning.hosts.agent_version import clock_words

# What no machine needs back, or what could not be used: caches, sockets, layers that can be fetched again.
EXCLUDES = (
    "/home/*/.cache",
    "/root/.cache",
    "/var/cache",
    "/var/lib/containers/storage/overlay",
    "/var/lib/docker/overlay2",
    "/var/lib/lxcfs",
    "/var/lib/zborg/borg/.cache",
    "/var/lib/zborg/restore",
    "/var/tmp",
)
_PATH = re.compile(r"/|(/(?!\.{1,2}(/|$))[^/\x00-\x1f\x7f]+)+")


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """What is there on this side."""

    dataset: str
    dataset_there: bool
    drop_in: str  # the file that would be written
    written: bool  # the configuration has this host already, the same
    repository: bool  # it holds an archive
    sealed: bool  # its key is in escrow


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that will be made, and on which machine."""

    machine: str
    words: str


@dataclass(frozen=True, slots=True)
class Plan:
    """Nothing is begun while there is a problem."""

    changes: tuple[Change, ...]
    problems: tuple[Problem, ...]
    remarks: tuple[str, ...]

    def lines(self) -> list[str]:
        """For people: one line each, the machine first."""
        wide = max((len(change.machine) for change in self.changes), default=0)
        parts = [f"{change.machine:<{wide}}  {change.words}" for change in self.changes]
        return [*parts, *(f"note: {words}" for words in self.remarks)] or ["nothing is missing"]


def plan(request: Request, server: ServerFacts, host: HostFacts | None, now: datetime) -> Plan:
    """`host` None: its owner has installed the agent, and only the server's side is ours."""
    changes = list(_before(request, server))
    problems, remarks = list(path_problems(request)), []
    if host:
        name = request.host.name
        changes += [Change(name, words) for words in _on_host(request, host)]
        problems += host.problems
        remarks = [*host.remarks, *filter(None, [clock_words(name, host.values, now)])]
        if request.paths and host.values.get("conf") == "there":
            remarks.append("/etc/zborg/agent.conf is there and stays: --path and --exclude change nothing")
        remarks += [f"{name} will back up {', '.join(host.paths)}"] if host.paths else []
    if not request.custodians:
        remarks.append("no escrow: without this host's own key and passphrase its backup is lost with it")
    changes += _after(request, server)
    return Plan(tuple(changes), tuple(problems), tuple(remarks))


def path_problems(request: Request) -> Iterator[Problem]:
    """What agent.conf could not hold."""
    for path in request.paths:
        if not _PATH.fullmatch(path) or path != path.strip():
            yield Problem(
                f"--path {path!r}: must be absolute, without . or .. and without control characters"
            )
    for pattern in request.excludes:
        if not pattern.isprintable() or pattern != pattern.strip() or not pattern:
            yield Problem(f"--exclude {pattern!r}: must be one line without blanks at its ends")


def _before(request: Request, server: ServerFacts) -> Iterator[Change]:
    if not server.dataset_there:
        limit = f", quota {size(request.quota)}" if request.quota else ", without a quota"
        yield Change(request.server, f"create {server.dataset}{limit}")


def _on_host(request: Request, host: HostFacts) -> Iterator[str]:
    """In the words of its facts; see zborg/hosts/enrol/."""
    answers = host.values
    if answers.get("agent") != "same":
        verb = "replace" if answers.get("agent") == "other" else "install"
        yield f"{verb} /usr/local/libexec/zborg-agent (root, 0755)"
    if answers.get("conf") != "there":
        yield "write /etc/zborg/agent.conf (root only)"
    if answers.get("custodians") == "none" and request.custodians:
        yield f"write /etc/zborg/custodians: {', '.join(request.custodians)}"
    if answers.get("passphrase") != "yes":
        yield "make a random passphrase in /etc/zborg/passphrase (root only)"
    if answers.get("keepalive") == "no":
        yield "write /etc/ssh/sshd_config.d/zborg.conf (ClientAliveInterval 15), and reload sshd"
    if answers.get("line") != "yes":
        keys = answers.get("authorized_keys", "authorized_keys")
        yield f"let the server's key run the agent and nothing else, in {keys}"


def _after(request: Request, server: ServerFacts) -> Iterator[Change]:
    if not server.written:
        yield Change(request.server, f"write {server.drop_in}")
    if not server.repository:
        yield Change(request.server, "make the repository, and a first small archive of agent.conf alone")
    if request.custodians and not server.sealed:
        count = len(request.custodians)
        yield Change(
            request.server,
            f"keep the host's key, sealed on the host for {count} custodian{'s'[: count != 1]}",
        )
