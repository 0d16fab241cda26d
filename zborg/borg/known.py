"""What the codes and exit statuses of the agent, and borg's message ids, mean for a reader.

Message ids are those of borg's documentation, "Message IDs"; the agent's statuses are docs/agent.md's. Every
table is made for one host, so that its remedies can be typed.
"""

from __future__ import annotations

from enum import IntEnum

from zborg.borg import damage
from zborg.borg.meaning import Meaning
from zborg.model import Status
from zborg.model.codes import Agent as Code
from zborg.model.text.agent_conf import DEFAULT
from zborg.model.text.remedy import command, on, remedy


class Agent(IntEnum):
    """The agent's own exit statuses."""

    TOO_LONG = 67
    MISMATCH = 70
    BUSY = 75
    ALARM = 76
    PATH_MISSING = 77
    NOT_NOW = 78
    HOOK = 79


_AGENT = "/usr/local/libexec/zborg-agent"
_PASSPHRASE = "/etc/zborg/passphrase"
_BORGS = command("ps", "-C", "borg", "-o", "pid,lstart,args")
_KEY_GONE = "restore the key from its safe copy; without it nothing can be read (README, The host is gone)"


def of_refusal(code: Code | None, host: str) -> str:
    """The remedy for a refusal of the agent's; "" for one that has none."""
    return _refusals(host).get(code, "") if code else ""


def _refusals(host: str) -> dict[Code, str]:
    return {
        Code.NO_BORG: remedy(
            command("apt-get", "install", "borgbackup"),
            first=f"on {host}, as root, install borg 1.2 or newer, or set borg in {DEFAULT}:",
        ),
        Code.PASSPHRASE: on(host, command(_AGENT, "--setup", host)),
        Code.NO_REPOSITORY: (
            "the dataset holds a repository for which the host has no key: README, The host is gone"
        ),
        Code.REPOSITORY: "the host has a key, the dataset no repository: README, The host is gone",
        Code.NO_KEY: _KEY_GONE,
        Code.NO_PATHS: remedy(command("cat", DEFAULT), first=f"on {host}, as root, add a line path = /...:"),
        Code.NOT_IN_ARCHIVE: remedy(
            command("zborg", "restore", "list", host), first="look for it in another snapshot:"
        ),
        Code.DRILL_OFF: remedy(
            command("cat", DEFAULT), first=f"on {host}, as root, a line drill = yes allows them:"
        ),
        Code.NO_SAMPLE: command("zborg", "backup", host),
        Code.RESTORE_LIMIT: remedy(
            command("df", "-h"), first=f"on {host}, as root, free space, or allow more bytes:"
        ),
    }


def of_status(status: int, host: str) -> Meaning | None:
    """What a verb came to that ended with a status of the agent's; its message is for when it gave none."""
    match status:
        case Agent.BUSY:
            wait = remedy(_BORGS, first=f"wait for it to end; on {host}, as root:")
            return Meaning(Status.BUSY, "another verb runs on the host", wait)
        case Agent.PATH_MISSING:
            first = f"on {host}, as root, correct or remove that path:"
            look = remedy(command("cat", DEFAULT), first=first)
            return Meaning(Status.FAILED, "a path of agent.conf is not there", look)
        case Agent.NOT_NOW:
            return Meaning(Status.SKIPPED, "the host does not allow it now", "")
        case Agent.HOOK:
            look = on(host, command("tail", "-n", "20", "/var/lib/zborg/hooks.log"))
            return Meaning(Status.FAILED, "a hook of agent.conf failed", look)
        case _:
            return None


def alarm(text: str, host: str) -> Meaning:
    """Nothing will run on the host until root has looked. `text`: the agent's own words."""
    first = f"learn the reason before removing the alarm (docs/agent.md, Keys); on {host}, as root:"
    look = remedy(command("cat", "/var/lib/zborg/alarm"), first=first)
    return Meaning(Status.CONFLICT, text or "the host raised an alarm", look)


def too_long(text: str, host: str) -> Meaning:
    """The agent ended borg after `max_time`."""
    first = f"if it was at work all that time, raise max_time on {host}:"
    return Meaning(Status.FAILED, text, remedy(command("cat", DEFAULT), first=first))


