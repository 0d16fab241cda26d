"""What an ended verb came to: statuses, message ids and reports of the agent as (status, message, remedy).

Errors are told by `msgid` first and the exit status second, because modern exit codes exist only from
borg 1.4 on.
"""

from __future__ import annotations

import re

from zborg.borg import agent, damage, denied
from zborg.borg.log import AGENT_PREFIX, CHATTER, STORAGE_PREFIX, BorgLog, of_host
from zborg.model import Status, agent_conf
from zborg.model.remedy import command, remedy

Meaning = tuple[Status, str, str]

# The agent's own statuses (docs/agent.md).
AGENT_TOO_LONG = 67
AGENT_BUSY, AGENT_ALARM, AGENT_PATH_MISSING, AGENT_NOT_NOW, AGENT_HOOK = 75, 76, 77, 78, 79
NOT_FOUND = 127  # the agent's, when borg is missing; the shell's, when the agent is
_MAY_BE_WORSE = (Status.OK, Status.WARNING, Status.FAILED)
_WITHHELD = "withheld (report_paths = no)"

_SERVE = "zborg-serve: "  # serve.sh
_CLOSED = "ConnectionClosed"  # and ConnectionClosedWithHint: `borg serve` ended before borg did
# What borg appends to an error of its own or of `borg serve`: versions, not reasons.
_PLATFORM = ("Platform: ", "Borg server: Platform: ")
# The same of a `borg serve` whose client is gone, and its traceback, which says no more than that.
_TRAILER = re.compile(
    r"( |Traceback |(Platform|Linux|Borg|PID|sys\.argv|SSH_ORIGINAL_COMMAND|BrokenPipeError): "
    r"|.*Got connection close before repository was opened)"
)
_FULL = re.compile(r"\[Errno (28|122)\]")  # ENOSPC, EDQUOT
_NO_AGENT = re.compile(r"zborg-agent: (No such file|not found)")  # what a shell says of it
_INSTALL_AGENT = "install agent.sh there (docs/agent.md, Installation by hand)"
# Words in the agent's refusals -> the mend.
_REFUSALS = (
    ("borg is not installed", "install borg on the host (1.2 or newer), or set borg in its agent.conf"),
    ("/passphrase must be there", "on the host: zborg-agent --setup NAME"),
    (
        "init comes first",
        "the dataset holds a repository for which the host has no key: README, The host is gone",
    ),
    ("a second init needs root", "the host has a key, the dataset no repository: README, The host is gone"),
    (
        "the key file of this repository is gone",
        "restore the key from its safe copy; without it nothing can be read",
    ),
    ("no path in", "name what to back up in /etc/zborg/agent.conf on the host"),
    ("a path is not in the archive", "look for it in another snapshot: --at"),
    ("restore stopped", "allow more bytes, or free space on the host"),
)

# The agent's status -> what the verb came to, and the mend; the agent has its own words for it.
_AGENTS = {
    AGENT_BUSY: (Status.BUSY, "another verb runs on the host", "wait for it"),
    AGENT_PATH_MISSING: (
        Status.FAILED,
        "a path of agent.conf is not there",
        remedy(command("cat", "/etc/zborg/agent.conf"), first="on the host, correct or remove that path:"),
    ),
    AGENT_NOT_NOW: (Status.SKIPPED, "the host does not allow it now", ""),
    AGENT_HOOK: (
        Status.FAILED,
        "a hook of agent.conf failed",
        "look at /var/lib/zborg/hooks.log on the host",
    ),
}

_FREE_STORAGE = "on the storage, as root, see which limit it is, then free space or raise the quota:"
_STORAGE_FULL = (
    Status.FAILED,
    "the storage is full",
    remedy(command("zfs", "list", "-o", "space,quota,refquota"), first=_FREE_STORAGE),
)

