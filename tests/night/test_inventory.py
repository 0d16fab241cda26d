"""Hosts that vanish from zborg.toml, datasets of no host, and the command that says they are gone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.harness.doctor.clinic import Clinic
from tests.harness.steps import backup, forget_host, freeze, night, rotate
from tests.harness.worlds.command_line import zborg
from tests.harness.worlds.inventory import good, status
from tests.harness.worlds.local import LocalVault
from tests.harness.worlds.steps import Hours, dataset_only, nights, of, snapnames, world
from zborg.errors import Exit, UsageError
from zborg.model import Event, Outcome, Policy, Report, Status
from zborg.model.text import remedy
from zborg.planning.inventory import orphans
from zborg.reporting.status import one_line, screen
from zborg.state.history import History
from zborg.state.known import Known, Record
from zborg.state.runs import Runs, new_run
from zborg.steps.context import Context
from zborg.steps.hosts.overview import list_hosts
from zborg.steps.inventory import KIND, known_hosts_of, look
from zborg.steps.observe.html_report import gathered, report


def lose(vault: LocalVault, name: str) -> None:
    """Its drop-in is gone; its dataset stays."""
    del vault.endpoints[name]


def warned(found: Report) -> dict[str, Outcome]:
    return {one.subject: one for one in found.outcomes if one.kind == KIND}


@pytest.fixture
def lost(vault: LocalVault, clock: Hours) -> Iterator[Context]:
    """Two hosts with some nights of snapshots, of which web2 is gone from zborg.toml."""
    dataset_only(vault, "web1", "web2")
    good(world(vault, clock), clock, "web1", "web2")
    nights(vault, clock, 5)
    lose(vault, "web2")
    good(world(vault, clock), clock, "web1")
    yield world(vault, clock)


UNTIL = "backed up until 2026-02-12T14:49:33Z, no longer in "


def test_a_host_that_was_backed_up_and_vanishes_is_missed(vault: LocalVault, clock: Hours) -> None:
    """With real backups: of two hosts one drop-in gets lost."""
    for name in ("web1", "web2"):
        vault.add(name)
    assert backup(world(vault, clock)).exit is Exit.OK
    assert not warned(status(world(vault, clock), clock))
    lose(vault, "web2")
    clock.tick()
    context = world(vault, clock)
    assert backup(context).exit is Exit.OK
    assert list(warned(status(context, clock))) == ["web2"]


def test_status_run_list_report_and_doctor_warn_of_it(lost: Context, clock: Hours) -> None:
    found = {
        "status": status(lost, clock),
        "run": night(lost),
        "run -n": night(lost, dry_run=True),
        "host list": list_hosts(lost.config, lost.runs, clock.now),
    }
    past = History(lost.config.state_dir / "history.db")
    found["report"] = report(gathered(past, lost.config, 30, clock.now), lost.config, clock.now, ())
    for command, one in found.items():
        assert list(warned(one)) == ["web2"], command
        outcome = warned(one)["web2"]
        assert outcome.status is Status.WARNING
        assert outcome.message == f"{UNTIL}{lost.config.path}"
        assert remedy.parse(outcome.remedy)[1] == ("zborg host forget web2",)
    names = [one.name for one in lost.storage.zfs.datasets("tank/borg")]
    (finding,) = look(lost.config, names)
    assert (finding.subject, finding.message) == ("web2", f"{UNTIL}{lost.config.path}")


def test_screen_and_monitor_show_it(lost: Context, clock: Hours) -> None:
    shown = status(lost, clock)
    assert any("web2" in line.text and "backed up until" in line.text for line in screen(shown))
    only = replace(shown, status=Status.WARNING, outcomes=tuple(warned(shown).values()))
    assert one_line(only)[0].startswith("ZBORG WARNING - web2: backed up until")


def test_it_is_missed_for_ever_and_without_reading_old_nights(lost: Context, clock: Hours) -> None:
    for path in (lost.config.state_dir / "runs").iterdir():
        path.unlink()
    clock.tick(400 * 24)
    assert warned(status(lost, clock))["web2"].message.startswith(UNTIL)


def test_one_that_was_never_backed_up_is_not_missed(vault: LocalVault, clock: Hours) -> None:
    dataset_only(vault, "web1", "typo")
    good(world(vault, clock), clock, "web1")
    good(world(vault, clock), clock, "typo", status=Status.FAILED)
    lose(vault, "typo")
    assert not warned(status(world(vault, clock), clock))


def test_a_state_directory_of_an_older_zborg_is_looked_through_once(vault: LocalVault, clock: Hours) -> None:
    dataset_only(vault, "web1", "web2", "old")
    plain = Runs(vault.state / "runs")
    good(replace(world(vault, clock), runs=plain), clock, "web1", "web2", "old")
    clock.tick()
    gone = (Outcome("host", "old", Status.OK, "forgotten here"),)
    now = clock.now
    plain.save(Report("host remove", new_run(now), "test", now, now, Status.OK, Exit.OK, gone))
    lose(vault, "web2")
    lose(vault, "old")
    clock.tick()
    good(world(vault, clock), clock, "web1")
    assert list(warned(status(world(vault, clock), clock))) == ["web2"]


def test_a_record_that_cannot_be_read_is_missed_all_the_same(lost: Context, clock: Hours) -> None:
    (lost.config.state_dir / "known" / "hosts" / "web2.json").write_text("{")
    assert warned(status(lost, clock))["web2"].message.startswith("known before, no longer in")


def test_what_cannot_be_remembered_is_a_warning_once_and_ends_nothing(
    vault: LocalVault, clock: Hours
) -> None:
    dataset_only(vault, "web1")
    (vault.state / "known").write_text("in the way")
    context = world(vault, clock)
    good(context, clock, "web1")
    good(context, clock, "web1")
    assert context.runs.newest("backup") is not None
    assert [e.kind for e in vault.events if isinstance(e, Event) and "remembered" in e.message] == ["warning"]


# --- orphans -------------------------------------------------------------------------------------------


def test_an_orphan_is_named_and_nothing_of_it_is_destroyed(lost: Context, vault: LocalVault) -> None:
    before = snapnames(vault, "tank/borg/web2")
    found = rotate(lost)
    assert snapnames(vault, "tank/borg/web2") == before
    assert len(snapnames(vault, "tank/borg/web1")) < len(before)
    orphan = of(found, "tank/borg/web2")
    assert (found.exit, orphan.status) == (Exit.OK, Status.WARNING)
    assert orphan.message.startswith(f"kept all {len(before)}: web2 is no host of {lost.config.path}")
    assert any("web2 is no host" in line for line in rotate(lost, dry_run=True).plan)


def test_status_mentions_it_once_and_not_after_its_table_is_back(
    lost: Context, vault: LocalVault, clock: Hours
) -> None:
    def mentioned() -> list[str]:
        found = status(world(vault, clock), clock).outcomes
        return [one.kind for one in found if "web2" in f"{one.subject} {one.message}"]

    rotate(lost)
    assert mentioned() == [KIND]
    vault.endpoints["web2"] = vault.endpoint(1, "ssh-ed25519 AAAA")
    assert mentioned() == ["host"]


def test_forgotten_it_is_rotated_and_nobody_mentions_it_again(
    lost: Context, vault: LocalVault, clock: Hours
) -> None:
    rotate(lost)
    done = forget_host(lost, "web2")
    assert (done.exit, done.outcomes[0].status) == (Exit.OK, Status.OK)
    assert "rotated by [snapshots.keep]" in of(done, "tank/borg/web2").message
    assert not warned(status(lost, clock))
    assert not [one for one in status(lost, clock).outcomes if "web2" in f"{one.subject} {one.message}"]
    clock.tick()
    before = snapnames(vault, "tank/borg/web2")
    rotate(lost)
    assert 0 < len(snapnames(vault, "tank/borg/web2")) < len(before)


def test_adopted_again_it_is_a_host_like_the_others_and_missed_when_it_goes_again(
    lost: Context, vault: LocalVault, clock: Hours
) -> None:
    forget_host(lost, "web2")
    vault.endpoints["web2"] = vault.endpoint(1, "ssh-ed25519 AAAA")
    clock.tick()
    good(world(vault, clock), clock, "web1", "web2")
    assert not warned(status(world(vault, clock), clock))
    lose(vault, "web2")
    assert "web2" in warned(status(world(vault, clock), clock))


def test_a_dataset_that_zborg_never_knew_is_an_orphan_too(vault: LocalVault, clock: Hours) -> None:
    dataset_only(vault, "web1")
    vault.zfs.create("tank/borg/Mine_2026.old", {})
    nights(vault, clock, 4)
    context = world(vault, clock)
    assert of(rotate(context), "tank/borg/Mine_2026.old").status is Status.WARNING
    assert [one.subject for one in look(context.config, ["tank/borg", "tank/borg/Mine_2026.old"])] == [
        "tank/borg/Mine_2026.old"
    ]
    forget_host(context, "Mine_2026.old")
    assert of(rotate(context), "tank/borg/Mine_2026.old").status is Status.OK


def test_without_a_policy_nothing_changes(vault: LocalVault, clock: Hours) -> None:
    vault.keep = Policy()
    dataset_only(vault, "web1")
    vault.zfs.create("tank/borg/mine", {})
    nights(vault, clock, 2)
    assert "no retention rule" in rotate(world(vault, clock)).outcomes[0].message


def test_on_an_off_site_nothing_is_an_orphan(lost: Context, clock: Hours) -> None:
    storage = replace(lost.config.storage, received=True)
    offsite = replace(lost, config=replace(lost.config, storage=storage, hosts=(), targets=()))
    assert not warned(night(offsite))
    assert not [one for one in rotate(offsite).outcomes if "orphan" in one.data]
    assert not warned(status(offsite, clock))
    assert not list(look(offsite.config, ["tank/borg/web9"]))


@pytest.mark.unit
def test_which_datasets_are_orphans() -> None:
    names = ["t/b", "t/b/web1", "t/b/web1/sub", "t/b/x", "t/b/x/sub", "t/b/gone", "t/bb/y"]
    assert orphans("t/b", names, ["web1"], ["gone"]) == {"t/b/x": "x", "t/b/x/sub": "x"}


# --- host forget ---------------------------------------------------------------------------------------


def test_forget_refuses_what_is_configured_or_unknown(lost: Context) -> None:
    with pytest.raises(UsageError, match=r"web1 is in .*zborg\.toml"):
        forget_host(lost, "web1")
    for name in ("nobody", "../runs/x"):
        with pytest.raises(UsageError, match="nothing is known of"):
            forget_host(lost, name)


def test_the_remedy_can_be_typed(config: Path) -> None:
    known = Known(config.parent / "state" / "known" / "hosts")
    at = datetime(2026, 11, 29, 2, tzinfo=UTC)
    known.put(Record("web2", at, at))
    (listed,) = [
        one
        for one in json.loads(zborg("host", "list", "--json", "--config", str(config)).stdout)["outcomes"]
        if one["kind"] == KIND
    ]
    _, (line,) = remedy.parse(listed["remedy"])
    done = zborg(*line.split()[1:], "--config", str(config))
    assert done.returncode == Exit.OK, done.stderr
    assert "no longer in" not in zborg("host", "list", "--config", str(config)).stdout


def test_doctor_warns_of_it_by_the_real_state_directory(clinic: Clinic) -> None:
    known = Known(clinic.vault.state / "known" / "hosts")
    known.put(Record("lost", datetime(2026, 11, 29, tzinfo=UTC), datetime(2026, 11, 29, tzinfo=UTC)))
    try:
        found = of(clinic.look(), "lost")
        assert (found.status, found.message[:21]) == (Status.WARNING, "backed up until 2026-")
    finally:
        known.forget("lost")


def test_a_dry_run_of_forget_changes_nothing(lost: Context, clock: Hours) -> None:
    assert forget_host(lost, "web2", dry_run=True).plan[0] == "forget web2"
    assert "web2" in warned(status(lost, clock))


def test_what_is_gone_can_be_frozen_by_hand(lost: Context, vault: LocalVault, clock: Hours) -> None:
    """For who wants all of its snapshots to stay without being warned."""
    forget_host(lost, "web2")
    assert freeze(lost, ["web2"]).exit is Exit.OK
    before = snapnames(vault, "tank/borg/web2")
    rotate(lost)
    assert snapnames(vault, "tank/borg/web2") == before


# --- the records ---------------------------------------------------------------------------------------


def test_records_are_known_forgotten_and_known_again(tmp_path: Path, clock: Hours) -> None:
    known = Known(tmp_path / "known" / "hosts")
    assert (known.begun, known.names(), known.get("web1")) == (False, frozenset(), None)
    known.seen("web1", clock.now)
    known.seen("web1", clock.now + timedelta(days=1))
    assert known.get("web1") == Record("web1", clock.now)
    known.put(Record("web1", clock.now, clock.now))
    known.forget("web1")
    assert (set(known.names()), set(known.forgotten())) == (set(), {"web1"})
    assert known.get("web1") == Record("web1", clock.now, clock.now)
    known.seen("web1", clock.now + timedelta(days=1))
    assert (set(known.names()), set(known.forgotten())) == ({"web1"}, set())
    assert known.get("web1") == Record("web1", clock.now, clock.now)
    assert json.loads((tmp_path / "known/hosts/web1.json").read_text())["last_good"].endswith("Z")


def test_known_hosts_are_below_the_state_directory(vault: LocalVault) -> None:
    known_hosts_of(vault.config).forget("x")
    assert (vault.state / "known" / "hosts" / "x.forgotten").exists()
