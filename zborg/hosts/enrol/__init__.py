"""The script that enrols a host: made whole, fed through the operator's session, its answers read.

The text is whole in itself: `zborg host bundle` prints the same for an owner who alone may enter.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence

from zborg.errors import CommandFailed, TimedOut, Unreachable
from zborg.hosts import agent, joined
from zborg.hosts.ssh.connection import SshRunner
from zborg.model.enrolment import HostFacts, Problem, Request
from zborg.model.keys import fingerprint
from zborg.model.text.units import printable

_END = "zborg_end_of_agent"
_SUDO = "let this user run sh by sudo without a password, or go in as root"
_QUICK = 60.0
_SLOW = 180.0  # an install waits for another one, for sshd, for /dev/urandom on a young machine
_ANSWER = 256 << 10
_FACT = re.compile(r"[a-z_]{1,32} \S.*")
_MADE = re.compile(r"[a-z]{1,12}:[\w./@+=, -]{1,1000}", re.ASCII)
_HEADER = """\
#!/bin/sh
# Makes this machine the host "{name}" of the zborg backup server "{server}". Read it, then run it as root:
#
#     sh {name}.sh probe     looks, and changes nothing
#     sh {name}.sh           does it, and prints one line to send back
#
# It installs the agent (its text is below), its configuration and a random passphrase, lets sshd notice dead
# connections, and lets the server's key, {fingerprint},
# run the agent and nothing else. What is backed up stays the decision of /etc/zborg/agent.conf, here.

"""


def text(request: Request, url: str = "", settings: Mapping[str, str] | None = None) -> str:
    """The whole script. `url` is the host's address as its owner gave it; `settings` are for tests."""
    shown = fingerprint(request.server_key)
    variables = {
        "name": request.host.name,
        "server": request.server,
        "server_key": request.server_key,
        "fingerprint": shown,
        "url": url,
        "wanted_paths": "\n".join(request.paths),
        "excludes": "\n".join(request.excludes),
        "custodians": "\n".join(request.custodians),
        **(settings or {}),
    }
    # In a comment: a name with a line break would end it.
    server = printable(request.server)
    header = _HEADER.format(name=request.host.name, server=server, fingerprint=shown)
    assigned = "".join(f"{key}={shlex.quote(value)}\n" for key, value in variables.items())
    quoted = f"agent() {{\n    cat <<'{_END}'\n{agent.script()}{_END}\n}}\n"
    body = joined("enrol")
    # Its own stdin is this text: nothing that it starts may read from there. In braces, because a connection
    # may break anywhere, and `main` without its words would be what an owner runs.
    return f'{header}{assigned}\n{body}\n{quoted}\n{{ main "$@"; }} </dev/null\n'


def facts_of(answer: str) -> HostFacts:
    """What `probe` printed. Lines that it would not print are passed over: another machine's words."""
    values: dict[str, str] = {}
    paths, problems, remarks = [], [], []
    keys: dict[str, str] = {}
    for line in answer.split("\n"):
        if not _FACT.fullmatch(line):
            continue
        key, _, value = line.partition(" ")
        if key == "path":
            paths.append(value)
        elif key == "problem":
            message, _, remedy = value.partition(" -> ")
            problems.append(Problem(message, remedy))
        elif key == "remark":
            remarks.append(value)
        elif key == "key" and value.count(" ") == 2:
            file, _, half = value.partition(" ")
            keys[file] = half
        else:
            values.setdefault(key, value)
    return HostFacts(values, tuple(paths), tuple(problems), tuple(remarks), keys)


def made_of(answer: str) -> tuple[str, ...]:
    """What `install` says it made, in undo's words; nothing else of its answer is ever sent back."""
    lines = (line.removeprefix("made ") for line in answer.split("\n") if line.startswith("made "))
    return tuple(line for line in lines if _MADE.fullmatch(line))


class OperatorEntry:
    """A model.enrolment.Entry through the operator's own SSH access."""

    def __init__(self, runner: SshRunner, script: str, *, sudo: bool) -> None:
        self._runner, self._script = runner, script
        self._shell = ["sudo", "-n", "sh"] if sudo else ["sh"]

    def probe(self) -> HostFacts:
        return facts_of(self._run("probe"))

    def install(self) -> tuple[str, ...]:
        return made_of(self._run("install", timeout=_SLOW))

    def undo(self, made: Sequence[str]) -> None:
        self._run("undo", *reversed(made))

    def finish(self) -> None:
        self._run("finish")

    def authorized(self) -> tuple[str, ...]:
        lines = self._run("keys").split("\n")
        return tuple(line.removeprefix("key ") for line in lines if line.startswith("key "))

    def add_key(self, key: str) -> None:
        self._run("add-key", key)

    def drop_key(self, key: str) -> None:
        self._run("drop-key", key)

    def _run(self, *words: str, timeout: float = _QUICK) -> str:
        command = shlex.join([*self._shell, "-s", "--", *words])
        try:
            done = self._runner.run_command(command, timeout=timeout, stdin=self._script, max_bytes=_ANSWER)
        except TimedOut as error:
            output = f"{self._runner.alias}, {words[0]}: no answer within {timeout:g} s"
            raise TimedOut(error.argv, -1, "", output, "does its shell or `borg --version` hang?") from error
        except CommandFailed as error:
            if isinstance(error, Unreachable) or error.status < 0:
                raise
            raise self._told(words[0], error) from error
        return done.stdout

    def _told(self, verb: str, error: CommandFailed) -> CommandFailed:
        """The script's own last words; without any it did not begin, perhaps for want of sudo."""
        own = [line[7:] for line in error.stderr.splitlines() if line.startswith("zborg: ")]
        output = own[-1] if own else error.stderr.strip()
        output = output or f"no shell began there (status {error.status}): which is this user's login shell?"
        fix = "" if own or len(self._shell) == 1 else _SUDO
        return CommandFailed(error.argv, error.status, "", f"{self._runner.alias}, {verb}: {output}", fix)
