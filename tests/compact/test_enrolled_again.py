"""`host add` of a name whose compaction or undelete was interrupted: it is finished first, or refused."""

from __future__ import annotations

import shlex
import subprocess
from dataclasses import replace

import pytest

from tests.harness.audit.written import audited_hosts, interrupted
from tests.harness.steps import audit, enroll
from tests.harness.worlds.local import LocalVault
from tests.harness.worlds.steps import Hours, destroy, of, snapnames, world
from zborg.config import drop_in
from zborg.model import Report, Status
from zborg.model.enrolment import Request
from zborg.model.text.remedy import parse
from zborg.steps.compact.facts import records_of
from zborg.steps.context import Context

WEB = "tank/borg/web1"


@pytest.fixture
def hosts(vault: LocalVault, clock: Hours) -> LocalVault:
    audited_hosts(vault, clock, "web1")
    return vault


def again(context: Context) -> Report:
    """By its owner, who has installed the agent: nobody answers, so what comes behind it fails."""
    include = replace(context.config, include=(*context.config.include, f"{drop_in.FOLDER}/*.toml"))
    request = Request(context.config.hosts[0], "vault", "ssh-ed25519 AAAA")
    return enroll(replace(context, config=include), request, None)


@pytest.mark.parametrize("killed", ["compact", "undelete"])
def test_what_was_interrupted_is_finished_before_the_host_is_enrolled_again(
    hosts: LocalVault, clock: Hours, killed: str
) -> None:
    context = world(hosts, clock)
    interrupted(context, "web1", killed)
    clock.tick()
    report = again(context)
    (settled,) = (one for one in report.outcomes if one.kind == killed)
    assert settled.status is Status.OK, report.outcomes
    assert not records_of(context).unfinished("web1")
    clock.tick()
    assert of(audit(world(hosts, clock)), "web1").status is Status.OK


@pytest.mark.parametrize("killed", ["compact", "undelete"])
def test_of_a_repository_that_was_put_aside_it_is_forgotten_by_the_printed_command(
    hosts: LocalVault, clock: Hours, killed: str
) -> None:
    context = world(hosts, clock)
    interrupted(context, "web1", killed)
    destroy(hosts.zfs, WEB, *snapnames(hosts, WEB))  # another dataset has its name now
    refused = of(again(context), "web1")
    assert refused.status is Status.FAILED and f"a {killed} of web1 was interrupted" in refused.message
    _, (line,) = parse(refused.remedy)
    subprocess.run(shlex.split(line), check=True, timeout=60)
    assert not [one for one in again(context).outcomes if "was interrupted" in one.message]


def test_a_record_that_cannot_be_read_stands_in_the_way(hosts: LocalVault, clock: Hours) -> None:
    context = world(hosts, clock)
    records_of(context).path("web1").write_text("{")
    assert "compact-web1.json cannot be read" in of(again(context), "web1").message
