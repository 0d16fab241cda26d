"""Mail and every other service, by Apprise (github.com/caronc/apprise). It is imported when there is news.

Its plugins are called one by one, not through `Apprise.notify`: that keeps pools of threads of its own,
which an exit would wait for, and reports of a failure only that there was one. The reasons are in its log.
"""

from __future__ import annotations

import logging
import re
import threading
from typing import TYPE_CHECKING

from zborg.errors import NotSent
from zborg.model import Message, News, Notify
from zborg.notify.inert import commands, inert, inert_html
from zborg.notify.parts import wrong_part
from zborg.notify.secrets import Secrets, hidden

if TYPE_CHECKING:
    from apprise import AppriseAttachment, NotifyType
    from apprise.plugins.base import NotifyBase

_HELD_BACK = frozenset({News.SUCCESS, News.WARNING})  # for the digest
# What a server says of a password or of who may send: a second try would only lock us out sooner.
_REFUSED = re.compile(r"\(5[35]\d, |error=40[134]\b|certificate verify failed|CERTIFICATE_VERIFY")
_WORTH = "Socket Exception: "  # the reason of a failed mail is logged for debugging only
_AGAIN = "look at urls under [notify] in zborg.toml; zborg notify test tries them again"
_SEE = "github.com/caronc/apprise has the form of its URLs; a password's special characters are %-encoded"
_SHORTEST_WAIT = 1.0  # seconds
_QUIET = logging.NullHandler()  # what a call that was given up says later is nobody's any more


class ByApprise:
    """One URL. Its name is its place in zborg.toml and its scheme: all the rest may be a secret."""

    def __init__(self, number: int, url: str, secrets: Secrets, settings: Notify) -> None:
        self._url, self._secrets = url, secrets
        scheme = url.partition("://")[0]
        self._name = f"url {number}" + (f" ({scheme})" if scheme.isalnum() else "")
        shown = settings.on - _HELD_BACK if settings.digest else settings.on
        self._on = shown | {News.DIGEST, News.TEST, News.REPORT}

    @property
    def name(self) -> str:
        """Its number in zborg.toml, for the URL itself may be a secret."""
        return self._name

    def begins(self, command: str) -> None:
        """Nobody wants mail of a beginning."""

    def wants(self, message: Message) -> bool:
        """With a digest, good runs are held back for it."""
        return bool(message.news & self._on)

    def send(self, message: Message, timeout: float) -> str:
        """Raises NotSent with what Apprise logged meanwhile, without secrets."""
        url = self._secrets.fill(self._url)
        with CapturedLog() as log:
            try:
                plugin = plugin_of(url)
                if plugin and _told(plugin, message, timeout):
                    return ""
            except Exception as error:  # of a plugin's; its words may hold a part of the URL
                words = hidden(f"{type(error).__name__}: {error}", url)
                raise NotSent(words, _SEE, retryable=False) from None
        words = hidden(log.words() or "it does not say why", url)
        if plugin is None:
            wrong = wrong_part(url) or f"Apprise cannot use it: {words}"
            raise NotSent(wrong, _SEE, retryable=False)
        raise NotSent(words, _AGAIN, retryable=not _REFUSED.search(words))


def plugin_of(url: str) -> NotifyBase | None:
    """Apprise's plugin for a URL; None when it knows none, or the URL is not whole."""
    from apprise import Apprise, AppriseAsset

    return Apprise.instantiate(url, asset=AppriseAsset(app_id="zborg", app_desc="zborg", app_url=""))


def _told(plugin: NotifyBase, message: Message, timeout: float) -> bool:
    """HTML where the service shows it, mail first of all; else the text, as much as it takes."""
    from apprise import NotifyFormat

    plugin.socket_connect_timeout = plugin.socket_read_timeout = max(timeout, _SHORTEST_WAIT)
    kind = plugin.resolve_format(NotifyFormat.HTML)
    is_mail = type(plugin).__name__ == "NotifyEmail"
    whole = commands(message.report)
    if kind is NotifyFormat.HTML and is_mail:
        title, body, form = message.subject, inert_html(message.html, whole), NotifyFormat.HTML
    else:
        title, body, form = inert(message.subject), inert(message.text, whole), NotifyFormat.TEXT
        body = _cut(body, plugin.body_maxlen)
    attached = _attached(message) if plugin.attachment_support else None
    kinds = {"notify_type": _type(message), "body_format": form}
    return bool(plugin.notify(body=body, title=title, attach=attached, **kinds))


def _attached(message: Message) -> AppriseAttachment | None:
    if not message.attached:
        return None
    from apprise import AppriseAttachment
    from apprise.attachment.memory import AttachMemory

    name = f"zborg-{message.report.command}-{message.report.started:%Y-%m-%d}.html"
    page = AttachMemory(message.attached, name=name, mimetype="text/html")  # type: ignore[no-untyped-call]  # Apprise's
    return AppriseAttachment([page])


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 3]}..."


def _type(message: Message) -> NotifyType:
    from apprise import NotifyType

    if News.FAILURE in message.news:
        return NotifyType.FAILURE
    if message.news & {News.PARTIAL, News.WARNING}:
        return NotifyType.WARNING
    return NotifyType.SUCCESS if message.news & {News.SUCCESS, News.RECOVERY} else NotifyType.INFO


class CapturedLog(logging.Handler):
    """What Apprise logs in this thread, and not on the screen: warnings, and the reason of a failed mail."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self._thread, self._said = threading.get_ident(), list[str]()

    def emit(self, record: logging.LogRecord) -> None:
        """Of this thread alone: others send at the same time."""
        if record.thread != self._thread:
            return
        words = record.getMessage()
        if record.levelno >= logging.WARNING or words.startswith(_WORTH):
            self._said.append(words.removeprefix(_WORTH))

    def words(self) -> str:
        """Each once, in the order in which they came; "" for none. They may hold a part of the URL."""
        return "; ".join(dict.fromkeys(self._said))

    def __enter__(self) -> CapturedLog:
        log = logging.getLogger("apprise")
        log.propagate = False
        log.setLevel(logging.DEBUG)
        log.addHandler(_QUIET)
        log.addHandler(self)
        return self

    def __exit__(self, *_: object) -> None:
        logging.getLogger("apprise").removeHandler(self)
