"""Notifications by HTTP and by a command, against real ones, and within their limits."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from tests.harness.builders.notices import UUID, bad_night, paths, ping, script, sent, with_notifiers
from tests.harness.mail import dripping_server
from tests.harness.watch import HANG
from tests.harness.worlds.command_line import zborg
from tests.harness.worlds.local import LocalVault
from zborg.errors import Exit
from zborg.model import Notify, Status
from zborg.steps.observe import notify
from zborg.steps.observe.notify import announce


@pytest.mark.parametrize(
    ("status", "end"),
    [
        (Status.OK, ""),
        (Status.WARNING, ""),
        (Status.PARTIAL, "/fail"),
        (Status.FAILED, "/fail"),
        (Status.DAMAGED, "/fail"),
    ],
)
def test_pings_come_in_order_start_first(
    at_once: HTTPServer, vault: LocalVault, status: Status, end: str
) -> None:
    """The start takes long, and the end waits for it."""

    def slow(_: Request) -> Response:
        time.sleep(0.2)
        return Response("OK")

    at_once.expect_request(f"/{UUID}/start").respond_with_handler(slow)
    at_once.expect_request(f"/{UUID}{end}").respond_with_data("OK")
    context = with_notifiers(vault, ping(at_once))
    announce(context, "run")
    told = notify.notify_of(context, bad_night(status=status, exit=Exit.OK))
    assert told and told.status is Status.OK
    assert paths(at_once) == [f"/{UUID}/start", f"/{UUID}{end}"]
    assert b"3 good, 1 failed" in at_once.log[-1][0].data


def test_a_ping_is_of_its_command_alone(httpserver: HTTPServer, vault: LocalVault) -> None:
    """A good scrub must not turn the check of a failed backup green again."""
    context = with_notifiers(vault, ping(httpserver, "backup"))
    announce(context, "scrub")
    assert notify.notify_of(context, bad_night(command="scrub")) is None
    assert not paths(httpserver)


def test_500_then_200_is_told_in_the_end(httpserver: HTTPServer) -> None:
    httpserver.expect_ordered_request(f"/{UUID}/fail").respond_with_data("", status=500)
    httpserver.expect_ordered_request(f"/{UUID}/fail").respond_with_data("OK")
    (told,) = sent(ping(httpserver), bad_night())
    assert told.status is Status.OK
    assert len(httpserver.log) == 2


def test_what_is_gone_is_not_asked_again(httpserver: HTTPServer) -> None:
    httpserver.expect_request(f"/{UUID}/fail").respond_with_data("", status=404)
    (told,) = sent(ping(httpserver), bad_night())
    assert told.status is Status.FAILED
    assert told.message == "localhost answers with status 404"
    assert len(httpserver.log) == 1


def test_a_lost_start_is_told_with_the_end(httpserver: HTTPServer, vault: LocalVault) -> None:
    httpserver.expect_request(f"/{UUID}/start").respond_with_data("", status=500)
    httpserver.expect_request(f"/{UUID}").respond_with_data("OK")
    context = with_notifiers(vault, ping(httpserver))
    announce(context, "run")
    told = notify.notify_of(context, bad_night(status=Status.OK))
    assert told is not None
    assert told.outcomes[0].message == "its start was not sent: localhost answers with status 500"


def test_a_command_is_given_the_report(tmp_path: Path) -> None:
    """And its arguments as they are: there is no shell."""
    hook = script(tmp_path, f'cat >{tmp_path}/got; printf "%s" "$1" >{tmp_path}/word')
    (told,) = sent(Notify(command=(hook, "$(id) a  b")), bad_night(), again=("web1",))
    assert told.status is Status.OK, told.message
    got = json.loads((tmp_path / "got").read_text())
    assert (got["news"], got["command"], got["status"]) == (["partial", "recovery"], "run", "partial")
    assert len(got["outcomes"]) == 6
    assert (tmp_path / "word").read_text() == "$(id) a  b"


def test_a_command_that_does_not_end_is_ended_with_all_it_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And not started again, though there is time left."""
    monkeypatch.setattr(notify, "_TRY", 0.5)
    hook = script(tmp_path, f"echo $$ >>{tmp_path}/pid; sleep 600 & echo $! >>{tmp_path}/pid; wait")
    began = time.monotonic()
    (told,) = sent(Notify(command=(hook,)), bad_night())
    assert time.monotonic() - began < HANG
    assert told.status is Status.FAILED
    deadline = time.monotonic() + HANG
    pids = [int(line) for line in (tmp_path / "pid").read_text().split()]
    assert len(pids) == 2
    while any(Path(f"/proc/{pid}").exists() for pid in pids):
        assert time.monotonic() < deadline, "it still runs"
        time.sleep(0.05)


def test_a_command_that_ignores_signals_ends_before_zborg_does(told_night: Path, tmp_path: Path) -> None:
    hook = script(tmp_path, f"trap '' TERM HUP INT; echo $$ >{tmp_path}/pid; sleep 600")
    text = told_night.read_text().replace('timeout = "2s"', 'timeout = "4s"')
    told_night.write_text(text)
    done = zborg("scrub", "--config", str(told_night))
    pid = int((tmp_path / "pid").read_text())
    assert not Path(f"/proc/{pid}").exists()
    assert f"{hook}: it was ended: no end within" in done.stderr


def test_a_command_that_fails_is_told_with_its_words_and_not_repeated(tmp_path: Path) -> None:
    hook = script(tmp_path, f"echo once >>{tmp_path}/count; echo no relay today >&2; exit 3")
    (told,) = sent(Notify(command=(hook,)), bad_night())
    assert told.message.endswith("ended with status 3: no relay today")
    assert (tmp_path / "count").read_text() == "once\n"


@pytest.mark.parametrize("drip", [b"", b"220-wait\r\n"])
def test_servers_that_never_answer_cost_the_limit_and_no_more(drip: bytes) -> None:
    """One says nothing; the other goes on beginning an answer, so that no socket ever times out."""
    with dripping_server(drip) as port:
        url = f"mailto://user:secret99@localhost:{port}?from=a@example.net&to=b@example.net"
        settings = Notify(urls=(url, url), pings={"run": f"http://localhost:{port}/{UUID}"}, timeout=1)
        began = time.monotonic()
        told = sent(settings, bad_night())
        assert time.monotonic() - began < HANG
    assert [one.status for one in told] == [Status.FAILED] * 3
    assert UUID not in str(told)
    assert "secret99" not in str(told)
