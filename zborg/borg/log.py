"""What borg and the agent say on stderr, read line by line.

Three kinds of lines arrive mixed: borg's JSON log (`--log-json`), borg's stdout prefixed with "= "
by the agent, and plain words (the agent's, ssh's, a traceback's). Errors are recognised by `msgid`
first and the exit status second, because modern exit codes exist only from borg 1.4 on.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple

from zborg.borg import damage
from zborg.borg.agent import HostReport
from zborg.borg.warned import Warnings
from zborg.model import Speaker, utc_now
from zborg.model.codes.lines import AGENT_PREFIX, Reason, agent_reason, without_codes

STDOUT_PREFIX = "= "
_LOCK_TIMEOUT = 73  # borg's, of its modern exit codes
_KEPT_LINES = 40
_LAST_LINES, _LAST_LINE = 8, 300  # lines of each side, and characters of each, that go with a failure
_LONGEST = 4000  # characters of one message; what a host says may have no end
_MAX_BYTES = 1 << 20  # bytes of borg's own output: of `create` it is a few KiB and the paths of agent.conf
LISTING = 16 << 20  # the same of `list`; parsed, a hostile text of it may take twenty times as much
STORAGE_PREFIX = "storage: "  # what people see before a line of `borg serve`
_HOST = "host: "  # and before one of the host that would look like it
_GARBLED = "Got unexpected RPC data format from client"  # borg's, of `borg serve`
_CLOCK = re.compile(r"zborg-agent: clock ([0-9]{1,11})")  # the first line of every verb
CHATTER = f"{AGENT_PREFIX}borg ended with"  # printed after every verb


@dataclass
class BorgLog:
    """All output of one borg command. Feed it every line; ask afterwards."""

    host: str = "the host"  # its name, for messages
    dataset: str = ""  # of its repository, for messages
    errors: list[tuple[str, str]] = field(default_factory=list)  # (msgid, message)
    warnings: Warnings = field(default_factory=Warnings)
    report: HostReport = field(default_factory=HostReport)
    # What borg prints. In one piece: of lines with a character each, the objects would take 50 times as much.
    stdout: bytearray = field(default_factory=bytearray)
    plain: list[str] = field(default_factory=list)  # the host's newest lines that are not JSON
    reasons: list[Reason] = field(default_factory=list)  # those of them that are the agent's
    served: list[str] = field(default_factory=list)  # and the storage's
    broken: str = ""  # the newest line in which `borg serve` reports damaged files
    clocks: tuple[datetime, datetime] | None = None  # the host's and ours, when the host reported its own
    ran: bool = False  # whether the agent says that borg ran to an end
    started: bool = False  # whether the agent or borg was there at all
    garbled: bool = False  # whether `borg serve` was sent what is not borg's protocol
    # The last lines of each side, for people. Apart: a traceback of `borg serve` would push the host's out.
    last_of_host: list[str] = field(default_factory=list)
    last_of_storage: list[str] = field(default_factory=list)
    max_bytes: int = _MAX_BYTES  # of stdout; more is taken for no output at all
    _size: int = 0

    def feed_lines(self, lines: Iterable[str], speaker: Speaker = Speaker.HOST) -> Counts | None:
        """Take lines in; returns the newest counts among them."""
        newest = None
        for line in lines:
            newest = self.feed(line, speaker) or newest
        return newest

    def feed(self, line: str, speaker: Speaker = Speaker.HOST) -> Counts | None:
        """Take a line in; returns the counts if it was a progress line of the host's."""
        if speaker is Speaker.STORAGE:
            self._storage(line)
        elif line.startswith(STDOUT_PREFIX):
            self._print(line[len(STDOUT_PREFIX) :])
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
        return _json_object(self.stdout.decode("utf-8", "replace")) or {}

    def _print(self, line: str) -> None:
        self.stdout += line.encode("utf-8", "replace") + b"\n"
        self._size += len(line) + 1
        if self._size > self.max_bytes:  # no JSON of borg's, and what is left is none at all
            self.stdout.clear()

    def _message(self, entry: dict[str, Any]) -> None:
        level, text = str(entry.get("levelname", "")), str(entry.get("message", "")).strip()[-_LONGEST:]
        self.started = True
        if level in ("ERROR", "CRITICAL", "WARNING"):
            self._remember(text)
        if level in ("ERROR", "CRITICAL"):
            self.errors = [*self.errors, (str(entry.get("msgid", ""))[:_LONGEST], text)][-_KEPT_LINES:]
        elif level == "WARNING":
            self.warnings.add(str(entry.get("msgid", "")), text)

    def _storage(self, line: str) -> None:
        entry = _json_object(line)
        text = without_codes(line) if entry is None else str(entry.get("message", "")).strip()
        if entry and damage.is_broken(str(entry.get("levelname", "INFO")), text):
            self.broken = text[-_LONGEST:]
        elif entry is None or entry.get("levelname") in ("ERROR", "CRITICAL"):
            self.garbled = self.garbled or _GARBLED in text
            self._append(self.served, text)
            _remember(self.last_of_storage, f"{STORAGE_PREFIX}{text}")

    def _keep(self, line: str) -> None:
        if clock := _CLOCK.fullmatch(line):
            self.clocks = (datetime.fromtimestamp(int(clock[1]), UTC), utc_now())
            self.started = True
            self.reasons.clear()
            self.plain.clear()  # a banner of sshd's, or of the login shell's: no reason for what comes after
            return
        if reason := agent_reason(line):
            self.started, line = True, reason.line
            if self.report.add(reason):
                self.warnings.log = self.report.warnings_log
                self._remember(line)
                return
            self._reason(reason)
        if line.strip():
            self._append(self.plain, line)
            self._remember(line)

    def _reason(self, reason: Reason) -> None:
        if reason.line.startswith(CHATTER):
            self.ran = True
        else:
            self.reasons = [*self.reasons, reason._replace(text=reason.text[:_LONGEST])][-_KEPT_LINES:]

    @staticmethod
    def _append(lines: list[str], line: str) -> None:
        lines.append(line[:_LONGEST])
        del lines[:-_KEPT_LINES]

    @property
    def last(self) -> list[str]:
        """What reasons are looked for in: the storage's last lines, then the host's."""
        return [*self.last_of_storage, *self.last_of_host]

    def _remember(self, text: str) -> None:
        _remember(self.last_of_host, "\n".join(map(of_host, text.splitlines())))


def _remember(last: list[str], text: str) -> None:
    last += [line[:_LAST_LINE] for line in text.splitlines()[-_LAST_LINES:]]
    del last[:-_LAST_LINES]


def of_host(line: str) -> str:
    """A host's line as people see it: one that begins like the storage's says whose it is."""
    return f"{_HOST}{line}" if line.lstrip().startswith((STORAGE_PREFIX, _HOST)) else line


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


class Counts(NamedTuple):
    """How far borg is: files and their bytes, and the path where the host lets it out."""

    files: int
    bytes: int
    path: str = ""


def _progress(entry: Mapping[str, Any]) -> Counts:
    path = entry.get("path")
    shown = path[:_LONGEST] if isinstance(path, str) else ""
    return Counts(count(entry, "nfiles"), count(entry, "original_size"), shown)


def _is_count(value: float) -> bool:
    return 0 <= value < 2**63  # neither NaN nor infinite


def lock_is_held(status: int, log: BorgLog) -> bool:
    """Whether borg gave up waiting for a lock of the repository or of its cache."""
    return any(msgid == "LockTimeout" for msgid, _ in log.errors) or (log.ran and status == _LOCK_TIMEOUT)


def statistics(created: dict[str, Any]) -> dict[str, Any]:
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
