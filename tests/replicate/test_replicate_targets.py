"""Several targets at once, and a limit to the bandwidth of one."""

from __future__ import annotations

import errno
import threading
from collections.abc import Sequence
from dataclasses import replace

import pytest

from tests.harness.fake_zfs.zfs import FakeZfs
from tests.harness.steps import replicate
from tests.harness.worlds.local import LocalVault
from tests.harness.worlds.steps import Hours, dataset_only, guids, nights, of, world
from zborg.errors import Busy, Exit
from zborg.model import Child, Machine, Status
from zborg.process import LocalRunner
from zborg.steps.context import Context

WEB, COPY = "tank/borg/web1", "vault/zborg/web1"
LOCK = "dataset-tank:borg:web1"


@pytest.fixture
def other(vault: LocalVault, clock: Hours) -> FakeZfs:
    """The second target's ZFS."""
    far = FakeZfs(vault.directory / "other", pools=("vault",))
    far.clock = clock
    far.create("vault/zborg", {"mountpoint": "none"})
    return far


def both(vault: LocalVault, clock: Hours, other: FakeZfs) -> Context:
    """A host with two nights, and a world with both targets."""
    dataset_only(vault, "web1")
    nights(vault, clock, 2)
    context = world(vault, clock)
    (target,) = context.config.targets
    two = replace(context.config, targets=(target, replace(target, name="other")))
    return replace(
        context,
        config=two,
        target=lambda one: Machine(LocalRunner(), other if one.name == "other" else vault.far),
    )


def test_two_targets_get_the_same_dataset_at_once(vault: LocalVault, clock: Hours, other: FakeZfs) -> None:
    context = both(vault, clock, other)
    met = threading.Barrier(2, timeout=120)
    held: list[bool] = []

    def meet(method: str, _: object) -> None:
        if method == "receive" and len(held) < 2:
            met.wait()  # breaks when the other target has to wait for this one
            held.append(context.locks.is_held(LOCK))

    vault.far.fail = other.fail = meet
    report = replicate(context)
    assert report.exit is Exit.OK, report.outcomes
    assert guids(vault.far, COPY) == guids(other, COPY) == guids(vault.zfs, WEB)
    assert held == [True, True]
    assert not context.locks.is_held(LOCK)
    tags = {hold.tag for hold in vault.zfs.holds([s.full for s in vault.zfs.snapshots(WEB) if s.holds])}
    assert tags == {"zborg:to:offsite", "zborg:to:other"}


def test_a_target_that_is_down_costs_the_other_nothing(
    vault: LocalVault, clock: Hours, other: FakeZfs
) -> None:
    context = both(vault, clock, other)
    down = replace(context.config.targets[1], dataset="vault/nowhere")
    report = replicate(
        replace(context, config=replace(context.config, targets=(context.config.targets[0], down)))
    )
    assert report.exit is Exit.PARTIAL
    assert of(report, "offsite:vault/zborg/web1").status is Status.OK
    assert of(report, "other").status is Status.FAILED


def test_locks_that_are_held_together_keep_others_out_until_the_last_has_left(vault: LocalVault) -> None:
    locks = vault.context().locks
    together = locks.shared()
    with together.hold("x"):
        with together.hold("x"):
            pass
        with pytest.raises(Busy), locks.hold("x"):
            pass
    with locks.hold("x"), pytest.raises(Busy), together.hold("x"):
        pass
    with together.hold("x"):
        assert locks.is_held("x")


# --- several datasets at once ---------------------------------------------------------------------------


def many(vault: LocalVault, clock: Hours, *names: str) -> Context:
    dataset_only(vault, *names)
    nights(vault, clock, 1)
    return world(vault, clock)


def test_several_datasets_of_a_target_are_sent_at_once(vault: LocalVault, clock: Hours) -> None:
    context = many(vault, clock, "web1", "web2", "web3")
    met = threading.Barrier(3, timeout=120)  # breaks when one has to wait for another
    real = vault.far.receive

    def receive(dataset: str, stdin: int) -> Child:
        met.wait()
        return real(dataset, stdin)

    vault.far.receive = receive  # type: ignore[method-assign]  # for this test
    report = replicate(context)
    assert report.exit is Exit.OK, report.outcomes
    for name in ("web1", "web2", "web3"):
        assert guids(vault.far, f"vault/zborg/{name}") == guids(vault.zfs, f"tank/borg/{name}")


def test_a_child_is_never_sent_beside_its_parent(vault: LocalVault, clock: Hours) -> None:
    """Also where the order of names puts another between the two."""
    dataset_only(vault, "web1", "web1-b")
    vault.zfs.create("tank/borg/web1/sub", {})
    nights(vault, clock, 1)
    begun: list[object] = []
    vault.far.fail = lambda method, given: begun.append(given[0]) if method == "receive" else None
    slow_first_guid(vault)
    report = replicate(world(vault, clock))
    assert report.exit is Exit.OK, report.outcomes
    assert max(begun.index(COPY), begun.index(f"{COPY}-b")) < begun.index(f"{COPY}/sub")


def slow_first_guid(vault: LocalVault) -> None:
    """web1 is read back only when web1-b has begun."""
    begun, real_guid, real_receive = threading.Event(), vault.far.guid, vault.far.receive

    def guid(snapshot: str) -> str:
        assert not snapshot.startswith(f"{COPY}@") or begun.wait(20)
        return real_guid(snapshot)

    def receive(dataset: str, stdin: int) -> Child:
        if dataset == f"{COPY}-b":
            begun.set()
        return real_receive(dataset, stdin)

    vault.far.guid, vault.far.receive = guid, receive  # type: ignore[method-assign]  # for this test


