"""The secrets file as systemd hands it to a service of `zborg schedule install`."""

from __future__ import annotations

from pathlib import Path

import pytest

from zborg.errors import NotSent
from zborg.notify import secrets
from zborg.notify.secrets import CREDENTIAL, Secrets
from zborg.planning.schedule import render

pytestmark = pytest.mark.unit


def test_the_credential_comes_before_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usual, handed = tmp_path / "secrets.toml", tmp_path / CREDENTIAL
    for path, value in ((usual, "old"), (handed, "new")):
        path.write_text(f'WORD = "{value}"\n')
        path.chmod(0o400)
    assert Secrets(str(usual)).fill("a://${WORD}") == "a://old"
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert Secrets(str(usual)).fill("a://${WORD}") == "a://new"
    assert secrets.CREDENTIAL == render.CREDENTIAL


def test_what_stands_in_for_a_lost_file_is_not_taken_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """People read of the file that zborg.toml names."""
    (tmp_path / CREDENTIAL).write_text("#")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    with pytest.raises(NotSent, match="/nonexistent/secrets.toml: No such file"):
        Secrets("/nonexistent/secrets.toml").fill("a://${WORD}")
