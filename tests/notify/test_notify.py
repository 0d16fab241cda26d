"""Notifications against real servers: mail with TLS and a login, HTTP, and a command."""

from __future__ import annotations

import json
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from tests.harness.builders.reports import NOON, outcome, report
from tests.harness.mail import PASSWORD, Mail, dripping_server, mail_server
from tests.harness.worlds.command_line import BUG, python, zborg
from tests.harness.worlds.local import LocalVault
from tests.harness.worlds.steps import of
from tests.harness.worlds.world import ZBORG
from zborg.errors import Exit
from zborg.interrupt import cancelled
from zborg.model import CHOSEN, News, Notify, Outcome, Report, Status
from zborg.notify import notifiers
from zborg.notify.reach import troubles
from zborg.notify.secrets import hidden
from zborg.reporting.notify import message
from zborg.steps.context import Context
from zborg.steps.observe import notify
from zborg.steps.observe.notify import announce, deliver, try_all
from zborg.steps.observe.status import saved

UUID = "6f1c2f0e-aaaa-bbbb-cccc-0123456789ab"
LOG = ["Repository check failed", "borg: rc 2", "PASSPHRASE=hunter22 was set"]


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


def bad_night(**changes: object) -> Report:
    hosts = [outcome(Status.OK, f"web{n}", data={"step": "backup", "files": 10 + n}) for n in range(1, 4)]
    data = {"step": "backup", "log": LOG}
    failed = outcome(Status.FAILED, "db1", message="the storage is full", remedy="free space", data=data)
    skipped = outcome(Status.SKIPPED, "old1", data={"step": "backup"})
    pool = Outcome("pool", "tank", Status.OK, data={"step": "scrub"})
    return report(*hosts, failed, skipped, pool, **{"command": "run"} | changes)


def sent(settings: Notify, one: Report, *, again: tuple[str, ...] = ()) -> list[Outcome]:
    made = message(one, again, settings.subject)
    return deliver(tuple(notifiers(settings)), [made], settings.timeout)


def with_notifiers(vault: LocalVault, settings: Notify) -> Context:
    context = vault.context()
    config = replace(context.config, notify=settings)
    return replace(context, config=config, notifiers=tuple(notifiers(settings)))


# --- mail -------------------------------------------------------------------------------------------------


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


# --- pings ------------------------------------------------------------------------------------------------


def paths(server: HTTPServer) -> list[str]:
    return [request.path for request, _ in server.log]


def ping(server: HTTPServer, command: str = "run", **more: object) -> Notify:
    return Notify(pings={command: server.url_for(f"/{UUID}")}, **more)  # type: ignore[arg-type]  # a test names them


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
    told = notify.tell(context, bad_night(status=status, exit=Exit.OK))
    assert told and told.status is Status.OK
    assert paths(at_once) == [f"/{UUID}/start", f"/{UUID}{end}"]
    assert b"3 good, 1 failed" in at_once.log[-1][0].data


def test_a_ping_is_of_its_command_alone(httpserver: HTTPServer, vault: LocalVault) -> None:
    """A good scrub must not turn the check of a failed backup green again."""
    context = with_notifiers(vault, ping(httpserver, "backup"))
    announce(context, "scrub")
    assert notify.tell(context, bad_night(command="scrub")) is None
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
    told = notify.tell(context, bad_night(status=Status.OK))
    assert told is not None
    assert told.outcomes[0].message == "its start was not told: localhost answers with status 500"


# --- a command --------------------------------------------------------------------------------------------


def script(tmp_path: Path, text: str) -> str:
    path = tmp_path / "hook"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o700)
    return str(path)


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
    assert time.monotonic() - began < 8
    assert told.status is Status.FAILED
    deadline = time.monotonic() + 10
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
    assert f"{hook}: it was ended: no end within 2.0 s" in done.stderr


def test_a_command_that_fails_is_told_with_its_words_and_not_repeated(tmp_path: Path) -> None:
    hook = script(tmp_path, f"echo once >>{tmp_path}/count; echo no relay today >&2; exit 3")
    (told,) = sent(Notify(command=(hook,)), bad_night())
    assert told.message.endswith("ended with status 3: no relay today")
    assert (tmp_path / "count").read_text() == "once\n"


# --- limits, and who is told ------------------------------------------------------------------------------


