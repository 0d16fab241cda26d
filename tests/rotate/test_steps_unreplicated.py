"""A target that is away for long: the source must not fill up with what only that target still needs."""

from __future__ import annotations

from dataclasses import replace

from tests.harness.steps import replicate, rotate
from tests.harness.worlds.local import LocalVault
from tests.harness.worlds.steps import Hours, dataset_only, guids, nights, of, shown, snapnames, world
from zborg.errors import CommandFailed, Exit
from zborg.model import Status
from zborg.steps.context import Context

DAY = 86400
WEB, COPY = "tank/borg/web1", "vault/zborg/web1"


def limited(vault: LocalVault, clock: Hours, days: int = 10) -> Context:
    """The world with one target whose limit is that many days."""
    context = world(vault, clock)
    (target,) = context.config.targets
    targets = (replace(target, max_unreplicated_age=days * DAY),)
    return replace(context, config=replace(context.config, targets=targets))


def away(vault: LocalVault, clock: Hours, days: int) -> None:
    """Nights in which snapshots are taken and rotated, and no target is reached."""

    def fail(method: str, arguments: tuple[object, ...]) -> None:
        raise CommandFailed(("ssh",), 255, "no route to host")

    vault.far.fail = fail
    for _ in range(days):
        nights(vault, clock, 1)
        rotate(limited(vault, clock))
        replicate(limited(vault, clock))
    vault.far.fail = None


def replicated(vault: LocalVault, clock: Hours) -> str:
    """web1 and its copy with one common snapshot, whose name is returned."""
    dataset_only(vault, "web1")
    nights(vault, clock, 1)
    assert replicate(limited(vault, clock)).exit is Exit.OK
    return snapnames(vault, WEB)[0]


def test_at_the_limit_the_base_becomes_a_bookmark_and_the_next_stream_starts_there(
    vault: LocalVault, clock: Hours
) -> None:
    base = replicated(vault, clock)
    away(vault, clock, 9)
    assert snapnames(vault, WEB)[0] == base, "younger than the limit"
    vault.zfs.destroy_bookmark(f"{WEB}#{base}")  # the one that replication made: rotation relies on its own
    away(vault, clock, 3)
    assert base not in snapnames(vault, WEB) and len(snapnames(vault, WEB)) == 2
    assert [mark.bookname for mark in vault.zfs.bookmarks(WEB)] == [base]
    assert vault.zfs.holds([one.full for one in vault.zfs.snapshots(WEB)]) == ()
    sent = of(replicate(limited(vault, clock)), f"offsite:{COPY}")
    assert sent.status is Status.OK and sent.data["streams"] == 2
    assert guids(vault.far, COPY)[-2:] == guids(vault.zfs, WEB) and raws_of_copy(vault)[0] == base


def raws_of_copy(vault: LocalVault) -> list[str]:
    return [one.snapname for one in vault.far.snapshots(COPY)]


def test_the_alarm_comes_early_and_says_what_will_happen(vault: LocalVault, clock: Hours) -> None:
    replicated(vault, clock)
    away(vault, clock, 4)
    assert [one.kind for one in rotate(limited(vault, clock)).outcomes] == ["dataset", "dataset"]
    away(vault, clock, 2)
    report = rotate(limited(vault, clock))
    warning = of(report, "offsite")
    assert (report.exit, report.status, warning.kind) == (Exit.OK, Status.WARNING, "target")
    assert "nothing new arrived there for 6 days" in warning.message and "10 days" in warning.message
    assert shown(vault, clock, "offsite").status is Status.WARNING
    dry = rotate(limited(vault, clock), dry_run=True)
    assert "10 days" in of(dry, "offsite").message
    away(vault, clock, 6)
    lost = next(
        one for one in vault.context().runs.newest_first("rotate") if "bookmark," in str(one.outcomes)
    )
    assert "stays as a bookmark, for offsite" in of(lost, WEB).message
    assert "1 no longer" in of(lost, "offsite").message