def test_with_a_limit_one_dataset_follows_another(vault: LocalVault, clock: Hours) -> None:
    """Each stream has a pv of its own: two at once would be twice the limit."""
    context = many(vault, clock, "web1", "web2", "web3")
    (target,) = context.config.targets
    config = replace(context.config, targets=(replace(target, bandwidth_limit=50 << 20),))
    states: list[str] = []
    vault.far.fail = lambda method, _: states.append(method) if method in ("receive", "guid") else None
    assert replicate(replace(context, config=config)).exit is Exit.OK
    assert states == ["receive", "guid"] * 3


# --- a limit -------------------------------------------------------------------------------------------


class Recording(LocalRunner):
    """Remembers what it started; `instead` is started in place of it."""

    def __init__(self, instead: Sequence[str] = ()) -> None:
        super().__init__()
        self.started: list[tuple[str, ...]] = []
        self._instead = instead

    def start(self, argv: Sequence[str], *, stdin: int, stdout: int) -> Child:
        self.started.append(tuple(argv))
        return super().start(self._instead or argv, stdin=stdin, stdout=stdout)


def limited(vault: LocalVault, clock: Hours, local: LocalRunner) -> Context:
    dataset_only(vault, "web1")
    (vault.zfs.directory(WEB) / "data").write_bytes(bytes(range(256)) * 4096)
    nights(vault, clock, 2)
    context = world(vault, clock)
    (target,) = context.config.targets
    config = replace(context.config, targets=(replace(target, bandwidth_limit=50 << 20),))
    return replace(context, config=config, here=local)


def test_a_limited_stream_goes_through_pv_and_arrives_whole(vault: LocalVault, clock: Hours) -> None:
    local = Recording()
    context = limited(vault, clock, local)
    assert replicate(context).exit is Exit.OK
    assert local.started == [("pv", "-q", "-L", str(50 << 20))] * 2
    assert guids(vault.far, COPY) == guids(vault.zfs, WEB)


def test_without_a_limit_nothing_is_in_between(vault: LocalVault, clock: Hours) -> None:
    local = Recording()
    context = limited(vault, clock, local)
    free = tuple(replace(one, bandwidth_limit=0) for one in context.config.targets)
    assert replicate(replace(context, config=replace(context.config, targets=free))).exit is Exit.OK
    assert local.started == []


def test_a_limiter_that_ends_is_the_one_to_blame_and_the_next_run_goes_on(
    vault: LocalVault, clock: Hours
) -> None:
    broken = Recording(["sh", "-c", "head -c 9000; echo out of order >&2; exit 3"])
    context = limited(vault, clock, broken)
    outcome = of(replicate(context), "offsite:vault/zborg/web1")
    assert outcome.status is Status.FAILED
    assert "pv, which limits the bandwidth, ended before the stream did: out of order" in outcome.message
    assert replicate(replace(context, here=LocalRunner())).exit is Exit.OK
    assert guids(vault.far, COPY) == guids(vault.zfs, WEB)


def test_a_machine_without_pv_is_told_what_to_install(vault: LocalVault, clock: Hours) -> None:
    missing = Recording(["/nonexistent/pv"])
    outcome = of(replicate(limited(vault, clock, missing)), "offsite:vault/zborg/web1")
    assert outcome.status is Status.FAILED
    assert "cannot run /nonexistent/pv" in outcome.message and "install" in outcome.remedy


def test_a_full_disk_here_costs_one_dataset_and_not_what_is_told_of_the_others(
    vault: LocalVault, clock: Hours, other: FakeZfs
) -> None:
    dataset_only(vault, "web2")
    context = both(vault, clock, other)

    def full(method: str, what: object) -> None:
        if method == "receive" and "web1" in str(what):
            raise OSError(errno.ENOSPC, "No space left on device")

    vault.far.fail = full
    report = replicate(context)
    assert report.exit is Exit.PARTIAL
    failed = of(report, f"offsite:{COPY}")
    assert failed.status is Status.FAILED and "No space left on device" in failed.message
    good = [one.subject for one in report.outcomes if one.status is Status.OK]
    assert good == ["offsite:vault/zborg/web2", f"other:{COPY}", "other:vault/zborg/web2"]
    assert guids(vault.far, "vault/zborg/web2") == guids(vault.zfs, "tank/borg/web2")


def test_a_target_that_confirms_nothing_has_not_ever_more_held_for_it(
    vault: LocalVault, clock: Hours
) -> None:
    """It takes each stream and lists it, and says that it is not there when asked: no base is ever recorded,
    and so no limit for what stays unreplicated counts."""
    dataset_only(vault, "web1")
    vault.far.guid = lambda snapshot: ""  # type: ignore[method-assign]  # for this test
    for _ in range(6):
        nights(vault, clock, 1)
        assert replicate(world(vault, clock)).exit is Exit.FAILED
    held = [one.snapname for one in vault.zfs.snapshots(WEB) if one.holds]
    assert held == [one.snapname for one in vault.zfs.snapshots(WEB)][-2:]


def test_a_hold_on_what_is_sent_last_outlives_the_run(vault: LocalVault, clock: Hours) -> None:
    """It was held before: by a run whose copy somebody has rolled back since."""
    dataset_only(vault, "web1")
    nights(vault, clock, 1)
    replicate(world(vault, clock))
    nights(vault, clock, 3)
    last = vault.zfs.snapshots(WEB)[-1].full
    vault.zfs.hold("zborg:to:offsite", last)
    assert replicate(world(vault, clock)).exit is Exit.OK
    assert [one.full for one in vault.zfs.snapshots(WEB) if one.holds] == [last]