@pytest.mark.parametrize("drip", [b"", b"220-wait\r\n"])
def test_servers_that_never_answer_cost_the_limit_and_no_more(drip: bytes) -> None:
    """One says nothing; the other goes on beginning an answer, so that no socket ever times out."""
    with dripping_server(drip) as port:
        url = f"mailto://user:secret99@localhost:{port}?from=a@example.net&to=b@example.net"
        settings = Notify(urls=(url, url), pings={"run": f"http://localhost:{port}/{UUID}"}, timeout=1)
        began = time.monotonic()
        told = sent(settings, bad_night())
        assert time.monotonic() - began < 2.5
    assert [one.status for one in told] == [Status.FAILED] * 3
    assert UUID not in str(told)
    assert "secret99" not in str(told)


def test_that_a_run_was_interrupted_is_told_as_well(tmp_path: Path) -> None:
    hook = script(tmp_path, f"cat >{tmp_path}/got")
    cancelled.set()
    try:
        (told,) = sent(Notify(command=(hook,)), bad_night(status=Status.INTERRUPTED))
    finally:
        cancelled.clear()
    assert told.status is Status.OK, told.message
    assert json.loads((tmp_path / "got").read_text())["status"] == "interrupted"


def test_who_wants_to_go_need_not_wait_for_a_dead_server() -> None:
    """Ctrl-C, while a server says nothing."""
    with dripping_server(b"220-wait\r\n") as port:
        timer = threading.Timer(0.5, cancelled.set)
        timer.start()
        began = time.monotonic()
        try:
            (told,) = sent(Notify(urls=(f"mailto://localhost:{port}?from=a@b.net&to=b@b.net",)), bad_night())
        finally:
            cancelled.clear()
        assert time.monotonic() - began < 10
    assert told.status is Status.FAILED
    assert told.message == "not told before the interruption"


def test_one_dead_notifier_keeps_no_other_from_telling(tmp_path: Path, vault: LocalVault) -> None:
    hook = script(tmp_path, f"cat >{tmp_path}/got")
    context = with_notifiers(vault, Notify(urls=("json://localhost:1/",), command=(hook,)))
    told = notify.tell(context, bad_night())
    assert told is not None
    assert (told.status, told.exit) == (Status.WARNING, Exit.OK)
    assert [one.status for one in told.outcomes] == [Status.FAILED, Status.OK]
    assert (tmp_path / "got").exists()
    kept = context.runs.newest("notify")
    assert kept
    assert kept.outcomes == told.outcomes
    (warning,) = notify.warnings(told)
    assert warning.message.startswith("notify: url 1 (json): ")


def test_status_shows_who_was_not_told(vault: LocalVault) -> None:
    context = with_notifiers(vault, Notify(urls=("json://localhost:1/",)))
    notify.tell(context, bad_night())
    now = context.clock() + timedelta(hours=3)
    shown = of(saved(context.config, context.runs, context.locks, now), "url 1 (json)")
    assert shown.status is Status.WARNING
    assert shown.message.startswith("not told 3 hours ago: ")
    nobody = replace(context.config, notify=Notify())
    subjects = [one.subject for one in saved(nobody, context.runs, context.locks, now).outcomes]
    assert "url 1 (json)" not in subjects, "it is nobody's any more"


@pytest.mark.parametrize("news", sorted(CHOSEN - {News.RECOVERY}))
def test_only_what_was_chosen_is_told(tmp_path: Path, vault: LocalVault, news: News) -> None:
    hook = script(tmp_path, f"echo >>{tmp_path}/got")
    context = with_notifiers(vault, Notify(command=(hook,), on=frozenset({news})))
    for status in (Status.OK, Status.WARNING, Status.PARTIAL, Status.CONFLICT):
        notify.tell(context, bad_night(status=status))
    assert (tmp_path / "got").read_text() == "\n"


def test_a_recovery_is_known_from_the_last_try_of_each_host(tmp_path: Path, vault: LocalVault) -> None:
    """Each host may have a cron line of its own, so that the last report is of another one."""
    hook = script(tmp_path, f"cat >{tmp_path}/got")
    context = with_notifiers(vault, Notify(command=(hook,), on=frozenset({News.RECOVERY})))
    runs = [
        report(outcome(Status.FAILED, "web1"), run="20260210T120000Z-0001"),
        report(outcome(Status.OK, "web2"), run="20260211T120000Z-0001"),
        report(outcome(Status.OK, "web2"), run="20260212T120000Z-0001"),
    ]
    for one in runs:
        context.runs.save(one)
    assert notify.tell(context, runs[-1]) is None
    good = report(outcome(Status.OK, "web1"), run="20260212T130000Z-0001")
    context.runs.save(good)
    assert notify.tell(context, good) is not None
    got = json.loads((tmp_path / "got").read_text())
    assert got["news"] == ["recovery", "success"]
    assert got["subject"].startswith("[vault] backup recovered:")


