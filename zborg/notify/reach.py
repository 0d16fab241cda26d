"""Whether the notifiers could be reached. For doctor: a connection is opened and closed, nothing is sent."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Iterator
from urllib.parse import urlsplit

from zborg.errors import NotSent
from zborg.model import Notify
from zborg.notify.by_apprise import CapturedLog, plugin_of
from zborg.notify.parts import wrong_part
from zborg.notify.secrets import Secrets, hidden

_PATIENCE = 10.0  # seconds
_PORTS = {"http": 80, "https": 443}


def troubles(settings: Notify) -> Iterator[tuple[str, str, str]]:
    """Of each notifier its name, what is wrong ("" for nothing), and the remedy; nothing secret."""
    secrets = Secrets(settings.secrets)
    for command, url in settings.pings.items():
        yield f"ping of {command}", *_of_url(url, secrets)
    for number, url in enumerate(settings.urls, 1):
        yield f"url {number}", *_of_url(url, secrets)
    if settings.command:
        program = settings.command[0]
        missing = f"there is no {program}" if shutil.which(program) is None else ""
        yield "command", missing, "command under [notify] names it"


def _of_url(given: str, secrets: Secrets) -> tuple[str, str]:
    try:
        url = secrets.fill(given)
    except NotSent as error:
        return error.message, error.remedy
    try:
        place = _place(url)
    except Exception as error:  # of Apprise's, or a URL that is none
        place = hidden(f"it cannot be read: {error}", url)
    if isinstance(place, str):
        return place, "github.com/caronc/apprise has the form of its URLs"
    try:
        if place:
            socket.create_connection(place, timeout=_PATIENCE).close()
    except (OSError, ValueError) as error:
        where = hidden(f"{place[0]}:{place[1]}" if place else "", url)
        return (
            f"no connection to {where}: {error}",
            "is it up, and the name right? zborg notify test sends a test",
        )
    return "", ""


def _place(url: str) -> tuple[str, int] | str | None:
    """Where it connects to; None for a service of which only Apprise knows; what is wrong with the URL."""
    parts = urlsplit(url)
    if parts.scheme in _PORTS and parts.hostname:
        return parts.hostname, parts.port or _PORTS[parts.scheme]
    with CapturedLog() as log:  # or its log would reach the screen, and what stands in it
        plugin = plugin_of(url)
    if plugin is None:
        return wrong_part(url) or f"Apprise cannot use it: {hidden(log.words(), url)}"
    server, port = getattr(plugin, "smtp_host", ""), getattr(plugin, "port", 0)
    return (server, port) if server and port else None