# msgid (borg's docs, "Message IDs") -> what it means for a reader, and the mend.
_KNOWN = {
    "LockTimeout": (
        Status.BUSY,
        "the repository or the cache is locked by another borg",
        "wait for it; a lock without an owner is broken with `borg break-lock` on the host",
    ),
    "LockError": (Status.BUSY, "borg could not take its lock", "look for another borg on the host"),
    "PassphraseWrong": (
        Status.FAILED,
        "the host's passphrase does not open its key",
        "put the right passphrase into /etc/zborg/passphrase on the host",
    ),
    "PasscommandFailure": (
        Status.FAILED,
        "the host cannot read its passphrase",
        "look at /etc/zborg/passphrase on the host",
    ),
    "NoPassphraseFailure": (
        Status.FAILED,
        "the host has no passphrase",
        "run `zborg-agent --setup NAME` on the host",
    ),
    "KeyfileNotFoundError": (
        Status.FAILED,
        "the host has lost the key of its repository",
        "restore the key from its safe copy; without it nothing can be read",
    ),
    "Repository.DoesNotExist": (Status.FAILED, "there is no repository in the dataset", "run `zborg backup`"),
    "Repository.InvalidRepository": (
        Status.DAMAGED,
        "the dataset holds no valid repository",
        "look at it, and at its last good snapshot",
    ),
    "Repository.CheckNeeded": (
        Status.DAMAGED,
        "the repository is inconsistent",
        "look at the pool first; then borg check on a clone of it",
    ),
    "Repository.InsufficientFreeSpaceError": _STORAGE_FULL,
    "Cache.RepositoryReplay": (
        Status.CONFLICT,
        "the repository is older than what the host has seen: it was rolled back, or worse",
        "find out who replaced it; a rolled-back repository is for reading only, write to a new one",
    ),
    "Cache.RepositoryAccessAborted": (
        Status.CONFLICT,
        "the repository is not the one the host knows",
        "find out who replaced it; never answer borg's question blindly",
    ),
    "Cache.EncryptionMethodMismatch": (
        Status.CONFLICT,
        "the repository's encryption changed",
        "find out who replaced it",
    ),
    **damage.KNOWN,
}


def judge(status: int, log: BorgLog) -> Meaning:
    """(status, message, remedy) of an ended verb; ssh's own failures (255) are not judged here."""
    judged = _judge(status, log)
    return damage.of_server(log.broken) if log.broken and judged[0] in _MAY_BE_WORSE else judged


def _judge(status: int, log: BorgLog) -> Meaning:
    if status == 0:
        return Status.OK, "", ""
    words = _last_words(log)
    if stopped := _stopped_by_agent(status, log, words):
        return stopped
    known = next(filter(None, (_known(msgid) for msgid, _ in log.errors)), None)
    if known := known or damage.of_errors(log.errors) or denied.of_errors(log.errors):
        return _placed(known, log)
    if status == AGENT_HOOK and log.ran:  # a bad `before` ends the run, so this was `after` a good backup
        return Status.WARNING, words, _AGENTS[AGENT_HOOK][2]
    if status in _AGENTS:
        judged, otherwise, mend = _AGENTS[status]
        return judged, words or otherwise, agent_conf.advice(log.host, words) or mend
    if refused := _refused(log):
        return refused
    if status == NOT_FOUND or any(_NO_AGENT.search(line) for line in log.plain):
        return Status.FAILED, words or "there is no agent on the host", _INSTALL_AGENT
    if log.ran and (status == 1 or 100 <= status < NOT_FOUND) and not log.errors:
        return log.warnings.judge(log.host)
    return _unexplained(status, log) or (Status.FAILED, words or f"borg ended with status {status}", "")


