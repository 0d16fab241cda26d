"""What failed on the way to another machine, as an error with its remedy."""

from __future__ import annotations

import re

from zborg.errors import CommandFailed, HostKeyChanged, KeyRefused, Unreachable
from zborg.hosts.ssh import algorithms as agreement
from zborg.hosts.ssh.identity import check_identity
from zborg.model import Endpoint
from zborg.model.codes import CONF
from zborg.model.codes.lines import agent_reason, without_codes
from zborg.model.keys import fingerprint
from zborg.model.text import agent_conf
from zborg.model.text.remedy import command, on, remedy

_NOT_FOUND = 127  # the shell's
REFUSED = 255  # ssh's own status: the connection, not the command, failed
_NO_LOGIN = re.compile("This account is currently not available|This account is not available")  # nologin(8)
_FINGERPRINT = re.compile(r"SHA256:[A-Za-z0-9+/]{43}")
# Where ssh repeats text of the other side, with its newlines: nothing behind it is taken for ssh's own.
_REPEATED = re.compile(r"Received disconnect from |banner line \d+: ")


def explain(alias: str, endpoint: Endpoint, status: int, stderr: str) -> CommandFailed:
    """What ssh's status 255 and its own log mean. For other statuses: the command's own failure.

    With 255 `stderr` is what ssh or paramiko logged, and never what the far side printed.
    """
    argv = ("ssh", str(endpoint))
    if status != REFUSED:
        words, advice = f"a command on {shown(alias)} ended with status {status}", ""
        if status == _NOT_FOUND:
            advice = "has our key its forced command in authorized_keys there, with the right path? (README)"
        elif _NO_LOGIN.search(stderr):
            words = f"the account {endpoint.user} on {shown(alias)} may not log in (status {status})"
            advice = on(shown(alias), command("usermod", "--shell", "/bin/sh", endpoint.user))
        else:
            advice = _conf_advice(shown(alias), stderr)
        return CommandFailed(argv, status, without_codes(stderr), words, advice)
    own = _REPEATED.split(stderr, maxsplit=1)[0]
    # First: what such a line repeats of the other side's offer may hold the messages below.
    if mismatch := agreement.of_openssh(own, endpoint):
        return agreement.failure(shown(alias), endpoint, mismatch)
    if "Host key verification failed" in own or "IDENTIFICATION HAS CHANGED" in own:
        offered = _FINGERPRINT.search(own)
        return key_changed(alias, endpoint, offered.group() if offered else "an unknown fingerprint")
    if "Permission denied" in own:
        return _key_refused(alias, endpoint)
    return unreachable(alias, endpoint, stderr)


def _conf_advice(host: str, stderr: str) -> str:
    """The lines of agent.conf that the agent refuses, "" where it is about something else."""
    found = filter(None, map(agent_reason, stderr.splitlines()))
    return next((agent_conf.advice(host, one.text) for one in found if one.code in CONF), "")


def unreachable(alias: str, endpoint: Endpoint, stderr: str) -> Unreachable:
    """No connection, for none of the reasons that `explain` knows."""
    remedy = "is it up, and the port right?"
    if any(words in stderr for words in ("banner", "Connection reset", "Not allowed at this time")):
        remedy += " It may refuse this address after failed logins (PerSourcePenalties): wait a minute"
    message = f"no connection to {shown(alias)} ({endpoint})"
    return Unreachable(("ssh", str(endpoint)), REFUSED, stderr, message, remedy)


def _key_refused(alias: str, endpoint: Endpoint) -> KeyRefused:
    """ssh says the same when the machine refuses our key, and when it would not even use it."""
    try:
        check_identity(endpoint)
    except KeyRefused as error:
        return error
    remedy = f"is {endpoint.identity}.pub in the authorized_keys of {endpoint.user} there?"
    message = f"{shown(alias)} ({endpoint}) refuses our key"
    return KeyRefused(("ssh", str(endpoint)), REFUSED, "", message, remedy)


def shown(alias: str) -> str:
    """An alias in words: storage and targets have one with a dot, so that no host's can be theirs."""
    kind, dot, name = alias.partition(".")
    if not dot:
        return alias
    return "the storage" if name == "storage" else f"{kind} {name}"


def key_changed(alias: str, endpoint: Endpoint, offered: str) -> HostKeyChanged:
    """Both fingerprints, because comparing them is what the reader has to do next."""
    return HostKeyChanged(
        ("ssh", str(endpoint)),
        REFUSED,
        "",
        f"{shown(alias)} is not who it was: pinned {fingerprint(endpoint.host_key)}, it showed {offered}; "
        "nothing was sent",
        remedy(
            "ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub",
            first=f"on {shown(alias)}, compare; if the key is new, that file is host_key in zborg.toml:",
        ),
    )


def lost(alias: str, endpoint: Endpoint, words: str) -> Unreachable:
    """The connection stood, and broke."""
    message = f"lost the connection to {shown(alias)}"
    return Unreachable(("ssh", str(endpoint)), REFUSED, words, message, "the next run goes on")
