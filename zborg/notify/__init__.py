"""Notification services, one class and one row each. Only cli/command/compose.py asks for them."""

from __future__ import annotations

from collections.abc import Iterator

from zborg.model import Notifier, Notify
from zborg.notify.by_apprise import ByApprise
from zborg.notify.by_command import ByCommand
from zborg.notify.by_ping import ByPing
from zborg.notify.secrets import Secrets


def notifiers(settings: Notify) -> Iterator[Notifier]:
    """All that zborg.toml names. Nothing is read, imported or sent before there is something to send."""
    secrets = Secrets(settings.secrets)
    yield from (ByPing(command, url, secrets) for command, url in settings.pings.items())
    yield from (ByApprise(number, url, secrets, settings) for number, url in enumerate(settings.urls, 1))
    if settings.command:
        yield ByCommand(settings)
