"""The ledger's newest checkpoint goes to a host with its backup, and the host is a witness of the past.

No connection more, and no backup fails by it. An agent that is older refuses a word that it does not know: so
the word is sent only where the agent's answer to `version` had it, as earlier backups recorded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from zborg.borg.log import BorgLog
from zborg.model.ledger import checkpoint_word

_KEY = "witness "  # of a line of the agent's answer to `version`
_REFUSED = 2  # the agent's exit status
NONE = -1
"""Of an agent that keeps no checkpoints."""


@dataclass
class HostCheckpoint:
    """`word` is what the host is given, "" nothing; `known` is HostBackup.witness of its last backups."""

    word: str = ""
    known: int | None = None

    @property
    def to_ask(self) -> bool:
        """Whether nothing is known of its agent, and there is something to give."""
        return bool(self.word) and self.known is None

    @property
    def noted(self) -> int | None:
        """For the outcome: where there is no checkpoint, nothing is known."""
        return self.known if self.word else None

    def hear(self, answer: Sequence[str]) -> None:
        """What the agent answered to `version`."""
        keeps = any(line.startswith(_KEY) for line in answer)
        self.known = max(self.known or 0, 0) if keeps else NONE

    def words(self) -> tuple[str, ...]:
        """What is added to `create`."""
        return (self.word,) if self.word and self.known is not None and self.known >= 0 else ()

    def refused(self, status: int, log: BorgLog) -> bool:
        """Whether an older agent is there now: it refuses before it says anything else, and gives no code."""
        uncoded = bool(log.reasons) and all(one.code is None for one in log.reasons)
        if not self.words() or status != _REFUSED or log.clocks or log.ran or not uncoded:
            return False
        self.known = NONE
        return True

    def given(self) -> None:
        """The host has it now."""
        if self.words():
            self.known = checkpoint_word.read(self.word).checkpoint.size
