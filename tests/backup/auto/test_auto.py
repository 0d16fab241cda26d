"""zborg.steps.backup.auto: what it observes and tells, a fleet that follows it, and the real thing."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from tests.harness.machines.host import BackedUpHost
from tests.harness.steps import backup
from tests.harness.watch import HANG, next_second
from tests.harness.worlds.local import LocalVault
from tests.harness.worlds.steps import dataset_only, of
from zborg.borg.storage.repository import index_sizes
from zborg.errors import CommandFailed, Unreachable
from zborg.hosts.serve import LocalServe
from zborg.load import Load
from zborg.model import Completed, Dataset, Endpoint, Host, Outcome, Status
from zborg.model.events import Paced, Planned, Warned
from zborg.planning.backup.memory import SERVE_LEAST, SERVE_LIMIT, Room
from zborg.planning.backup.places import Places
from zborg.process import LocalRunner
from zborg.steps.backup import auto
from zborg.steps.backup.auto import Auto, memory_of, room_of
from zborg.steps.backup.workers import Fleet
from zborg.steps.context import Context

KIB = 1 << 10


class TwoProcessors(Load):
    """As idle as it is told; its memory is free."""

    share = 0.9
    free: float | None = None

    @property
    def processors(self) -> int:
        return 2

    def idle(self) -> float:
        return self.share

    def available(self) -> float | None:
        return self.free


class Seconds:
    """A clock that is turned by hand."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def hosts(count: int) -> list[Host]:
    endpoint = Endpoint("root", "127.0.0.1", 22, "ssh-ed25519 AAAA", "/key")
    return [Host(f"web{n:02d}", endpoint, 3600, 60) for n in range(count)]


@pytest.mark.unit
def test_each_change_is_told_with_its_reason_and_the_sum_once() -> None:
    changes, clock, load = list[tuple[int, str]](), Seconds(), TwoProcessors()
    found = Auto(64, {}, lambda number, words: changes.append((number, words)), load, clock)
    assert (found.allowed, found.most) == (8, 64)
    assert found.look(8, []) == 8, "too soon"
    clock.now = 1.0
    assert found.look(8, []) == 12
    clock.now, load.free = 2.5, 0.05
    assert found.look(12, []) == 6
    clock.now, load.share, load.free = 3.5, 0.0, None
    assert found.look(6, []) == 6
    found.end()
    found.end()
    assert changes == [
        (12, "12 hosts at once, 8 before: 90% of the processors' time was idle"),
        (6, "6 hosts at once, 12 before: 5% of the memory is available"),
        (0, "6 to 12 hosts were allowed at once, 2 changes"),
    ]


@pytest.mark.unit
def test_a_number_that_never_changed_is_told_too() -> None:
    changes = list[str]()
    Auto(3, {"web1": 5.0}, lambda _, words: changes.append(words), TwoProcessors(), Seconds()).end()
    assert changes == ["3 hosts were allowed at once, 0 changes"]


@pytest.mark.unit
def test_a_fleet_begins_more_while_the_first_wait() -> None:
    """All twelve meet: the last four begin before any of the first eight has ended."""
    all_at_work = threading.Barrier(12, timeout=HANG)

    def work(host: Host) -> Outcome:
        all_at_work.wait()
        return Outcome("host", host.name, Status.OK)

    found = Auto(64, {}, lambda *_: None, TwoProcessors())
    places = Places(found.allowed, {}, upper=found.most)
    fleet = Fleet(hosts(12), work, places, lambda _: "", found)
    while not fleet.ended:
        fleet.advance()
    assert {one.status for one in fleet.outcomes} == {Status.OK}


@pytest.mark.unit
def test_a_fleet_begins_no_more_than_fit_into_the_memory() -> None:
    most, at_work, guard = 0, 0, threading.Lock()

    def work(host: Host) -> Outcome:
        nonlocal most, at_work
        with guard:
            at_work += 1
            most = max(most, at_work)
        threading.Event().wait(0.01)
        with guard:
            at_work -= 1
        return Outcome("host", host.name, Status.OK)

    some = hosts(12)
    room = Room(3 << 30, {host.name: 1 << 30 for host in some})
    found = Auto(room.fits, {}, lambda *_: None, TwoProcessors())
    fleet = Fleet(some, work, Places(found.allowed, {}, upper=found.most, room=room), lambda _: "", found)
    while not fleet.ended:
        fleet.advance()
    assert len(fleet.outcomes) == 12
    assert most <= 3


def test_the_index_is_seen_from_outside_and_no_link_is_followed(tmp_path: Path) -> None:
    home = tmp_path / "web1"
    home.mkdir()
    places = [str(home), str(tmp_path / "missing")]
    assert index_sizes(LocalRunner(), []) == index_sizes(LocalRunner(), places) == {}
    (home / "index.17").write_bytes(b"x" * 70)
    (home / "index.18").write_bytes(b"x" * 50)
    (home / "index.19.tmp").write_bytes(b"x" * 999)
    (home / "index.20").symlink_to("/proc/self/exe")
    (home / "index.21").mkdir()
    assert index_sizes(LocalRunner(), places) == {str(home): 70}


