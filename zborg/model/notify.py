"""Messages to people and to other programs, and what sends them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from zborg.model.report import Report

# The commands whose end is news: what cron runs. The others have somebody who looks at them.
ANNOUNCED = (
    "run",
    "backup",
    "snapshot",
    "audit",
    "compact",
    "rotate",
    "replicate",
    "verify",
    "drill",
    "scrub",
)
# The command under which deliveries are saved.
NOTIFYING = "notify"
# What a subject may hold: the first six are qb.backup's.
SUBJECT_WORDS = ("STATUS", "SUCCEEDED", "FAILED", "SKIPPED", "TOTAL", "RUNTIME", "SERVER", "COMMAND")


class News(StrEnum):
    """What a message is about. A report is one of the first four, and a recovery besides."""

    SUCCESS = "success"
    WARNING = "warning"  # all was done, and something is worth a look
    PARTIAL = "partial"
    FAILURE = "failure"
    RECOVERY = "recovery"  # what failed before is good again
    DIGEST = "digest"
    TEST = "test"
    REPORT = "report"  # somebody asked for it to be sent


CHOSEN = frozenset({News.SUCCESS, News.WARNING, News.PARTIAL, News.FAILURE, News.RECOVERY})


@dataclass(frozen=True, slots=True)
class Message:
    """A report as a message. All of its text is without secrets, control characters and markup of others."""

    news: frozenset[News]
    subject: str  # one line
    text: str
    html: str
    report: Report
    attached: str = ""  # a page for a browser


@dataclass(frozen=True, slots=True)
class Notify:
    """[notify] of zborg.toml. URLs may hold ${NAME}, which the secrets file fills."""

    urls: tuple[str, ...] = field(default=(), repr=False)  # Apprise's
    on: frozenset[News] = CHOSEN
    subject: str = "[$SERVER] $COMMAND $STATUS: $SUCCEEDED good, $FAILED failed, $SKIPPED skipped"
    command: tuple[str, ...] = ()
    pings: Mapping[str, str] = field(default_factory=dict, repr=False)  # command -> URL of its check
    digest: bool = False  # weekly, in place of a message for each good run
    timeout: int = 60  # seconds for all notifiers together, tries and waits included
    secrets: str = ""  # a TOML file of NAME = "value", for its owner alone

    @property
    def anybody(self) -> bool:
        """Whether any way to send a message is configured."""
        return bool(self.urls or self.command or self.pings)


class Notifier(Protocol):
    """A service that takes messages. `name` is for people and holds no secret."""

    @property
    def name(self) -> str:
        """Which one it is, for messages; never with a secret."""

    def begins(self, command: str) -> None:
        """A command begins. Returns at once and raises nothing: the command does not wait for it."""

    def wants(self, message: Message) -> bool:
        """Whether a message is news to this one, as `on` has it. Asks nobody and raises nothing."""

    def send(self, message: Message, timeout: float) -> str:
        """Try once, about `timeout` seconds at most; returns what there is to say of it, mostly nothing.

        Raises NotSent; its words hold no secret.
        """
