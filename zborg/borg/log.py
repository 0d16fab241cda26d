"""What borg and the agent say on stderr, read line by line.

Three kinds of lines arrive mixed: borg's JSON log (`--log-json`), borg's stdout prefixed with "= "
by the agent, and plain words (the agent's, ssh's, a traceback's). Errors are told by `msgid`
first and the exit status second, because modern exit codes exist only from borg 1.4 on.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from zborg.borg import damage, denied
from zborg.model import Speaker, Status, utc_now
from zborg.model.words import counted

STDOUT_PREFIX = "= "
# The agent's own statuses (docs/agent.md).
AGENT_BUSY, AGENT_ALARM, AGENT_PATH_MISSING, AGENT_NOT_NOW, AGENT_HOOK = 75, 76, 77, 78, 79
_LOCK_TIMEOUT = 73  # borg's, of its modern exit codes
NOT_FOUND = 127  # the agent's, when borg is missing; the shell's, when the agent is
_KEPT_LINES = 40
_LAST_LINES, _LAST_LINE = 8, 300  # lines of each side, and characters of each, that go with a failure
_LONGEST = 4000  # characters of one message; what a host says may have no end
_MOST = 16 << 20  # characters of borg's own output
_AGENT = "zborg-agent: "
_MAY_BE_WORSE = (Status.OK, Status.WARNING, Status.FAILED)
_STORAGE = "storage: "  # what people see before a line of `borg serve`
_SERVE = "zborg-serve: "  # serve.sh
_HOST = "host: "  # and before one of the host that would look like it
_CLOCK = re.compile(r"zborg-agent: clock ([0-9]{1,11})")  # the first line of every verb
_CHATTER = ("zborg-agent: borg ended with",)  # said after every verb
_WITHHELD = "withheld (report_paths = no)"
# What borg appends to an error of its own or of `borg serve`: versions, not reasons.
_PLATFORM = ("Platform: ", "Borg server: Platform: ")
_FULL = re.compile(r"\[Errno (28|122)\]")  # ENOSPC, EDQUOT
_NO_AGENT = re.compile(r"zborg-agent: (No such file|not found)")  # what a shell says of it
_INSTALL_AGENT = "install agent.sh there (docs/agent.md, Installation by hand)"
_TELL_PATHS = "report_paths = yes in the host's agent.conf lets it name the files"
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
        "mend or remove that path in agent.conf on the host",
    ),
    AGENT_NOT_NOW: (Status.SKIPPED, "the host does not allow it now", ""),
    AGENT_HOOK: (
        Status.FAILED,
        "a hook of agent.conf failed",
        "look at /var/lib/zborg/hooks.log on the host",
    ),
}

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
    "Repository.InsufficientFreeSpaceError": (
        Status.FAILED,
        "the storage is full",
        "free space in the pool or raise the dataset's quota",
    ),
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


@dataclass
class BorgLog:
    """Everything one borg command said. Feed it every line; ask afterwards."""

    errors: list[tuple[str, str]] = field(default_factory=list)  # (msgid, message)
    warnings: int = 0
    warned: list[str] = field(default_factory=list)  # their words, where the host lets them out
    stdout: list[str] = field(default_factory=list)
    plain: list[str] = field(default_factory=list)  # the host's newest lines that are not JSON
    served: list[str] = field(default_factory=list)  # and the storage's
    broken: str = ""  # the newest line in which `borg serve` tells of damaged files
    unreadable: int = 0  # files that the host's disk would not give
    clocks: tuple[datetime, datetime] | None = None  # the host's and ours, when the host told its own
    ran: bool = False  # whether the agent says that borg ran to an end
    # The last lines of each side, for people. Apart: a traceback of `borg serve` would push the host's out.
    last_of_host: list[str] = field(default_factory=list)
    last_of_storage: list[str] = field(default_factory=list)
    _size: int = 0

    def feed(self, line: str, speaker: Speaker = Speaker.HOST) -> dict[str, Any] | None:
        """Take a line in; returns the counts if it was a progress line of the host's."""
        if speaker is Speaker.STORAGE:
            self._storage(line)
        elif line.startswith(STDOUT_PREFIX):
            self._size += len(line)
            if self._size <= _MOST:  # more is no JSON of borg's, and then none at all is left
                self.stdout.append(line[len(STDOUT_PREFIX) :])
        elif (entry := _json_object(line)) is None:
            self._keep(line)
        elif entry.get("type") == "archive_progress":
            # The last one has no counts (borg's docs, internals/frontends): it would read as 0 files.
            return None if entry.get("finished") is True else _progress(entry)
        elif entry.get("type") == "log_message":
            self._message(entry)
        return None

    def json(self) -> dict[str, Any]:
        """borg's `--json` output, {} when there is none or it is broken."""
        return _json_object("\n".join(self.stdout)) or {}

    def _message(self, entry: dict[str, Any]) -> None:
        level, text = str(entry.get("levelname", "")), str(entry.get("message", "")).strip()[-_LONGEST:]
        if level in ("ERROR", "CRITICAL", "WARNING"):
            self._remember(text)
        if level in ("ERROR", "CRITICAL"):
            self.errors = [*self.errors, (str(entry.get("msgid", ""))[:_LONGEST], text)][-_KEPT_LINES:]
        elif level == "WARNING":
            self.warnings += 1
            self.unreadable += entry.get("msgid") == "BackupIOError"
            self.warned = [*self.warned, text][-_KEPT_LINES:] if text else self.warned

    def _storage(self, line: str) -> None:
        entry = _json_object(line)
        text = line if entry is None else str(entry.get("message", "")).strip()
        if entry and damage.is_broken(str(entry.get("levelname", "INFO")), text):
            self.broken = text[-_LONGEST:]
        elif entry is None or entry.get("levelname") in ("ERROR", "CRITICAL"):
            self._append(self.served, text)
            _remember(self.last_of_storage, f"{_STORAGE}{text}")

    def _keep(self, line: str) -> None:
        if clock := _CLOCK.fullmatch(line):
            self.clocks = (datetime.fromtimestamp(int(clock[1]), UTC), utc_now())
            return
        self.ran = self.ran or line.startswith(_CHATTER)
        if line.strip():
            self._append(self.plain, line)
            self._remember(line)

    @staticmethod
    def _append(lines: list[str], line: str) -> None:
        lines.append(line[:_LONGEST])
        del lines[:-_KEPT_LINES]

    @property
    def last(self) -> list[str]:
        return [*self.last_of_storage, *self.last_of_host]

    def _remember(self, text: str) -> None:
        _remember(self.last_of_host, "\n".join(map(_of_host, text.splitlines())))


