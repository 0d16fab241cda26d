"""Pings of a check at healthchecks.io or one like it: URL/start, URL and URL/fail.

The endpoints and the limit of 100 kB for a body are from healthchecks.io/docs/http_api and /attaching_logs.
"""

from __future__ import annotations

import http.client
import threading
from urllib.parse import urlsplit

from zborg.errors import NotSent, ZborgError
from zborg.model import Message, News
from zborg.notify.secrets import Secrets, hidden

_MOST = 10_000  # characters of the text that goes with it
_START_TIMEOUT = 10.0  # seconds
_GOOD = frozenset({News.SUCCESS, News.WARNING})
_TOO_MANY, _TIMED_OUT = 429, 408


class ByPing:
    """Pings the check of one command, whatever `on` says: it watches for what does not come."""

    def __init__(self, command: str, url: str, secrets: Secrets) -> None:
        self._command, self._url, self._secrets = command, url, secrets
        self._start: threading.Thread | None = None
        self._missed = ""

    @property
    def name(self) -> str:
        """With the command whose check it is."""
        return f"ping of {self._command}"

    def begins(self, command: str) -> None:
        """Pings /start from a thread of its own, if it is this check's command."""
        if command == self._command:
            self._start = threading.Thread(target=self._begin, daemon=True)
            self._start.start()

    def _begin(self) -> None:
        try:
            self._ping("/start", "", _START_TIMEOUT)
        except ZborgError as error:
            self._missed = f"its start was not sent: {error.message}"

    def wants(self, message: Message) -> bool:
        """The ends of this check's command, and tests."""
        about = message.report.command == self._command and News.DIGEST not in message.news
        return about or News.TEST in message.news

    def send(self, message: Message, timeout: float) -> str:
        """Waits for the ping of the beginning first, and returns why that one did not arrive."""
        if self._start:  # or it would come after the end of what it began
            self._start.join(min(timeout, _START_TIMEOUT))
        self._ping(_endpoint(message), message.text[:_MOST], timeout)
        return self._missed

    def _ping(self, endpoint: str, body: str, timeout: float) -> None:
        url = self._secrets.fill(self._url)
        try:
            status = _post(url, endpoint, body.encode(), timeout)
        except (OSError, ValueError, http.client.HTTPException) as error:
            raise NotSent(hidden(f"{_server(url)}: {error or type(error).__name__}", url)) from None
        if status != http.client.OK:
            again = status >= http.client.INTERNAL_SERVER_ERROR or status in (_TOO_MANY, _TIMED_OUT)
            raise NotSent(f"{_server(url)} answers with status {status}", retryable=again)


def _endpoint(message: Message) -> str:
    """Hosts that failed are a failure here, also where --allow-partial lets the command end with 0."""
    if News.TEST in message.news:
        return "/log"  # is shown, and changes nothing
    return "" if message.news & _GOOD else "/fail"


def _server(url: str) -> str:
    try:
        return urlsplit(url).hostname or "its URL"
    except ValueError:
        return "its URL"


def _post(url: str, endpoint: str, body: bytes, timeout: float) -> int:
    """The status. http.client, because urllib.request follows redirects, and a check has none."""
    parts = urlsplit(url)
    make = {"http": http.client.HTTPConnection, "https": http.client.HTTPSConnection}.get(parts.scheme)
    if make is None or not parts.hostname:
        raise ValueError("is not http:// or https://")
    connection = make(parts.hostname, parts.port, timeout=timeout)
    query = f"?{parts.query}" if parts.query else ""
    try:
        headers = {"Content-Type": "text/plain; charset=utf-8", "User-Agent": "zborg"}
        connection.request("POST", f"{parts.path.rstrip('/')}{endpoint}{query}" or "/", body, headers)
        status: int = connection.getresponse().status
        return status
    finally:
        connection.close()