# --- whose memory counts ------------------------------------------------------------------------------


class Answers:
    """A storage elsewhere that answers, or fails, like this."""

    def __init__(self, answer: Callable[[], Completed]) -> None:
        self._answer = answer

    def run(self, argv: object, **_: object) -> Completed:
        assert argv == ["cat", "/proc/meminfo"]
        return self._answer()


def failing(error: Exception) -> Callable[..., Completed]:
    def fail(*_: object) -> Completed:
        raise error

    return fail


@pytest.mark.parametrize(
    ("answer", "fits"),
    [
        (lambda: Completed(0, "MemTotal: 16777216 kB\nSwapTotal: 4194304 kB\n", ""), 5),
        (failing(CommandFailed(("cat",), 1, "No such file")), 4),
    ],
    ids=["Linux", "FreeBSD"],
)
def test_of_a_storage_elsewhere_its_own_memory_counts_by_the_limit_there(
    vault: LocalVault, answer: Callable[[], Completed], fits: int
) -> None:
    vault.elsewhere = vault.endpoint(1, "ssh-ed25519 AAAA")
    dataset_only(vault, *(f"web{n}" for n in range(9)))
    context = vault.context()
    object.__setattr__(context.storage, "runner", Answers(answer))
    room = room_of(context, context.config.hosts, {})
    assert set(room.limits.values()) == {SERVE_LIMIT}
    assert room.fits == fits


def test_a_storage_that_cannot_be_reached_is_not_taken_for_one_without_an_account(vault: LocalVault) -> None:
    vault.elsewhere = vault.endpoint(1, "ssh-ed25519 AAAA")
    context = vault.context()
    object.__setattr__(context.storage, "runner", Answers(failing(Unreachable(("ssh",), 255, "", "down"))))
    with pytest.raises(Unreachable):
        memory_of(context)


# --- the real thing -----------------------------------------------------------------------------------


@pytest.fixture
def limited(vault: LocalVault) -> list[str]:
    """The memory that each `borg serve` is given from now on, in KiB."""
    vault.backup["parallel"] = 0
    given = list[str]()

    def runner(own: int | None, env: Mapping[str, str]) -> LocalRunner:
        given.append(env["LIMIT"])
        return LocalRunner(own or "", env)

    vault.serve = LocalServe(vault.config.storage, vault.zfs, runner)
    return given


def test_a_host_may_take_what_its_index_needs_and_a_new_one_all(
    vault: LocalVault, limited: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(auto, "memory_of", lambda _: 6 << 30)  # of two, one without an index takes most
    host: BackedUpHost = vault.add("web1")
    dataset_only(vault, "gone")
    context = vault.context()
    plan = backup(context, dry_run=True).plan
    assert plan[-1] == "2 hosts, 1 at once to begin with, and at most 1"
    assert of(backup(context), "web1").status is Status.OK
    first = set(limited)
    limited.clear()
    (host.data / "new").write_text("more")
    next_second()
    context = vault.context()
    assert backup(context, dry_run=True).plan[-1] == "2 hosts, 2 at once to begin with, and at most 2"
    assert of(backup(context), "web1").status is Status.OK
    assert first == {str(SERVE_LIMIT // KIB)}
    assert set(limited) == {str(SERVE_LEAST // KIB)}
    planned = [event.parallel for event in vault.events if isinstance(event, Planned)]
    assert planned == [1, 2]
    sums = [event.message for event in vault.events if isinstance(event, Paced)]
    assert [words.endswith("at once, 0 changes") for words in sums] == [True, True]


def test_who_has_memory_for_all_does_not_look_at_their_repositories(
    vault: LocalVault, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset_only(vault, "web1", "web2", "web3")
    context = vault.context()
    monkeypatch.setattr(auto, "index_sizes", lambda *_: pytest.fail("looked"))
    monkeypatch.setattr(auto, "memory_of", lambda _: 12 << 30)
    assert room_of(context, context.config.hosts, vault_datasets(context)).fits == 3
    monkeypatch.setattr(auto, "memory_of", lambda _: 1 << 30)
    assert room_of(context, context.config.hosts[:1], vault_datasets(context)).fits == 1


def test_a_memory_that_cannot_be_asked_for_is_a_warning(
    vault: LocalVault, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset_only(vault, "web1", "web2")
    vault.backup["parallel"] = 0
    down = Unreachable(("ssh",), 255, "", "the storage is down")
    monkeypatch.setattr(auto, "memory_of", failing(down))
    assert backup(vault.context(), dry_run=True).plan[-1].endswith("not known: the storage is down")
    backup(vault.context())
    assert [one.parallel for one in vault.events if isinstance(one, Planned)] == [4]
    warned = [one.message for one in vault.events if isinstance(one, Warned) and one.subject == "backup"]
    assert warned == ["how many hosts the memory permits is not known: the storage is down"]


def vault_datasets(context: Context) -> dict[str, Dataset]:
    return {one.name: one for one in context.storage.zfs.datasets("tank/borg")}