def _remember(last: list[str], text: str) -> None:
    last += [line[:_LAST_LINE] for line in text.splitlines()[-_LAST_LINES:]]
    del last[:-_LAST_LINES]


def _of_host(line: str) -> str:
    """A host's line as people see it: one that begins like the storage's says whose it is."""
    return f"{_HOST}{line}" if line.lstrip().startswith((_STORAGE, _HOST)) else line


def _json_object(text: str) -> dict[str, Any] | None:
    if not text.startswith("{"):
        return None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def count(entry: Mapping[str, Any], key: str) -> int:
    """A number that a host reports, 0 when it is missing or none: what it says may be anything."""
    value = entry.get(key, 0)
    return value if isinstance(value, int) and _is_count(value) else 0


def _progress(entry: Mapping[str, Any]) -> dict[str, Any]:
    """The counts, and the path where the host lets it out."""
    told: dict[str, Any] = {"files": count(entry, "nfiles"), "bytes": count(entry, "original_size")}
    path = entry.get("path")
    return {**told, "path": path[:_LONGEST]} if isinstance(path, str) and path else told


def _is_count(value: float) -> bool:
    return 0 <= value < 2**63  # neither NaN nor infinite


def lock_is_held(status: int, log: BorgLog) -> bool:
    """Whether borg gave up waiting for a lock of the repository or of its cache."""
    return any(msgid == "LockTimeout" for msgid, _ in log.errors) or (log.ran and status == _LOCK_TIMEOUT)


def judge(status: int, log: BorgLog) -> tuple[Status, str, str]:
    """(status, message, remedy) of an ended verb; ssh's own failures (255) are not judged here."""
    judged = _judge(status, log)
    return damage.of_server(log.broken) if log.broken and judged[0] in _MAY_BE_WORSE else judged


