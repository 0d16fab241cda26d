"""A host's own retention, asked for by the server now and then; real agent and borg."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from tests.harness.machines.host import BackedUpHost, find_borg
from tests.harness.steps import backup, snapshot
from tests.harness.watch import next_second
from tests.harness.worlds.local import LocalVault
from tests.harness.worlds.steps import of
from zborg.borg.storage.repository import last_transactions
from zborg.hosts.tunnel import SshTunnel
from zborg.model import Outcome, State, Status, utc_now
from zborg.model.text.units import moment_of
from zborg.process import LocalRunner

WEEK = 7 * 86400


@pytest.fixture
def host(vault: LocalVault) -> BackedUpHost:
    vault.backup["prune_every"] = WEEK
    return vault.add("web1", extra_conf=("keep_last = 1",))


def archives(vault: LocalVault, host: BackedUpHost) -> list[str]:
    done = host.verb(vault.zfs.directory("tank/borg"), "list", "web1", "99")
    assert done.status == 0, done.stderr
    text = "\n".join(line[2:] for line in done.stderr.splitlines() if line.startswith("= "))
    return [archive["name"] for archive in json.loads(text)["archives"]]


def night(vault: LocalVault, days: int, **limits: int) -> Outcome:
    """One that begins so many days from now."""
    next_second()
    context = replace(vault.context(), clock=lambda: utc_now() + timedelta(days=days))
    hosts = tuple(replace(one, **limits) for one in context.config.hosts)  # type: ignore[arg-type]  # a test names them
    context = replace(context, config=replace(context.config, hosts=hosts))
    return of(backup(context), "web1")


def test_a_host_prunes_once_in_a_while_by_its_own_rules(vault: LocalVault, host: BackedUpHost) -> None:
    first = night(vault, 0)
    assert first.status is Status.OK, first
    assert moment_of(first.data["pruned"]) is not None
    second = night(vault, 1)
    assert "pruned" not in second.data
    assert archives(vault, host) == [first.data["archive"], second.data["archive"]]
    third = night(vault, 7)
    assert archives(vault, host) == [third.data["archive"]]
    home = str(vault.zfs.directory("tank/borg/web1"))
    assert last_transactions(LocalRunner(), [home]) == {home: third.data["transaction"]}  # the prune's


def test_a_prune_that_fails_is_a_warning_on_a_good_backup(vault: LocalVault, host: BackedUpHost) -> None:
    broken = host.directory / "broken"
    broken.write_text(f'#!/bin/sh\ncase "$*" in *" prune "*) exit 2;; esac\nexec {find_borg()} "$@"\n')
    broken.chmod(0o755)
    host.setup("web1", [host.data], borg=str(broken), extra_conf=["keep_last = 1"])
    outcome = night(vault, 0)
    assert outcome.status is Status.WARNING
    assert outcome.message.startswith("pruning: ")
    assert "pruned" not in outcome.data
    next_second()
    snapshot(vault.context())
    assert [one.state for one in vault.zfs.snapshots("tank/borg/web1")] == [State.OK]
    host.setup("web1", [host.data], extra_conf=["keep_last = 1"])
    assert "pruned" in night(vault, 1).data  # asked again the next night


@pytest.mark.parametrize(("conf", "every"), [((), WEEK), (("keep_last = 1",), 0)])
def test_who_keeps_all_or_is_never_asked_is_not_pruned(
    vault: LocalVault, conf: tuple[str, ...], every: int
) -> None:
    """The agent would refuse it, and that would be a warning."""
    vault.backup["prune_every"] = every
    vault.add("web1", extra_conf=conf)
    outcome = night(vault, 0)
    assert (outcome.status, "pruned" in outcome.data) == (Status.OK, False)
    assert ("keeps_all" in outcome.data) is bool(every)


def test_a_host_that_keeps_all_is_not_asked_every_night(
    vault: LocalVault, monkeypatch: pytest.MonkeyPatch
) -> None:
    vault.backup["prune_every"] = WEEK
    vault.add("web1")
    assert "keeps_all" in night(vault, 0).data
    monkeypatch.delattr(SshTunnel, "ask")
    assert night(vault, 1).status is Status.OK


def test_a_prune_that_the_host_does_not_allow_now_is_no_prune(vault: LocalVault) -> None:
    """The backup began within the allowed hours, and ended after them."""
    host = vault.add("web1")
    vault.backup["prune_every"] = WEEK
    shut = f"{(datetime.now().hour + 2) % 24}-{(datetime.now().hour + 3) % 24}"
    end = f"after = echo allowed_hours = {shut} >>{host.confdir}/agent.conf"
    host.setup("web1", [host.data], extra_conf=["keep_last = 1", end])
    outcome = night(vault, 0)
    assert (outcome.status, "pruned" in outcome.data) == (Status.WARNING, False), outcome
    assert "pruning: zborg-agent: not now: this host allows backups from" in outcome.message


def test_an_archive_that_is_not_believed_pushes_no_other_out(vault: LocalVault, host: BackedUpHost) -> None:
    for number in range(9):
        (host.data / f"n{number}").write_text("x" * 100)
    good = night(vault, 0)
    for number in range(9):
        (host.data / f"n{number}").unlink()
    for days, min_files, status in ((7, 5, Status.FAILED), (8, 1, Status.WARNING)):
        outcome = night(vault, days, min_files=min_files)
        assert (outcome.status, "pruned" in outcome.data) == (status, False), outcome
        assert good.data["archive"] in archives(vault, host)


@pytest.mark.parametrize(
    ("msgid", "status"),
    [("IntegrityError", Status.DAMAGED), ("Cache.RepositoryReplay", Status.CONFLICT)],
)
def test_damage_or_an_alarm_that_a_prune_meets_is_one(
    vault: LocalVault, host: BackedUpHost, msgid: str, status: Status
) -> None:
    head = '{"type": "log_message", "time": 1.0, "message": "no", "levelname": "ERROR", "name": "borg", '
    broken = host.directory / "broken"
    said = f'echo \'{head}"msgid": "{msgid}"}}\' >&2'
    broken.write_text(
        f'#!/bin/sh\ncase "$*" in *" prune "*) {said}; exit 2;; esac\nexec {find_borg()} "$@"\n'
    )
    broken.chmod(0o755)
    host.setup("web1", [host.data], borg=str(broken), extra_conf=["keep_last = 1"])
    outcome = night(vault, 0)
    assert (outcome.status, outcome.message[:9]) == (status, "pruning: "), outcome