def test_what_the_policy_keeps_stays_with_its_hold(vault: LocalVault, clock: Hours) -> None:
    """Of the year the rules keep the oldest as well, which is the base; what came after it goes."""
    vault.keep = replace(vault.keep, yearly=1)
    base = replicated(vault, clock)
    away(vault, clock, 12)
    assert snapnames(vault, WEB)[0] == base and len(snapnames(vault, WEB)) == 3
    assert [hold.tag for hold in vault.zfs.holds([f"{WEB}@{base}"])] == ["zborg:to:offsite"]


def test_somebody_else_s_hold_and_another_target_s_base_keep_it(vault: LocalVault, clock: Hours) -> None:
    base = replicated(vault, clock)
    vault.zfs.hold("mine", f"{WEB}@{base}")
    away(vault, clock, 12)
    assert snapnames(vault, WEB)[0] == base
    vault.zfs.release("mine", f"{WEB}@{base}")
    record = vault.zfs.datasets(WEB)[0].properties["zborg:target.offsite"]
    vault.zfs.set([WEB], {"zborg:target.other": record})  # no limit is known for it
    rotate(limited(vault, clock))
    assert snapnames(vault, WEB)[0] == base


def test_a_target_that_was_taken_out_of_the_configuration_is_told_of(vault: LocalVault, clock: Hours) -> None:
    """Its last common snapshot stays for ever, and nothing else says so once its hold is released."""
    base = replicated(vault, clock)
    nights(vault, clock, 4)
    context = world(vault, clock)
    context = replace(context, config=replace(context.config, targets=()))
    told = of(rotate(context), "offsite")
    assert told.status is Status.WARNING and "1 dataset still" in told.message
    assert "zfs inherit -r zborg:target.offsite tank/borg" in told.remedy
    assert base in snapnames(vault, WEB)
    assert all(one.subject != "offsite" for one in rotate(world(vault, clock)).outcomes)


def test_a_quiet_dataset_whose_copy_is_up_to_date_is_not_behind(vault: LocalVault, clock: Hours) -> None:
    base = replicated(vault, clock)
    clock.tick(24 * 20)
    replicate(limited(vault, clock))  # up to date
    clock.tick(3)
    nights(vault, clock, 1)
    clock.tick(-24)
    report = rotate(limited(vault, clock))
    assert [one.kind for one in report.outcomes] == ["dataset", "dataset"]
    assert base in snapnames(vault, WEB)


def test_a_first_stream_that_takes_long_is_not_given_up(vault: LocalVault, clock: Hours) -> None:
    """Without anything in common no bookmark helps: what it began with would have to be sent anew. That
    another target has something in common is no help either."""
    dataset_only(vault, "web1")
    nights(vault, clock, 1)
    (first,) = snapnames(vault, WEB)
    vault.zfs.hold("zborg:to:offsite", f"{WEB}@{first}")
    record = f"source_guid={vault.zfs.datasets(WEB)[0].guid} base=- flags=lec"
    vault.zfs.set([WEB], {"zborg:target.offsite": record, "zborg:target.other": record.replace("-", "999")})
    away(vault, clock, 12)
    assert snapnames(vault, WEB)[0] == first


def test_what_is_on_its_way_for_too_long_goes_as_well(vault: LocalVault, clock: Hours) -> None:
    base = replicated(vault, clock)
    nights(vault, clock, 1)
    cut = snapnames(vault, WEB)[-1]
    vault.zfs.hold("zborg:to:offsite", f"{WEB}@{cut}")
    away(vault, clock, 13)
    assert not {base, cut} & set(snapnames(vault, WEB))
    assert {mark.bookname for mark in vault.zfs.bookmarks(WEB)} == {base, cut}
    assert replicate(limited(vault, clock)).exit is Exit.OK


def test_healthy_replication_costs_rotation_no_question(vault: LocalVault, clock: Hours) -> None:
    replicated(vault, clock)
    nights(vault, clock, 1)
    replicate(limited(vault, clock))
    asked: list[str] = []
    vault.zfs.fail = lambda method, _: asked.append(method)
    rotate(limited(vault, clock))
    assert asked == ["datasets", "snapshots"]
