"""An off-site's own zborg: it rotates by arrival, says when nothing comes any more, gives up cut streams."""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import timedelta

import pytest

from tests.harness.steps import night, replicate, rotate, snapshot
from tests.harness.worlds.arrivals import ROOT, arrive, offsite
from tests.harness.worlds.local import LocalVault
from tests.harness.worlds.replicas import cut_next_stream
from tests.harness.worlds.steps import Hours, dataset_only, nights, of, snapnames, world
from zborg.errors import Exit
from zborg.model import Outcome, Status
from zborg.model.storage.zfs import P_ABANDON, P_ARRIVED
from zborg.steps.context import Context
from zborg.steps.observe.status import saved


def left(vault: LocalVault, name: str) -> list[str]:
    return [one.snapname for one in vault.far.snapshots(f"{ROOT}/{name}")]


def shown(context: Context, clock: Hours) -> Sequence[Outcome]:
    return saved(context.config, context.runs, context.locks, clock.now).outcomes


def test_arrivals_are_rotated_and_names_are_not(vault: LocalVault, clock: Hours) -> None:
    """The names run backwards by years; a month later only what was told to stay does."""
    came = []
    for number in range(4):
        came.append(arrive(vault, clock, "web1", named=-timedelta(days=400 * number)).snapname)
        rotate(offsite(vault, clock))
        clock.tick(24)
    assert left(vault, "web1") == came
    clock.tick(24 * 28)  # the first came 32 days ago, the third 30
    report = rotate(offsite(vault, clock))
    assert left(vault, "web1") == came[3:], report.outcomes
    assert of(report, f"{ROOT}/web1").data["destroyed"] == came[:3]


def test_what_arrived_lately_stays_however_much_came_after_it(vault: LocalVault, clock: Hours) -> None:
    honest = arrive(vault, clock, "web1").snapname
    for _ in range(20):
        clock.tick(1)
        arrive(vault, clock, "web1")
    clock.tick(24 * 29)
    report = rotate(offsite(vault, clock))
    assert left(vault, "web1")[0] == honest and len(left(vault, "web1")) == 21
    assert any("arrived within 30 days" in line for line in report.plan)


def test_an_arrival_that_is_dated_back_is_young_all_the_same(vault: LocalVault, clock: Hours) -> None:
    """The account of the sink can write zborg:arrived; root's own list it cannot."""
    honest = arrive(vault, clock, "web1")
    vault.far.set([honest.full], {P_ARRIVED: "2020-01-01T00:00:00Z"})
    context = offsite(vault, clock)
    rotate(context, dry_run=True)
    assert not (context.config.state_dir / "arrivals.json").exists()
    rotate(context)
    for _ in range(2):
        arrive(vault, clock, "web1", named=timedelta(hours=clock.now.day))
        clock.tick(24 * 14)
        rotate(offsite(vault, clock))
        assert left(vault, "web1")[0] == honest.snapname
    clock.tick(24 * 3)
    rotate(offsite(vault, clock))
    assert honest.snapname not in left(vault, "web1")
    assert (
        len((context.config.state_dir / "arrivals.json").read_text().split(",")) == 3
    )  # as of this rotation


@pytest.mark.parametrize("text", ["", "[]", '{"1": "whenever"}', "{", "\udcff"])
def test_a_list_of_arrivals_that_cannot_be_read_destroys_nothing(
    vault: LocalVault, clock: Hours, text: str
) -> None:
    for _ in range(3):
        arrive(vault, clock, "web1")
        clock.tick(24 * 40)
    context = offsite(vault, clock)
    path = context.config.state_dir / "arrivals.json"
    path.write_bytes(text.encode(errors="surrogateescape"))
    report = rotate(context)
    assert report.exit is Exit.FAILED and "arrivals.json cannot be read" in report.outcomes[0].message
    assert len(left(vault, "web1")) == 3
    path.unlink()
    rotate(context)
    assert len(left(vault, "web1")) == 3  # all as of now
    clock.tick(24 * 31)
    rotate(offsite(vault, clock))
    assert len(left(vault, "web1")) == 1


def test_what_came_nobody_knows_when_stays(vault: LocalVault, clock: Hours) -> None:
    old = arrive(vault, clock, "web1")
    vault.far.set([old.full], {P_ARRIVED: "whenever"})
    clock.tick(24 * 50)
    arrive(vault, clock, "web1")
    rotate(offsite(vault, clock))
    assert left(vault, "web1")[0] == old.snapname