def test_what_was_told_to_be_good_again_by_day_is_not_told_by_night(
    tmp_path: Path, vault: LocalVault
) -> None:
    hook = script(tmp_path, f"cat >{tmp_path}/got")
    context = with_notifiers(vault, Notify(command=(hook,)))

    def news(command: str, at: int, status: Status) -> list[str]:
        """Of a backup, by itself or in a night whose steps save theirs first."""
        when = NOON + timedelta(hours=at)
        step = report(outcome(status, "web1"), run=f"{when:%Y%m%dT%H%M%SZ}-0002", started=when)
        context.runs.save(step)
        whole = report(outcome(status, "web1", data={"step": "backup"}), command="run", started=when)
        whole = replace(whole, run=f"{when:%Y%m%dT%H%M%SZ}-0001")
        told = step if command == "backup" else whole
        context.runs.save(told)
        notify.tell(context, told)
        return list(json.loads((tmp_path / "got").read_text())["news"])

    assert news("run", 0, Status.FAILED) == ["failure"]
    assert news("run", 24, Status.OK) == ["recovery", "success"]
    assert news("run", 48, Status.FAILED) == ["failure"]
    assert news("backup", 60, Status.OK) == ["recovery", "success"]
    assert news("run", 72, Status.OK) == ["success"]


def test_a_weekly_digest_in_place_of_good_nights(mail: Mail, vault: LocalVault, clock: object) -> None:
    settings = Notify(urls=(mail.url(),), digest=True)
    context = replace(with_notifiers(vault, settings), clock=clock)  # type: ignore[arg-type]  # the fixture Hours
    for day in range(8):
        night = report(
            outcome(Status.FAILED if day == 6 else Status.OK, "web1", data={"new_bytes": 1 << 20}),
            run=f"202602{12 + day:02}T120000Z-0001",
            started=context.clock(),
            finished=context.clock(),
        )
        context.runs.save(night)
        notify.tell(context, night)
        clock.tick(24)  # type: ignore[attr-defined]  # the fixture Hours
    subjects = [str(one["subject"]) for one in mail.received]
    assert subjects == [
        "[test] week on test: ok, 1 of 1 host good",  # at once, so that somebody sees that it works
        "[test] week on test: ok, 1 of 1 host good",  # Monday, 16 February
        "[vault] backup failed: 0 good, 1 failed, 0 skipped",
        "[vault] backup recovered: 1 good, 0 failed, 0 skipped",
    ]


def test_who_was_away_gets_the_digest_with_a_later_command(
    tmp_path: Path, vault: LocalVault, httpserver: HTTPServer
) -> None:
    """The others have it once, and a dead one must not cost the week's."""
    hook = script(tmp_path, f"cat >>{tmp_path}/got")
    away = httpserver.url_for("/zborg").replace("http://", "json://")
    context = with_notifiers(vault, Notify(urls=(away,), command=(hook,), digest=True, on=frozenset()))
    httpserver.expect_ordered_request("/zborg").respond_with_data("no", status=403)
    httpserver.expect_ordered_request("/zborg").respond_with_json({})
    told = [notify.tell(context, report(outcome(Status.OK, "web1"))) for _ in range(3)]
    who = [[(one.subject, one.status.value) for one in each.outcomes] if each else [] for each in told]
    url, command = "url 1 (json)", f"command {hook}"
    assert who == [[(url, "failed"), (command, "ok")], [(url, "ok")], []]
    assert len(httpserver.log) == 2


# --- secrets ----------------------------------------------------------------------------------------------


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
    told = notify.tell(context, bad_night())
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


# --- the command line -------------------------------------------------------------------------------------


@pytest.fixture
def told_night(config: Path, tmp_path: Path) -> Path:
    """A night in which nothing works is told to a hook, and to a server that is down."""
    hook = script(tmp_path, f"cat >{tmp_path}/got")
    config.write_text(
        f'{config.read_text()}\n[notify]\nurls = ["json://hush:hush@localhost:1/"]\n'
        f'command = ["{hook}"]\ntimeout = "2s"\n'
    )
    return config


@pytest.mark.parametrize("command", ["run", "backup", "snapshot", "rotate", "replicate", "scrub"])
def test_the_exit_code_is_the_commands_and_its_report_is_told(
    config: Path, told_night: Path, tmp_path: Path, command: str
) -> None:
    done = zborg(command, "--json", "--config", str(told_night))
    printed = json.loads(done.stdout)
    assert done.returncode == printed["exit"] not in (Exit.OK, Exit.BUG)
    assert "zborg: notify: url 1 (json): " in done.stderr
    assert "hush" not in done.stdout + done.stderr
    got = json.loads((tmp_path / "got").read_text())
    assert {key: got[key] for key in printed} == printed
    assert "failure" in got["news"]


