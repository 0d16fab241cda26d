"""borgmatic's words on stderr, and what it came to. Read from borgmatic 2.1.10.

It repeats its errors below "summary:", between lines that are the same in every failure. Warnings and
errors are on stderr, all else on stdout. All of it is another machine's and may be anything.
"""

from __future__ import annotations

import re

from zborg.borg.damage import KNOWN, is_broken, of_server
from zborg.borg.meaning import Meaning
from zborg.model import Speaker, Status
from zborg.model.text.remedy import command, remedy

_KEPT = 200  # lines
_LONGEST = 500  # characters of a line
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
# Lines that frame the reason: in every failure the same.
_FRAME = re.compile(
    r"\W*|summary:|Need some help\?.*|(.*: )?An error occurred|(.*: )?Error running .*"
    r"|Treating exit code \d+ .* as a warning.*|Remote: \W*"
)
_COMMAND = re.compile(r"(.*: )?Command '.*' returned non-zero exit status -?\d+\.?")
_NOT_FOUND = 127  # the shell's
_OTHER_KEY = "the host saw another host key than the one it pins for the server"
_PINNED = "who listens on that port of the host? HostKeyAlias in its ssh_command: docs/reverse.md"
# borg does not always read its ssh's last lines, so this one has to name every reason.
_WAY = "the server's sshd, its host key as pinned on the host, the host's key there? docs/reverse.md"
_REMOTE = "Remote: "  # before what `borg serve` says
# borg's text where its msgid would do: borgmatic does not hand that on. Read from borg 1.4.5.
_GRAVE = (
    ("Data integrity error: ", KNOWN["IntegrityError"]),
    ("Decompression error: ", KNOWN["DecompressionError"]),
    ("Repository has no manifest", KNOWN["NoManifestError"]),
    ("Inconsistency detected. Please run", KNOWN["IntegrityError"]),
    ("Object with key ", KNOWN["Repository.ObjectNotFound"]),
    ("either an attack or unsafe", KNOWN["Cache.RepositoryIDNotUnique"]),
    ("Repository encryption method changed", KNOWN["Cache.RepositoryIDNotUnique"]),
    ("Repository access aborted", KNOWN["Cache.RepositoryIDNotUnique"]),
)
_MAKE = remedy(command("borgmatic", "repo-create"), first="make it once, on the host (docs/reverse.md):")
_MARKS = (  # a text of ssh's, borg's or borgmatic's; our message for it, or "" for theirs; the remedy
    ("Host key verification failed", _OTHER_KEY, _PINNED),
    ("IDENTIFICATION HAS CHANGED", _OTHER_KEY, _PINNED),
    ("Permission denied (", "", "the host's key belongs into the authorized_keys of the server's sshd"),
    ("is not a valid repository", "", _MAKE),
    ("path not allowed", "", "its forced command on the server's sshd names another repository"),
    ("ecognized arguments", "", "borgmatic 2 wants `create prune check` in authorized_keys, without dashes"),
    ("Connection refused", "", _WAY),
    (_REMOTE, "", _WAY),
    ("Connection closed by remote host", "", _WAY),
)
# What our own ssh logs when nobody listens where the port on the host leads to (channels.c).
_NOBODY, _START = "connect_to ", "is the server's sshd up there? `sshd` under [reverse] in zborg.toml"
_UNPINNED = "Warning: Permanently added"


class BorgmaticOutput:
    """Its output, the last lines of it, and what our own ssh logged meanwhile."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.ssh: list[str] = []

    def feed(self, line: str, speaker: Speaker = Speaker.HOST) -> None:
        """Take a line of its output, or of our ssh's log; the last ones stay, cut where they are long."""
        lines = self.ssh if speaker is Speaker.SSH else self.lines
        lines.append(_COLOUR.sub("", line[:_LONGEST]).strip())
        del lines[:-_KEPT]

    def reasons(self) -> list[str]:
        """Every line with a reason, once, in the order of its last mention."""
        output = [line for line in self.lines if not _FRAME.fullmatch(line)]
        own = [line for line in output if not _COMMAND.fullmatch(line)] or output
        return list(reversed(dict.fromkeys(reversed(own))))


def judge(status: int, output: BorgmaticOutput) -> Meaning:
    """(status, message, remedy) of an ended borgmatic; ssh's own failures (255) are not judged here."""
    reasons = output.reasons()
    if status == 0:
        return _warned(reasons)
    if status == _NOT_FOUND:
        words = reasons[-1] if reasons else "the forced command was not found"
        return Meaning(Status.FAILED, words, "is borgmatic where its forced command says? (docs/reverse.md)")
    for mark, meaning in _GRAVE:
        if line := next((line for line in reversed(reasons) if mark in line), ""):
            return meaning._replace(message=line)
    if line := next((line for line in reversed(output.ssh) if line.startswith(_NOBODY)), ""):
        return Meaning(Status.FAILED, line, _START)
    for mark, words, advice in _MARKS:
        if line := next((line for line in reversed(reasons) if mark in line), ""):
            return Meaning(Status.FAILED, words or line, advice)
    return Meaning(Status.FAILED, reasons[-1] if reasons else f"borgmatic ended with status {status}", "")


def _warned(reasons: list[str]) -> Meaning:
    """borgmatic ends with 0 when borg only warned."""
    if not reasons:
        return Meaning(Status.OK, "", "")
    for line in reasons:
        if line.startswith(_REMOTE) and is_broken("WARNING", line):
            return of_server(line.removeprefix(_REMOTE))
    unpinned = any(_UNPINNED in line for line in reasons)
    advice = (
        "the host takes any host key for the server's: pin it there (docs/reverse.md)" if unpinned else ""
    )
    return Meaning(Status.WARNING, " / ".join(reasons[-3:]), advice)
