"""doctor's probe of accounts that keys open: who owns the files by which they are opened."""

from __future__ import annotations

from collections.abc import Iterator

from zborg.errors import CommandFailed
from zborg.model import Finding, Runner
from zborg.planning.doctor import walls as judge

_ASKING = 60.0


def home_of(runner: Runner, user: str) -> str:
    """By passwd(5), from whatever the system takes accounts from; "" when there is no such account."""
    try:
        fields = runner.run(["getent", "passwd", user], timeout=_ASKING).stdout.strip().split(":")
    except CommandFailed as error:
        if error.retryable:
            raise
        return ""
    return fields[5] if len(fields) > 6 else ""


def keys(runner: Runner, user: str, machine: str = "") -> Iterator[Finding]:
    """Its home, its .ssh and all in there have to be root's. `machine`: "" is this one."""
    home = home_of(runner, user).rstrip("/")
    if not home:
        return  # others say that the account is missing
    where = ["(", "-path", home, "-o", "-path", f"{home}/.ssh", "-o", "-path", f"{home}/.ssh/*", ")"]
    loose = ["(", "!", "-user", "0", "-o", "-perm", "-020", "-o", "-perm", "-002", ")"]
    try:
        found = runner.run(["find", home, "-maxdepth", "2", *where, *loose], timeout=_ASKING).stdout
    except CommandFailed as error:
        if error.retryable:
            raise
        return  # no home, and with it no keys
    yield from judge.door(user, found.split("\n")[:-1], machine)
