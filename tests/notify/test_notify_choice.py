"""Who gets what: what was chosen, recoveries, digests, and one dead notifier among others."""

from __future__ import annotations

import json
import threading
import time
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from pytest_httpserver import HTTPServer

from tests.harness.builders.notices import bad_night, script, sent, with_notifiers
from tests.harness.builders.reports import NOON, outcome, report
from tests.harness.mail import Mail, dripping_server
from tests.harness.watch import HANG
from tests.harness.worlds.local import LocalVault
from tests.harness.worlds.steps import of
from zborg.errors import Exit
from zborg.interrupt import cancelled
from zborg.model import CHOSEN, News, Notify, Status
from zborg.steps.observe import notify
from zborg.steps.observe.status import saved


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
        assert time.monotonic() - began < HANG
    assert told.status is Status.FAILED
    assert told.message == "not sent before the interruption"


def test_one_dead_notifier_keeps_no_other_from_telling(tmp_path: Path, vault: LocalVault) -> None:
    hook = script(tmp_path, f"cat >{tmp_path}/got")
    context = with_notifiers(vault, Notify(urls=("json://localhost:1/",), command=(hook,)))
    told = notify.notify_of(context, bad_night())
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
    notify.notify_of(context, bad_night())
    now = context.clock() + timedelta(hours=3)
    shown = of(saved(context.config, context.runs, context.locks, now), "url 1 (json)")
    assert shown.status is Status.WARNING
    assert shown.message.startswith("not sent 3 hours ago: ")
    nobody = replace(context.config, notify=Notify())
    subjects = [one.subject for one in saved(nobody, context.runs, context.locks, now).outcomes]
    assert "url 1 (json)" not in subjects, "it is nobody's any more"


@pytest.mark.parametrize("news", sorted(CHOSEN - {News.RECOVERY}))
def test_only_what_was_chosen_is_told(tmp_path: Path, vault: LocalVault, news: News) -> None:
    hook = script(tmp_path, f"echo >>{tmp_path}/got")
    context = with_notifiers(vault, Notify(command=(hook,), on=frozenset({news})))
    for status in (Status.OK, Status.WARNING, Status.PARTIAL, Status.CONFLICT):
        notify.notify_of(context, bad_night(status=status))
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
    assert notify.notify_of(context, runs[-1]) is None
    good = report(outcome(Status.OK, "web1"), run="20260212T130000Z-0001")
    context.runs.save(good)
    assert notify.notify_of(context, good) is not None
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
        notify.notify_of(context, told)
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
        notify.notify_of(context, night)
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
    told = [notify.notify_of(context, report(outcome(Status.OK, "web1"))) for _ in range(3)]
    who = [[(one.subject, one.status.value) for one in each.outcomes] if each else [] for each in told]
    url, command = "url 1 (json)", f"command {hook}"
    assert who == [[(url, "failed"), (command, "ok")], [(url, "ok")], []]
    assert len(httpserver.log) == 2
