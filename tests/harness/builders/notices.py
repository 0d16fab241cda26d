"""A bad night, and how it is told: to notifiers that are given, or by a configuration."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from pytest_httpserver import HTTPServer

from tests.harness.builders.reports import outcome, report, result
from tests.harness.worlds.local import LocalVault
from zborg.model import Notify, Outcome, Report, Status
from zborg.notify import notifiers
from zborg.reporting.notify import message
from zborg.steps.context import Context
from zborg.steps.observe.notify import deliver

UUID = "6f1c2f0e-aaaa-bbbb-cccc-0123456789ab"
LOG = ["Repository check failed", "borg: rc 2", "PASSPHRASE=hunter22 was set"]


def bad_night(**changes: object) -> Report:
    hosts = [outcome(Status.OK, f"web{n}", data={"step": "backup", "files": 10 + n}) for n in range(1, 4)]
    data = {"step": "backup", "log": LOG}
    failed = outcome(Status.FAILED, "db1", message="the storage is full", remedy="free space", data=data)
    skipped = outcome(Status.SKIPPED, "old1", data={"step": "backup"})
    pool = Outcome("pool", "tank", Status.OK, result=result("pool", {"step": "scrub"}))
    return report(*hosts, failed, skipped, pool, **{"command": "run"} | changes)


def sent(settings: Notify, one: Report, *, again: tuple[str, ...] = ()) -> list[Outcome]:
    made = message(one, again, settings.subject)
    return deliver(tuple(notifiers(settings)), [made], settings.timeout)


def with_notifiers(vault: LocalVault, settings: Notify) -> Context:
    context = vault.context()
    config = replace(context.config, notify=settings)
    return replace(context, config=config, notifiers=tuple(notifiers(settings)))


# --- pings ------------------------------------------------------------------------------------------------


def paths(server: HTTPServer) -> list[str]:
    return [request.path for request, _ in server.log]


def ping(server: HTTPServer, command: str = "run", **more: object) -> Notify:
    return Notify(pings={command: server.url_for(f"/{UUID}")}, **more)  # type: ignore[arg-type]  # a test names them


# --- a command --------------------------------------------------------------------------------------------


def script(tmp_path: Path, text: str) -> str:
    path = tmp_path / "hook"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o700)
    return str(path)
