"""A command of the owner's, that is given the report as JSON."""

from __future__ import annotations

import json

from zborg.errors import NotSent, TimedOut, ZborgError
from zborg.interrupt import cancelled
from zborg.model import Message, News, Notify
from zborg.model.serial.report import to_dict
from zborg.process import LocalRunner

_GRACE = 2.0  # seconds of its time that are reserved to end it: a shell may ignore the first signal
_LEAST = 0.3
_MAX_BYTES = 1 << 20  # bytes that it may print


class ByCommand:
    """Starts it without a shell; tried once, for half of what it does may be done already."""

    def __init__(self, settings: Notify) -> None:
        self._argv, self._on = settings.command, settings.on | {News.DIGEST, News.TEST}

    @property
    def name(self) -> str:
        """With the program alone: an argument may be a secret."""
        return f"command {self._argv[0]}"

    def begins(self, command: str) -> None:
        """It gets ends only."""

    def wants(self, message: Message) -> bool:
        """Whatever `on` names, digests and tests."""
        return bool(message.news & self._on)

    def send(self, message: Message, timeout: float) -> str:
        """Raises NotSent, never retryable, when it cannot be started, fails or takes too long."""
        patience = max(timeout - _GRACE, _LEAST)
        facts = {"news": sorted(message.news), "subject": message.subject}
        try:
            with cancelled.shielded():  # that a run was interrupted is news too
                stdin = json.dumps(to_dict(message.report) | facts)
                LocalRunner().run(self._argv, timeout=patience, stdin=stdin, max_bytes=_MAX_BYTES)
        except TimedOut:
            raise NotSent(f"it was ended: no end within {patience:.1f} s", retryable=False) from None
        except ZborgError as error:
            raise NotSent(error.message, error.remedy, retryable=False) from error
        return ""