def mismatch(text: str, host: str) -> Meaning:
    """A drill read something else than the host backed up."""
    return Meaning(Status.DAMAGED, text, command("zborg", "verify", host))


def no_agent(text: str, host: str) -> Meaning:
    """The host has no agent, or the forced command has another path."""
    look = remedy(
        command("ls", "-l", _AGENT),
        first=f"agent.sh is missing (docs/agent.md, Installation by hand); on {host}, as root:",
    )
    return Meaning(Status.FAILED, text or "there is no agent on the host", look)


def storage_full(dataset: str = "") -> Meaning:
    """`dataset` of the host, where it is known: it or its pool is full."""
    first = "on the storage, as root, see which limit it is, then free space or raise the quota:"
    look = command("zfs", "list", "-o", "space,quota,refquota", *([dataset] if dataset else []))
    message = f"the storage is full: {dataset} cannot grow" if dataset else "the storage is full"
    return Meaning(Status.FAILED, message, remedy(look, first=first))


def of_msgid(msgid: str, host: str, dataset: str = "") -> Meaning | None:
    """borg 1.2 names an error of `borg serve` by its class alone, without the class it stands in (tried)."""
    table = by_msgid(host, dataset)
    return table.get(msgid) or table.get(f"Repository.{msgid}")


def by_msgid(host: str, dataset: str = "") -> dict[str, Meaning]:
    """Every message id that has a meaning beyond borg's own words."""
    return _locks(host) | _keys(host) | _repositories(host, dataset) | damage.KNOWN


def _locks(host: str) -> dict[str, Meaning]:
    wait = remedy(_BORGS, first=f"wait for the borg that holds it; on {host}, as root:")
    locked = "the repository or the cache is locked by another borg"
    return {
        "LockTimeout": Meaning(Status.BUSY, locked, wait),
        "LockError": Meaning(Status.BUSY, "borg could not take its lock", wait),
    }


def _keys(host: str) -> dict[str, Meaning]:
    look = command("ls", "-l", _PASSPHRASE)
    right = remedy(look, first=f"on {host}, as root, write the right passphrase into this file:")
    gone = "the host has lost the key of its repository"
    return {
        "PassphraseWrong": Meaning(Status.FAILED, "the host's passphrase does not open its key", right),
        "PasscommandFailure": Meaning(Status.FAILED, "the host cannot read its passphrase", on(host, look)),
        "NoPassphraseFailure": Meaning(
            Status.FAILED, "the host has no passphrase", on(host, command(_AGENT, "--setup", host))
        ),
        "KeyfileNotFoundError": Meaning(Status.FAILED, gone, _KEY_GONE),
    }


def _repositories(host: str, dataset: str) -> dict[str, Meaning]:
    runs = command("zborg", "history", host)
    replaced = remedy(runs, first="see who replaced it; a copy rolled back is for reading only:")
    stranger = remedy(runs, first="see who replaced it; never answer borg's question blindly:")
    pool = remedy(
        command("zpool", "status", "-v"),
        first="on the storage, as root, look at the pool first; a clone of an older snapshot may be whole:",
    )
    rolled_back = "the repository is older than what the host has seen: it was rolled back, or worse"
    return {
        "Repository.DoesNotExist": Meaning(
            Status.FAILED, "there is no repository in the dataset", command("zborg", "backup", host)
        ),
        "Repository.InvalidRepository": Meaning(
            Status.DAMAGED, "the dataset holds no valid repository", pool
        ),
        "Repository.CheckNeeded": Meaning(Status.DAMAGED, "the repository is inconsistent", pool),
        "Repository.InsufficientFreeSpaceError": storage_full(dataset),
        "Cache.RepositoryReplay": Meaning(Status.CONFLICT, rolled_back, replaced),
        "Cache.RepositoryAccessAborted": Meaning(
            Status.CONFLICT, "the repository is not the one the host knows", stranger
        ),
        "Cache.EncryptionMethodMismatch": Meaning(
            Status.CONFLICT, "the repository's encryption changed", stranger
        ),
    }