@pytest.mark.parametrize(
    "words",
    [["run", "-n"], ["rotate", "--freeze", "web1"], ["status"], ["backup", "nobody"], ["holds", "list"]],
)
def test_what_people_look_at_themselves_is_not_told(
    told_night: Path, tmp_path: Path, words: list[str]
) -> None:
    done = zborg(*words, "--config", str(told_night))
    assert "notify" not in done.stderr
    assert not (tmp_path / "got").exists()


def test_a_bug_is_told_too(told_night: Path, tmp_path: Path) -> None:
    done = python(BUG, "--config", str(told_night), TMPDIR=str(tmp_path))
    assert done.returncode == Exit.BUG
    got = json.loads((tmp_path / "got").read_text())
    assert got["outcomes"][0]["message"] == "this is a bug in zborg: RuntimeError: the sky fell"


NO_ROOM = """
import sys
import zborg.state.runs
def full(self, report):
    if report.command == "notify":
        raise OSError(28, "No space left on device")
zborg.state.runs.Runs.save = full
sys.argv = ["zborg", "scrub", *sys.argv[1:]]
from zborg.cli.main import run
run()
"""


def test_whatever_goes_wrong_with_telling_changes_no_exit_code(told_night: Path) -> None:
    before = zborg("scrub", "--config", str(told_night)).returncode
    done = python(NO_ROOM, "--config", str(told_night))
    assert done.returncode == before
    assert "zborg: notify: on this machine: No space left on device" in done.stderr


def test_a_full_disk_under_the_output_keeps_nobody_from_being_told(told_night: Path, tmp_path: Path) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [str(ZBORG), "scrub", "--config", str(told_night)],
            stdout=full,
            stderr=subprocess.PIPE,
            timeout=120,
            check=False,
        )
    assert done.returncode == Exit.FAILED
    assert b"cannot be written: No space left on device" in done.stderr
    assert json.loads((tmp_path / "got").read_text())["command"] == "scrub"


def test_the_last_run_in_the_log_is_none_that_told_of_it(told_night: Path, tmp_path: Path) -> None:
    told_night.write_text(told_night.read_text() + '[log]\nto = "file"\n')
    run = json.loads(zborg("scrub", "--json", "--config", str(told_night)).stdout)["run"]
    lines = zborg("log", "--config", str(told_night)).stdout.splitlines()
    assert [line.split()[1] for line in lines] == [run] * len(lines)
    assert lines[-1].endswith("scrub failed, exit 4")
    log = (tmp_path / "state" / "zborg.log").read_text()
    assert "url 1 (json) failed: " in log
    assert "hush" not in log


# --- a test message ---------------------------------------------------------------------------------------


def test_notify_test_reaches_everybody_and_names_who_was_not(
    httpserver: HTTPServer, vault: LocalVault, tmp_path: Path
) -> None:
    httpserver.expect_request(f"/{UUID}/log").respond_with_data("OK")
    hook = script(tmp_path, f"cat >{tmp_path}/got")
    settings = ping(httpserver, on=frozenset())
    fine = try_all(with_notifiers(vault, replace(settings, command=(hook,))))
    assert (fine.exit, len(fine.outcomes)) == (Exit.OK, 2)
    dead = try_all(with_notifiers(vault, replace(settings, urls=("json://localhost:1/",))))
    assert dead.exit is Exit.FAILED
    assert [one.status for one in dead.outcomes] == [Status.OK, Status.FAILED]


def test_notify_test_without_anybody(vault: LocalVault) -> None:
    told = try_all(with_notifiers(vault, Notify()))
    assert told.exit is Exit.FAILED
    assert "names nobody" in told.outcomes[0].message


def test_its_dry_run_sends_nothing(httpserver: HTTPServer, vault: LocalVault) -> None:
    told = try_all(with_notifiers(vault, ping(httpserver)), dry_run=True)
    assert told.plan == ("send a test to ping of run",)
    assert not paths(httpserver)


def test_nothing_heavy_is_imported_before_there_is_news() -> None:
    program = (
        "import sys; from zborg.notify import notifiers; from zborg.model import Notify;"
        "assert list(notifiers(Notify(urls=('mailto://a',), command=('/a',), pings={'run': 'http://a'})));"
        "print(*sys.modules)"
    )
    loaded = python(program).stdout.split()
    assert "zborg.notify.by_apprise" in loaded
    assert not {"apprise", "jinja2", "requests", "smtplib"} & set(loaded)
