"""When a repository was served: written before it is, ended by what the server sees, kept on a full disk."""

from __future__ import annotations

import errno
import os
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest

from zborg import atomic
from zborg.model.ledger.sessions import Purpose, Session
from zborg.state.sessions import Sessions

pytestmark = pytest.mark.unit
NOW = datetime(2026, 2, 12, 14, 49, 33, tzinfo=UTC)


def session(first: int, purpose: Purpose = Purpose.BACKUP) -> Session:
    return Session(purpose, "run", NOW, first)


def test_a_session_ends_with_what_the_server_sees(tmp_path: Path) -> None:
    sessions = Sessions(tmp_path / "sessions")
    assert sessions.of("web1") == ()
    sessions.end("web1", 7)
    sessions.mark("web1", Purpose.SIGN)
    assert not list((tmp_path / "sessions").glob("*.json")), "nothing was begun"
    sessions.begin("web1", session(5))
    assert [(one.first, one.last) for one in sessions.of("web1")] == [(5, None)]
    sessions.mark("web1", Purpose.SIGN)
    sessions.end("web1", 9)
    sessions.end("web1", 12)
    assert [(one.purpose, one.first, one.last) for one in sessions.of("web1")] == [(Purpose.SIGN, 5, 9)]
    assert sessions.of("web2") == ()


def test_one_whose_end_nobody_saw_ends_where_the_next_begins(tmp_path: Path) -> None:
    sessions = Sessions(tmp_path)
    sessions.begin("web1", session(5))
    Sessions(tmp_path).begin("web1", session(9, Purpose.PRUNE))
    assert [(one.first, one.last) for one in sessions.of("web1")] == [(5, 9), (9, None)]
    sessions.begin("web1", session(3))
    assert sessions.of("web1")[1].last == 9, "never before it began"


def test_what_is_in_the_ledger_is_forgotten_and_what_lasts_is_not(tmp_path: Path) -> None:
    sessions = Sessions(tmp_path)
    for first in (1, 5, 9):
        sessions.begin("web1", session(first))
    sessions.forget("web1", 5)
    assert [one.first for one in sessions.of("web1")] == [5, 9]
    sessions.forget("web1", 100)
    assert [one.first for one in sessions.of("web1")] == [9]
    sessions.forget("web1", 100)


def test_no_more_than_a_year_of_them_is_kept(tmp_path: Path) -> None:
    sessions = Sessions(tmp_path)
    for first in range(410):
        sessions.begin("web1", session(first))
    assert len(sessions.of("web1")) == 400


@pytest.mark.parametrize("text", ["", "{", "[]", '{"sessions": [{"purpose": "x"}]}', '{"sessions": [7]}'])
def test_a_file_that_cannot_be_read_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "web1.json").write_text(text)
    sessions = Sessions(tmp_path)
    assert sessions.of("web1") == ()
    sessions.begin("web1", session(1))
    assert len(sessions.of("web1")) == 1


def test_on_a_full_disk_they_stay_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sessions = Sessions(tmp_path)
    with monkeypatch.context() as patch:

        def full(*_: object) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        patch.setattr(atomic, "write", full)
        sessions.begin("web1", session(1))
        sessions.end("web1", 5)
        assert [(one.first, one.last) for one in sessions.of("web1")] == [(1, 5)]
    assert Sessions(tmp_path).of("web1") == ()
    sessions.begin("web1", session(5))
    assert [one.first for one in Sessions(tmp_path).of("web1")] == [1, 5]
    with monkeypatch.context() as patch:

        def forbidden(*_: object) -> None:
            raise OSError(errno.EACCES, os.strerror(errno.EACCES))

        patch.setattr(atomic, "write", forbidden)
        with pytest.raises(OSError, match="denied"):
            sessions.begin("web1", session(9))


def test_a_backup_and_an_audit_at_once_lose_nothing(tmp_path: Path) -> None:
    """Each begins, ends and forgets on its own; in the end what was begun last is there."""
    sessions, done = Sessions(tmp_path), threading.Event()

    def audits() -> None:
        audit = Sessions(tmp_path)
        while not done.is_set():
            ended = [one.last for one in audit.of("web1") if one.last is not None]
            if ended:
                audit.forget("web1", ended[0])

    thread = threading.Thread(target=audits)
    thread.start()
    try:
        for first in range(0, 600, 2):
            sessions.begin("web1", session(first))
            assert [one.first for one in sessions.of("web1")][-1:] == [first]
            sessions.end("web1", first + 1)
            assert [one for one in sessions.of("web1") if one.last is None] == []
    finally:
        done.set()
        thread.join()
