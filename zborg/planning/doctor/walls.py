"""doctor's judge of the walls around each `borg serve`, and of files that its account must not own. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from zborg.model import Finding, Status, Wall
from zborg.model.text.remedy import command, on, remedy

_LOOK = command("zborg", "doctor", "--only", "serving")


def unconfined(host: str, home: str, account: str) -> Finding:
    """Its owner or its mode is not what borg/storage/confine.py makes."""
    whose = f"for {account} to write in" if account else "with a number of this host's own"
    words = f"{home} is not root's with mode 1770, {whose}: a hostile host could throw its repository away"
    return Finding(host, Status.FAILED, words, command("zborg", "init", host))


def unwritable(host: str, home: str, paths: Sequence[str], uid: int, machine: str) -> Finding:
    """What lies in a repository and is not its account's to write in. `machine`: "" is this one."""
    more = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
    words = (
        f"its borg serve runs as user {uid} and cannot write {paths[0]}{more}: every backup of {host} fails"
    )
    inside = ("find", home, "-mindepth", "1", "!", "-name", "config", "!", "-type", "l", "-execdir")
    lines = (
        command(*inside, "chown", "-h", str(uid), "{}", "+"),
        command(*inside, "chmod", "u+rwX", "{}", "+"),
    )
    return Finding(host, Status.FAILED, words, on(machine, *lines) if machine else remedy(*lines))


def serving(host: str, wall: Wall | None, storage: str) -> Finding:
    """What stands around a `borg serve` that was started just now. `storage`: "" is this machine."""
    if wall is None:
        where = storage or "this machine"
        words = f"it starts without a report of its wall: zborg-serve on {where} is older than this zborg"
        return Finding("borg serve", Status.WARNING, words, command("zborg", "init"))
    if not wall.stands:
        first = (
            f"{storage or 'this machine'} needs bubblewrap, or Linux 6.2 for Landlock ABI 3; then look again:"
        )
        words = f"no wall stands around it for {host}: code run in it could read what other hosts store"
        return Finding("borg serve", Status.WARNING, words, remedy(_LOOK, first=first))
    if not wall.no_network:
        first = f"allow ordinary users of {storage or 'this machine'} user namespaces; look again:"
        return Finding(
            "borg serve",
            Status.WARNING,
            f"can be started for {host}, behind {wall}",
            remedy(_LOOK, first=first),
        )
    return Finding("borg serve", Status.OK, f"can be started for {host}, behind {wall}")


def behind_sshd(hosts: Sequence[str]) -> Iterator[Finding]:
    """Their `borg serve` is started by an sshd of this server, without our script."""
    if hosts:
        words = f"no wall stands around that of {', '.join(hosts)}: the server's sshd starts it"
        first = f"give {'it' if len(hosts) == 1 else 'each'} the agent (docs/agent.md), then look again:"
        yield Finding("borg serve", Status.WARNING, words, remedy(_LOOK, first=first))


# --- files by which one comes in ----------------------------------------------------------------------


def door(user: str, writable: Sequence[str], machine: str) -> Iterator[Finding]:
    """`writable`: what the account could write of its home, its .ssh and the files there.

    Code that runs in the account would add a key of its own, and so have a shell. `machine`: "" is this one.
    """
    if not writable:
        return
    words = f"{', '.join(writable)} can be written by {user}: code that runs as it could open itself a shell"
    lines = (command("chown", "root:root", *writable), command("chmod", "u=rwX,go=rX", *writable))
    yield Finding(user, Status.FAILED, words, on(machine, *lines) if machine else remedy(*lines))