def _judge(status: int, log: BorgLog) -> tuple[Status, str, str]:
    if status == 0:
        return Status.OK, "", ""
    words = _last_words(log)
    if status == AGENT_ALARM:  # whatever borg said before: nothing will run there until root has looked
        told = next((line for line in log.plain if line.startswith(f"{_AGENT}ALARM")), words)
        return Status.CONFLICT, told or "the host raised an alarm", "read docs/agent.md, Keys"
    known = next(filter(None, (_known(msgid) for msgid, _ in log.errors)), None)
    if known := known or damage.of_errors(log.errors) or denied.of_errors(log.errors):
        return known
    if status == AGENT_HOOK and log.ran:  # a bad `before` ends the run, so this was `after` a good backup
        return Status.WARNING, words, _AGENTS[AGENT_HOOK][2]
    if status in _AGENTS:
        judged, otherwise, remedy = _AGENTS[status]
        return judged, words or otherwise, remedy
    refusal = next((line for line in log.plain if line.startswith(_AGENT) and not _is_chatter(line)), "")
    mend = next((mend for part, mend in _REFUSALS if part in refusal), "")
    if refusal and (mend or not log.errors):
        return Status.FAILED, refusal, mend
    if status == NOT_FOUND or any(_NO_AGENT.search(line) for line in log.plain):
        return Status.FAILED, words or "there is no agent on the host", _INSTALL_AGENT
    if log.ran and (status == 1 or 100 <= status < NOT_FOUND) and not log.errors:
        return _warned(log)
    if any(_FULL.search(text) for _, text in log.errors):
        return _KNOWN["Repository.InsufficientFreeSpaceError"]
    return Status.FAILED, words or f"borg ended with status {status}", ""


def _known(msgid: str) -> tuple[Status, str, str] | None:
    """borg 1.2 names an error of `borg serve` by its class alone, without the class it stands in (tried)."""
    return _KNOWN.get(msgid) or _KNOWN.get(f"Repository.{msgid}")


def _warned(log: BorgLog) -> tuple[Status, str, str]:
    told = " / ".join(log.warned[-3:])
    if log.unreadable:
        message = (
            f"{counted(log.unreadable, 'file')} could not be read (input/output error) and not backed up"
        )
        return Status.WARNING, f"{message}: {told}" if told else message, "look at the host's disk"
    return Status.WARNING, told or "borg warned", "" if told else _TELL_PATHS


def _is_chatter(line: str) -> bool:
    return line.startswith(_CHATTER) or line.endswith(_WITHHELD)


def _last_words(log: BorgLog) -> str:
    """The reason in somebody's words: borg's on the host, the agent's, the storage's, or anybody's."""
    told = [line for line in log.plain if not _is_chatter(line)]
    # That the connection closed is what borg sees of somebody else's reason.
    own = [text for msgid, text in log.errors if not msgid.startswith("ConnectionClosed")]
    if reasons := [text for text in own if text and not text.startswith(_PLATFORM)]:
        return _of_host(reasons[-1].splitlines()[-1])  # of a traceback the last line
    # borg answers a bad option with pages of usage and one line that says which.
    for mark in (_AGENT, ": error: "):
        if lines := [line for line in told if mark in line]:
            return _of_host(lines[-1])
    if log.served:
        refused = [line for line in log.served if line.startswith(_SERVE)]
        return f"{_STORAGE}{(refused or log.served)[-1]}"
    return _of_host(log.errors[-1][1]) if log.errors else " / ".join(map(_of_host, told[-3:]))


def statistics(created: dict[str, Any]) -> dict[str, int | float]:
    """The numbers of `borg create --json`: bytes, seconds and counts; {} where they are missing."""
    archive = created.get("archive")
    stats = archive.get("stats") if isinstance(archive, dict) else None
    if not isinstance(archive, dict) or not isinstance(stats, dict):
        return {}
    found = {
        "files": stats.get("nfiles"),
        "original_bytes": stats.get("original_size"),
        "compressed_bytes": stats.get("compressed_size"),
        "new_bytes": stats.get("deduplicated_size"),
        "seconds": archive.get("duration"),
    }
    return {key: value for key, value in found.items() if isinstance(value, int | float) and _is_count(value)}
