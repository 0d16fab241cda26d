"""Notifications by mail, with TLS and a login, against a real server."""

from __future__ import annotations

import pytest
from pytest_httpserver import HTTPServer

from tests.harness.builders.notices import bad_night, sent
from tests.harness.mail import Mail
from zborg.model import Notify, Status


def test_a_mail_arrives_with_the_numbers_of_the_report(mail: Mail) -> None:
    subject = "$STATUS $SUCCEEDED/$FAILED/$SKIPPED/$TOTAL $RUNTIME of $COMMAND on $SERVER"
    (told,) = sent(Notify(urls=(mail.url(),), subject=subject), bad_night())
    assert told.status is Status.OK, told.message
    (got,) = mail.received
    assert got["subject"] == "partial 3/1/1/5 75.0 s of run on vault"
    assert (got["to"], got["from"]) == ("admin@example.net", "zborg@vault.example.net")
    for body in (mail.text("plain"), mail.text("html")):
        assert "3 good, 1 failed, 1 skipped" in body
        assert "the storage is full" in body
        assert "Repository check failed" in body
        assert "11 files" in body
        assert "hunter22" not in body


def test_no_word_becomes_a_header(mail: Mail) -> None:
    (told,) = sent(Notify(urls=(mail.url(),)), bad_night(server="vault\r\nBcc: all@example.net"))
    assert told.status is Status.OK, told.message
    (got,) = mail.received
    assert got["bcc"] is None
    assert "Bcc: all@example.net" in got["subject"]


def test_a_wrong_password_is_told_and_tried_once(mail: Mail) -> None:
    """More would only lock us out sooner."""
    (told,) = sent(Notify(urls=(mail.url("wrong-horse-8"),)), bad_night())
    assert told.status is Status.FAILED
    assert "535" in told.message
    assert told.remedy == "look at urls under [notify] in zborg.toml; zborg notify test tries them again"
    assert "wrong-horse-8" not in str(told)
    assert mail.logins == [False, False], "one connection, in which smtplib tries two ways"
    assert not mail.received


def test_a_server_without_a_known_authority_gets_no_password(
    mail: Mail, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SSL_CERT_FILE")
    (told,) = sent(Notify(urls=(mail.url(),)), bad_night())
    assert told.status is Status.FAILED
    assert "certificate verify failed" in told.message
    assert not mail.logins


def test_a_server_that_is_down_is_tried_three_times(httpserver: HTTPServer) -> None:
    settings = Notify(urls=("mailto://user:secret99@localhost:1?from=a@example.net&to=b@example.net",))
    (told,) = sent(settings, bad_night())
    assert told.status is Status.FAILED
    assert "localhost" in told.message
    assert "refused" in told.message
    assert "secret99" not in told.message


def test_a_url_that_apprise_does_not_know() -> None:
    first, second = sent(Notify(urls=("nosuch://token-of-ours/chat", "mailto://:@@")), bad_night())
    assert first.status is second.status is Status.FAILED
    assert first.subject == "url 1 (nosuch)"
    assert "token-of-ours" not in str(first)


def test_a_service_without_html_gets_the_text(httpserver: HTTPServer) -> None:
    httpserver.expect_request("/zborg", method="POST").respond_with_json({})
    address = f"{httpserver.host}:{httpserver.port}"
    (told,) = sent(Notify(urls=(f"json://{address}/zborg",)), bad_night())
    assert told.status is Status.OK, told.message
    ((request, _),) = httpserver.log
    body = request.get_json()
    assert body["title"] == "[vault] run partial: 3 good, 1 failed, 1 skipped"
    assert body["message"].startswith("run on vault: partial\n3 good")
    assert "<" not in body["message"]
