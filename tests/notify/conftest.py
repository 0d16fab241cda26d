"""What tests of notifiers share: quick repetitions, a mail server, an HTTP server, and a night by command."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pytest_httpserver import HTTPServer

from tests.harness.builders.notices import script
from tests.harness.mail import Mail, mail_server
from zborg.steps.observe import notify


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notify, "_WAITS", (0.05, 0.05))


@pytest.fixture
def at_once() -> Iterator[HTTPServer]:
    """Takes several requests at once, and logs each when it was answered."""
    with HTTPServer(threaded=True) as server:
        yield server


@pytest.fixture(params=["starttls", "ssl"])
def mail(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Mail]:
    with mail_server(tmp_path, request.param) as server:
        monkeypatch.setenv("SSL_CERT_FILE", str(server.ca))
        yield server


@pytest.fixture
def told_night(config: Path, tmp_path: Path) -> Path:
    """A night in which nothing works is told to a hook, and to a server that is down."""
    hook = script(tmp_path, f"cat >{tmp_path}/got")
    config.write_text(
        f'{config.read_text()}\n[notify]\nurls = ["json://hush:hush@localhost:1/"]\n'
        f'command = ["{hook}"]\ntimeout = "2s"\n'
    )
    return config
