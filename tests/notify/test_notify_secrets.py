"""Secrets of notifiers: files of their own, and that none is in anything that is said."""

from __future__ import annotations

import socket
from dataclasses import replace
from pathlib import Path

import pytest

from tests.harness.builders.notices import bad_night, sent, with_notifiers
from tests.harness.mail import PASSWORD, Mail
from tests.harness.worlds.command_line import zborg
from tests.harness.worlds.local import LocalVault
from zborg.errors import Exit
from zborg.model import Notify, Status
from zborg.notify import notifiers
from zborg.notify.reach import troubles
from zborg.notify.secrets import hidden
from zborg.steps.observe import notify


def secrets_file(tmp_path: Path, text: str, mode: int = 0o600) -> str:
    path = tmp_path / "secrets.toml"
    path.write_text(text)
    path.chmod(mode)
    return str(path)


def test_a_secret_comes_from_a_file_of_its_own(mail: Mail, tmp_path: Path) -> None:
    path = secrets_file(tmp_path, f'MAIL = "{PASSWORD}"\n')
    (told,) = sent(Notify(urls=(mail.url("${MAIL}"),), secrets=path), bad_night())
    assert told.status is Status.OK, told.message


@pytest.mark.parametrize(
    ("text", "mode", "words"),
    [
        ('MAIL = "hush-hush"', 0o640, "can be read by others"),
        ('OTHER = "hush-hush"', 0o600, "has no MAIL"),
        ("MAIL = hush-hush", 0o600, "is no TOML"),
        ("", None, "No such file"),
    ],
)
def test_a_secrets_file_that_is_no_good(tmp_path: Path, text: str, mode: int | None, words: str) -> None:
    path = secrets_file(tmp_path, text, mode) if mode else str(tmp_path / "none")
    settings = Notify(urls=("mailto://u:${MAIL}@localhost:1",), secrets=path)
    (told,) = sent(settings, bad_night())
    assert words in told.message
    assert told.remedy
    assert "hush" not in str(told)


def test_no_secret_is_in_anything_that_is_said(
    vault: LocalVault, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Each service fails in its own way; what it says, logs and saves is searched for parts of its URL."""
    urls = [
        "mailto://user:hush-1aaa@localhost:1?from=a@example.net&to=b@example.net",
        "json://user:hush-2bbb@localhost:1/hush-2ccc",
        "tgram://123456789:hush_3abcdefghijklmnopqrstuvwxyzabcdef/12315544/",
        "discord://hush-4aaa/",
        "slack://hush-5aaa/hush-5bbb/hush-5ccc",
        "nosuch://hush-6aaa",
    ]
    path = secrets_file(tmp_path, 'LATER = "hush-7aaa"')
    settings = Notify(
        urls=(*urls, "mailto://u:${LATER}@localhost:1"),
        pings={"run": "http://localhost:1/hush-8aaa"},
        secrets=path,
        timeout=3,
    )
    no_network = [one for one in notifiers(settings) if "tgram" not in one.name]  # it would be asked
    context = replace(with_notifiers(vault, settings), notifiers=tuple(no_network))
    told = notify.notify_of(context, bad_night())
    assert told is not None
    assert [one.status for one in told.outcomes] == [Status.FAILED] * len(no_network)
    said = capfd.readouterr()
    kept = "".join(one.read_text() for one in (vault.state / "runs").iterdir())
    everything = said.out + said.err + kept + repr(context.config) + str(told)
    assert "hush" not in everything


@pytest.mark.parametrize(
    "form",
    [
        "mailtos://vault:{}@localhost:1?from=a@example.net&to=b@example.net",
        "mailtos://{}@localhost",
        "json://u:{}@localhost:1/x",
        "json://localhost:1/{}",
        "json://localhost:1/x?+X-Token={}",
        "mmost://localhost:1/{}",
        "http://u:{}@localhost:1/x",
        "http://localhost:1/{}",
    ],
)
def test_a_password_whose_characters_are_not_encoded_stays_secret(
    form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cut in two, in small letters, encoded: it comes back in many ways. Half of it may pass for a server."""

    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    monkeypatch.setattr(notify, "_WAITS", ())
    for cut in [*"/#?@:[]%+&=;,", "\u2100", "\uff1a", "ü", "%2F", "%40", "%23"]:
        url = form.replace("{}", f"Hushaaa{cut}Hushbbb")
        settings = Notify(urls=(url,), pings={"run": url} if url.startswith("http") else {}, timeout=3)
        told = sent(settings, bad_night())
        said = f"{told} {list(troubles(settings))}".lower()
        assert all(one.status is Status.FAILED for one in told)
        assert "hush" not in said.replace("\\", ""), (url, said)
        assert "bug in zborg" not in said, url


def test_what_a_mail_server_says_of_a_name_is_shown() -> None:
    url = "mailtos://vault:correct-horse@mail.example.net:2525?to=admin@example.net"
    said = "550 mail.example.net: no such user admin@example.net; vault, CORRECT%2Dhorse"
    shown = "550 mail.example.net: no such user admin@example.net; ***, ***%2D***"
    assert hidden(said, url) == shown


@pytest.mark.parametrize(
    "lines",
    [
        'urls = "mailtos://u:hush@localhost"',
        'urls = [["mailtos://u:hush@localhost"]]',
        'urls = ["MAILTOS://u:hush@localhost"]',
        'url = ["mailtos://u:hush@localhost"]',
        'urls = ["mailtos://u:hush@localhost"',
        'ping = {run = ["https://localhost/hush"]}',
        'ping = {run = "localhost/hush"}',
        'command = "curl -H hush"',
    ],
)
def test_a_mistake_in_the_configuration_shows_no_secret(config: Path, lines: str) -> None:
    config.write_text(f"{config.read_text()}\n[notify]\n{lines}\n")
    done = zborg("status", "--config", str(config))
    assert done.returncode == Exit.CONFIG
    assert "hush" not in done.stdout + done.stderr
