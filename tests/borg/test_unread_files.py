"""borg's warnings by kind (docs/failures.md, 37): what could not be read does not drown in what changed."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.harness.machines.borgs import BORGS, borg_of
from tests.harness.machines.host import BackedUpHost
from tests.harness.steps import backup
from tests.harness.worlds.local import LocalVault
from tests.harness.worlds.steps import Hours, of, shown, world
from zborg.borg.warned import CHANGED, UNREAD, Warnings
from zborg.model import Outcome, Status
from zborg.model.text.remedy import parse

WRITE_ONLY = Path("/proc/sys/vm/drop_caches")  # mode 0200, and the kernel keeps root to it
SECRET = "payroll-4711"


def night(vault: LocalVault, clock: Hours) -> Outcome:
    clock.tick()
    return of(backup(world(vault, clock)), "web1")


@contextmanager
def growing(path: Path) -> Iterator[None]:
    """A log that is written to without a pause."""
    ended = threading.Event()

    def write() -> None:
        with path.open("a") as log:
            while not ended.is_set():
                log.write("another line\n" * 50)
                log.flush()
                time.sleep(0.001)

    path.write_bytes(b"a line\n" * 3_000_000)
    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


@contextmanager
def unreadable(directory: Path) -> Iterator[Path]:
    """A file below it that root cannot open."""
    file = directory / f"{SECRET}-closed"
    file.touch()
    subprocess.run(["mount", "--bind", WRITE_ONLY, file], check=True)
    try:
        with pytest.raises(PermissionError):
            file.read_bytes()
        yield file
    finally:
        subprocess.run(["umount", "-l", file], check=True)


@pytest.fixture(params=BORGS)
def host(vault: LocalVault, request: pytest.FixtureRequest) -> BackedUpHost:
    made = vault.add("web1")
    made.setup("web1", [made.data], borg=borg_of(request.param))
    return made


def test_what_could_not_be_read_stays_in_status_until_it_can(
    vault: LocalVault, clock: Hours, host: BackedUpHost
) -> None:
    with unreadable(host.data), growing(host.data / f"{SECRET}-log"):
        outcome = night(vault, clock)
    assert outcome.status is Status.WARNING
    assert outcome.message.startswith("1 file could not be read (permission denied) and not backed up"), (
        outcome
    )
    assert "1 file changed while borg read" in outcome.message
    assert (outcome.data["unread"], outcome.data["changed"]) == (1, 1)
    assert SECRET not in str(outcome), "report_paths = no: counts leave the host, names do not"
    (command,) = parse(outcome.remedy)[1]
    said = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True).stdout
    assert f"{SECRET}-closed" in said, "root of the host reads there which it was"
    for _ in range(2):
        status = shown(vault, clock, "web1")
        assert status.status is Status.WARNING
        assert "1 file could not be read" in status.message
        assert status.remedy == outcome.remedy
        clock.tick(0.1)
    assert night(vault, clock).status is Status.OK
    assert shown(vault, clock, "web1").status is Status.OK


def test_a_log_that_grows_is_a_warning_of_its_night_alone(
    vault: LocalVault, clock: Hours, host: BackedUpHost
) -> None:
    with growing(host.data / "log"):
        outcome = night(vault, clock)
    assert (outcome.status, outcome.message) == (Status.WARNING, "1 file changed while borg read")
    assert shown(vault, clock, "web1").status is Status.OK


def test_names_are_told_where_the_host_allows_it(vault: LocalVault, clock: Hours, host: BackedUpHost) -> None:
    conf = (host.confdir / "agent.conf").read_text()
    (host.confdir / "agent.conf").write_text(f"{conf}report_paths = yes\n")
    with unreadable(host.data) as file:
        outcome = night(vault, clock)
    assert outcome.data["unread"] == 1
    assert str(file) in outcome.message


def test_every_id_is_one_of_borgs() -> None:
    import importlib

    importlib.import_module("borg.archive")
    helpers, archive = importlib.import_module("borg.helpers"), importlib.import_module("borg.archive")
    for name in (*UNREAD, *CHANGED):
        assert hasattr(helpers, name) or hasattr(archive, name), name


def test_a_host_that_makes_up_ids_fills_nothing() -> None:
    warnings = Warnings()
    for number in range(10_000):
        warnings.add(f"made up {number}", "x")
    assert (warnings.total, len(warnings.kinds)) == (10_000, 0)
    assert len(warnings.texts) < 100
