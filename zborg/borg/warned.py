"""borg's warnings, counted by message id.

The ids are the class names in borg 1.4's documentation ("Message IDs"). For borg 1.2, which has none for
warnings, the agent adds them. A file that could not be read is not in the archive; one that changed while
it was read is, and so is all else that borg warns of.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from zborg.borg.meaning import Meaning
from zborg.model import Status
from zborg.model.text.remedy import command, on
from zborg.model.text.units import counted

# Files that are not in the archive, and why.
UNREAD = {
    "BackupPermissionError": "permission denied",
    "BackupIOError": "input/output error",
    "BackupOSError": "refused by the system",
    "BackupError": "refused by borg",
}
CHANGED = frozenset({"FileChangedWarning", "BackupRaceConditionError", "BackupFileNotFoundError"})
_KEPT = 40
_SHOWN = 3


@dataclass
class Warnings:
    """The warnings of one borg command. Their texts are there only where the host lets them out."""

    total: int = 0
    kinds: Counter[str] = field(default_factory=Counter)  # of UNREAD and CHANGED alone
    texts: list[str] = field(default_factory=list)
    unread_texts: list[str] = field(default_factory=list)
    log: str = ""  # the file on the host that has all of them

    def add(self, msgid: str, text: str) -> None:
        """Count one warning by borg's msgid, "" where it has none; the last texts stay."""
        self.total += 1
        if msgid in UNREAD or msgid in CHANGED:
            self.kinds[msgid] += 1
        texts = self.unread_texts if msgid in UNREAD else self.texts
        texts += [text] if text else []
        del texts[:-_KEPT]

    @property
    def unread(self) -> int:
        """Files that could not be read."""
        return sum(self.kinds[msgid] for msgid in UNREAD)

    @property
    def changed(self) -> int:
        """Files that changed or vanished while they were read."""
        return sum(self.kinds[msgid] for msgid in CHANGED)

    def judge(self, host: str) -> Meaning:
        """(status, message, remedy) of a command that ended with warnings and nothing worse."""
        parts = [
            f"{counted(self.kinds[msgid], 'file')} could not be read ({why}) and not backed up"
            for msgid, why in UNREAD.items()
            if self.kinds[msgid]
        ]
        if self.changed:
            parts.append(f"{counted(self.changed, 'file')} changed while borg read")
        texts = " / ".join((self.unread_texts or self.texts)[-_SHOWN:])
        message = "; ".join(parts) or ("" if texts else "borg warned")
        return Meaning(Status.WARNING, ": ".join(filter(None, (message, texts))), self._remedy(host))

    def _remedy(self, host: str) -> str:
        if self.log.startswith("/"):
            return on(host, command("cat", self.log))
        return (
            ""
            if self.texts or self.unread_texts
            else f"let {host} name the files: report_paths in agent.conf"
        )