def test_a_clock_behind_the_last_arrival_destroys_nothing(vault: LocalVault, clock: Hours) -> None:
    for _ in range(3):
        arrive(vault, clock, "web1")
        clock.tick(24 * 40)
    clock.tick(-24 * 41)
    assert rotate(offsite(vault, clock)).exit is Exit.CONFLICT
    assert len(left(vault, "web1")) == 3


def test_status_alarms_when_nothing_comes_any_more(vault: LocalVault, clock: Hours) -> None:
    context = offsite(vault, clock)
    assert [(one.kind, one.status) for one in shown(context, clock)][:2] == [
        ("arrivals", Status.FAILED),
        ("step", Status.FAILED),
    ]
    arrive(vault, clock, "web1")
    arrive(vault, clock, "db1")
    rotate(offsite(vault, clock))
    first = shown(context, clock)[0]
    assert (first.status, first.subject) == (Status.OK, ROOT) and "arrived 0 seconds ago" in first.message
    clock.tick(25)  # the limit of the test's configuration is 24 hours
    silent = shown(context, clock)[0]
    assert silent.status is Status.FAILED and "nothing arrived for 25 hours" in silent.message
    rotated = rotate(offsite(vault, clock))
    assert (rotated.exit, of(rotated, ROOT).status) == (Exit.PARTIAL, Status.FAILED)
    arrive(vault, clock, "web1")
    rotate(offsite(vault, clock))
    half = shown(context, clock)[0]
    assert half.status is Status.WARNING and f"for more than 24 hours: {ROOT}/db1" in half.message


def test_an_off_site_takes_no_snapshots_and_backs_up_nobody(vault: LocalVault, clock: Hours) -> None:
    arrive(vault, clock, "web1")
    before = left(vault, "web1")
    report = snapshot(offsite(vault, clock))
    assert report.exit is Exit.FAILED and "takes no snapshots of its own" in report.outcomes[0].message
    steps = {one.data["step"] for one in night(offsite(vault, clock)).outcomes}
    assert steps == {"witness", "rotate", "scrub"} and left(vault, "web1") == before


def cut(vault: LocalVault, clock: Hours) -> str:
    """The stream of a night was cut; the guid of what was to come."""
    if not vault.zfs.datasets("tank/borg/web1"):
        dataset_only(vault, "web1")
    (vault.zfs.directory("tank/borg/web1") / "data").write_bytes(os.urandom(400_000))
    nights(vault, clock, 1)
    cut_next_stream(vault, after=100_000)
    replicate(world(vault, clock))
    token = vault.far.datasets(f"{ROOT}/web1")[0].resume_token
    assert token and snapnames(vault, "tank/borg/web1")
    return vault.far.decode(token).to_guid


def test_a_wish_is_fulfilled_once(vault: LocalVault, clock: Hours) -> None:
    """The same snapshot may come anew, and be cut again: given up each night it would never arrive."""
    dataset_only(vault, "web1")
    nights(vault, clock, 1)
    replicate(world(vault, clock))
    guid = cut(vault, clock)
    vault.far.set([f"{ROOT}/web1"], {P_ABANDON: guid})
    rotate(offsite(vault, clock))
    assert vault.far.datasets(f"{ROOT}/web1")[0].resume_token is None
    cut_next_stream(vault, after=100_000)
    replicate(world(vault, clock))
    rotate(offsite(vault, clock))
    assert vault.far.datasets(f"{ROOT}/web1")[0].resume_token, "nobody asked for that"


@pytest.mark.parametrize("wish", ["this", "another", None])
def test_a_cut_stream_is_given_up_as_its_sender_asked(
    vault: LocalVault, clock: Hours, wish: str | None
) -> None:
    guid = cut(vault, clock)
    if wish:
        vault.far.set([f"{ROOT}/web1"], {P_ABANDON: guid if wish == "this" else "1"})
    report = rotate(offsite(vault, clock))
    assert bool(vault.far.datasets(f"{ROOT}/web1")) == (wish != "this")
    told = [one.message for one in report.outcomes if "gave up a cut stream" in one.message]
    assert len(told) == (wish == "this")
