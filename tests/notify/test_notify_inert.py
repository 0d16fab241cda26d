"""What a host prints makes no mention and no link, in any chat service or mail: what arrives is looked at."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit, urlunsplit

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st
from pytest_httpserver import HTTPServer
from werkzeug import Request

from tests.harness.mail import Mail, mail_server
from zborg.errors import Exit
from zborg.model import Message, Notify, Outcome, Report, Status
from zborg.model.results import Result
from zborg.notify.by_apprise import ByApprise
from zborg.notify.inert import commands, inert, inert_html
from zborg.notify.secrets import Secrets
from zborg.reporting.notify import message

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
# One for each syntax of each service; all of it is what a host may print.
HOSTILE = (
    "<!channel> <!here|x> <@U012ABCDEF> <#C012> <https://evil.example/a|x> "  # Slack
    "@everyone x@here <@123456789012345678> <@!1> <@&1> <:e:1> "  # Discord
    "[click](https://evil.example/b) ![i](http://evil.example/c) [c][1] [1]: evil.example/d "  # Markdown
    # Telegram
    "<a href='https://evil.example/e'>x</a> &lt;a href=&quot;tg://resolve?domain=x&quot;&gt; @admin "
    "@channel @all ~town-square #alarm "  # Mattermost, Rocket.Chat
    "@room @root:evil.example https://matrix.to/#/@root:evil.example "  # Matrix
    "@**all** @_**root** #**general** "  # Zulip
    "<users/all> <mention-person:x> <@all> mailto:root@evil.example www.evil.example evil.example/f"
)
COMMAND = "zborg host test web1.example.org '/etc/zborg/agent.conf'"
LOGGED = ("``` @everyone", "zborg status evil.example", "-> zborg status https://evil.example")

ACTIVE = (
    r"@(everyone|here|channel|all|room)",
    r"(?<!\w)@[^\s\u200b]",
    r"<[!@#:a-z/]",
    r"://",
    r"(?i)\bwww\.",
    r"\]\\?[(\[:]",
    r"(?<!\w)[#~]\w",
    r"\bmailto:",
    r"\bevil\\?\.example",
)

# {server} is the recording server; what goes to a fixed address is led there.
URLS = (
    "slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ/#zborg",
    "slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ/#zborg?blocks=yes",
    "discord://4174216298/JHMHI8qBe7bk2ZwO5U711o3dV_js",
    "discord://4174216298/JHMHI8qBe7bk2ZwO5U711o3dV_js?format=markdown",
    "tgram://123456789:abcdefg_hijklmnop/12315544/",
    "tgram://123456789:abcdefg_hijklmnop/12315544/?format=markdown",
    "mmost://{server}/3ccdd113474722377935511fc85d3dd4",
    "matrix://user:pass@{server}/%23room%3Aexample.org",
    "matrix://user:pass@{server}/%23room%3Aexample.org?format=html",
    "ntfy://{server}/topic",
    "ntfy://{server}/topic?format=markdown",
    "rocket://4kdfjdfk/12345678901234567@{server}/#zborg?mode=webhook",
    "gchat://workspace/key/token",
    "workflows://prod.example.com:443/aaa/bbb",
    "wxteams://" + "a" * 80,
    "zulip://botname@org/a8e0a3c1b2f54a2fb9c4bd1e2a3f4c5d/channel",
    "gotify://{server}/abcdefghijklmno",
    "json://{server}/x",
)


def told_by(text: str) -> Message:
    """A night in which web1 printed `text`."""
    bad = Outcome("host", "web1", Status.FAILED, text, f"look:\n{COMMAND}", Result(log=(text, *LOGGED)))
    return message(
        Report("backup", "20260301T120000Z-ab", "srv1", NOON, NOON, Status.FAILED, Exit.FAILED, (bad,)),
        (),
        "[$SERVER] $STATUS",
    )


def answer(_: Request) -> Any:
    from werkzeug import Response

    found = {"ok": True, "result": {"message_id": 1}, "access_token": "a", "room_id": "!r:example.org"}
    found |= {
        "user_id": "@a:example.org",
        "home_server": "example.org",
        "versions": ["v1.1"],
        "event_id": "e",
    }
    return Response(json.dumps(found), mimetype="application/json")


@pytest.fixture
def recorder(httpserver: HTTPServer, monkeypatch: pytest.MonkeyPatch) -> HTTPServer:
    """A server that takes everything, wherever a service has its own."""
    httpserver.expect_request(re.compile(".*")).respond_with_handler(answer)
    whole = requests.Session.request
    here = f"{httpserver.host}:{httpserver.port}"

    def led_here(self: requests.Session, method: str, url: str, *rest: Any, **named: Any) -> Any:
        there = urlsplit(url)
        return whole(self, method, urlunsplit(("http", here, there.path, there.query, "")), *rest, **named)

    monkeypatch.setattr(requests.Session, "request", led_here)
    return httpserver


def arrived(server: HTTPServer) -> list[str]:
    """Every text that holds something of the message."""
    found: list[str] = []
    for request, _ in server.log:
        body = request.get_data().decode()
        found += strings(json.loads(body) if body.startswith("{") else parse_qs(body))
    return [text for text in found if "web1" in text or "srv1" in text]


def strings(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    for each in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from strings(each)


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, list[tuple[str, str | None]]]] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, attrs))

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def assert_inert(text: str) -> None:
    page = Tags()
    page.feed(text)
    assert not {"a", "img", "script", "iframe", "form"} & {tag for tag, _ in page.tags}, text
    shown = re.sub(r"</?(b|br|p|pre|h1|code) ?/?>", "", text)  # Apprise's own
    for pattern in ACTIVE:
        assert not re.search(pattern, shown), (pattern, shown)


@pytest.mark.parametrize("url", URLS)
def test_nothing_that_arrives_mentions_or_links(recorder: HTTPServer, url: str) -> None:
    address = f"{recorder.host}:{recorder.port}"
    notifier = ByApprise(1, url.format(server=address), Secrets(""), Notify())
    try:
        notifier.send(told_by(HOSTILE), 5)
    except Exception as error:  # a service that wants another answer has its message all the same
        assert arrived(recorder), error
    texts = arrived(recorder)
    assert texts, recorder.log
    assert any("evil" in text for text in texts), "the host's text has to arrive, or nothing was tried"
    for text in texts:
        assert_inert(text)


def test_a_mail_links_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with mail_server(tmp_path, "ssl") as mail:
        monkeypatch.setenv("SSL_CERT_FILE", str(mail.ca))
        assert_mail_is_inert(mail)


def assert_mail_is_inert(mail: Mail) -> None:
    ByApprise(1, mail.url(), Secrets(""), Notify()).send(told_by(HOSTILE), 5)
    (got,) = mail.received
    parts = {part.get_content_subtype(): part.get_content() for part in got.walk() if not part.is_multipart()}
    page = Tags()
    page.feed(parts["html"])
    assert not {"a", "img", "script", "form"} & {tag for tag, _ in page.tags}
    for text in (parts["plain"], "".join(page.text)):
        assert "evil" in text
        assert not re.search(r"://|\bwww\.|\bevil\.example|mailto:", text), text


# --- the text itself ---

_PIECES = st.sampled_from([*HOSTILE.split(" "), "x", " ", "\n", "@", "<", "#", "~", "]", "(", "&", "é", "."])


@given(st.lists(_PIECES, max_size=12).map("".join))
def test_whatever_is_put_together_is_inert_and_nothing_is_lost(text: str) -> None:
    made = inert(text)
    assert made.replace("\u200b", "") == text
    for pattern in ACTIVE:
        assert not re.search(pattern, made), (pattern, made)


def test_commands_can_still_be_copied_and_nobody_forges_one() -> None:
    told = told_by(HOSTILE)
    whole = commands(told.report)
    assert whole == {COMMAND}
    assert f"{COMMAND}\n" in inert(told.text, whole)
    assert html.escape(COMMAND, quote=False).replace("'", "&#39;") in inert_html(told.html, whole)
    assert "zborg status evil.\u200bexample" in inert(told.text, whole)


@pytest.mark.parametrize(
    "text",
    [
        "tank/borg/web1@zborg_2026-03-01T120000Z: 3 streams, 12.5 MiB",
        "zfs hold zborg:to:vault tank/borg/web1@zborg_2026-03-01T120000Z",
        "3 < 5, a -> b, ~/.ssh, # a comment, 192.0.2.7:22, root@web1",
    ],
)
def test_ordinary_text_is_left_alone(text: str) -> None:
    assert inert(text) == text