def _stopped_by_agent(status: int, log: BorgLog, words: str) -> Meaning | None:
    """What counts whatever borg said before."""
    if status == AGENT_ALARM:  # nothing will run there until root has looked
        told = next((line for line in log.plain if line.startswith(f"{AGENT_PREFIX}ALARM")), words)
        return Status.CONFLICT, told or "the host raised an alarm", "read docs/agent.md, Keys"
    if status == AGENT_TOO_LONG:  # borg's last words are about the signal that ended it
        told = next((line for line in reversed(log.plain) if line.startswith(AGENT_PREFIX)), words)
        first = f"if it was at work all that time, raise max_time on {log.host or 'the host'}:"
        return Status.FAILED, told, remedy(command("cat", "/etc/zborg/agent.conf"), first=first)
    if status == agent.BROKEN and log.report.broken:
        return log.report.broken_file(log.host)
    return log.report.no_room(log.host) if status == agent.NO_ROOM else None


def _refused(log: BorgLog) -> Meaning | None:
    refusals = (line for line in log.plain if line.startswith(AGENT_PREFIX) and not _is_chatter(line))
    refusal = next(refusals, "")
    known = next((remedy for part, remedy in _REFUSALS if part in refusal), "")
    advice = agent_conf.advice(log.host, refusal) or known
    return (Status.FAILED, refusal, advice) if refusal and (advice or not log.errors) else None


def _unexplained(status: int, log: BorgLog) -> Meaning | None:
    """What borg's own words do not say: the reason lies in the machines around it."""
    if full := [text for _, text in log.errors if _FULL.search(text)]:
        ours = any(damage.at_serve(text) for text in full)
        return _placed(_STORAGE_FULL, log) if ours else log.report.no_room(log.host)
    if log.garbled:
        return agent.garbled(log.host)
    if not log.started and 0 <= status < 255:
        return agent.mute(log.host, status, " / ".join(log.plain[-3:]))
    if log.errors:
        only_closed = all(msgid.startswith(_CLOSED) for msgid, _ in log.errors)
        return agent.serve_ended(log.dataset) if only_closed and not log.served else None
    if log.report.left:
        return log.report.no_room(log.host)
    if log.ran and 128 < status < 255:
        return agent.ended_by_signal(log.host, status, out_of_memory=log.report.out_of_memory)
    return None


def _placed(meaning: Meaning, log: BorgLog) -> Meaning:
    """A full storage is a full dataset of this host, or a full pool."""
    if meaning is not _STORAGE_FULL or not log.dataset:
        return meaning
    look = command("zfs", "list", "-o", "space,quota,refquota", log.dataset)
    return meaning[0], f"{meaning[1]}: {log.dataset} cannot grow", remedy(look, first=_FREE_STORAGE)


def _known(msgid: str) -> Meaning | None:
    """borg 1.2 names an error of `borg serve` by its class alone, without the class it stands in (tried)."""
    return _KNOWN.get(msgid) or _KNOWN.get(f"Repository.{msgid}")


def _is_chatter(line: str) -> bool:
    return line.startswith(CHATTER) or line.endswith(_WITHHELD)


def _last_words(log: BorgLog) -> str:
    """The reason in somebody's words: borg's on the host, the agent's, the storage's, or anybody's."""
    told = [line for line in log.plain if not _is_chatter(line)]
    served = [line for line in log.served if not _TRAILER.match(line)]
    # That the connection closed is what borg sees of somebody else's reason.
    own = [text for msgid, text in log.errors if not msgid.startswith(_CLOSED)]
    if reasons := [text for text in own if text and not text.startswith(_PLATFORM)]:
        return of_host(reasons[-1].splitlines()[-1])  # of a traceback the last line
    # borg answers a bad option with pages of usage and one line that says which.
    for mark in (AGENT_PREFIX, ": error: "):
        if lines := [line for line in told if mark in line]:
            return of_host(lines[-1])
    if served:
        refused = [line for line in served if line.startswith(_SERVE)]
        return f"{STORAGE_PREFIX}{(refused or served)[-1]}"
    return of_host(log.errors[-1][1]) if log.errors else " / ".join(map(of_host, told[-3:]))
