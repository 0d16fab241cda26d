"""Guests that die: noticed with the test in which it happened, and booted again once for the tests behind it.

A lab test that ends while one of its session's guests is dead has failed, whatever it asserted, and its
report shows the guest's console. Before the next lab test the guest is booted again, once in a session; the
summary of warnings says so. After that every further lab test fails at once instead of waiting in vain.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Protocol

import pytest

from tests.lab.errors import GuestDied, LabError


class Watched(Protocol):
    """The part of `tests.lab.Guest` that is looked at here."""

    name: str

    @property
    def console(self) -> str: ...
    @property
    def is_running(self) -> bool: ...
    def answers(self) -> bool: ...
    def kill(self) -> None: ...
    def start(self) -> None: ...


class Watch:
    """The guests of this session, and why some of them are dead."""

    def __init__(self) -> None:
        self._guests: list[Watched] = []
        self._rebooted = ""

    def add(self, *guests: Watched) -> None:
        """They run now, and shall run at the end of every lab test."""
        self._guests += guests

    def deaths(self, *, ask: bool) -> list[GuestDied]:
        """Of each guest that is dead; with `ask` of one that runs and gives no answer, too: it is ended."""
        found = []
        for guest in self._guests:
            if not guest.is_running:
                found.append(GuestDied(guest.name, guest.console))
            elif ask and not guest.answers():
                found.append(GuestDied(guest.name, guest.console, "it ran and gave no answer"))
                guest.kill()
        return found

    def revive(self, test: str) -> None:
        """Boot again what is dead, before this test; fails the test the second time."""
        dead = [guest for guest in self._guests if not guest.is_running]
        if not dead:
            return
        causes = "\n".join(str(GuestDied(guest.name, guest.console)) for guest in dead)
        if self._rebooted:
            pytest.fail(f"{causes}\nGuests were booted again once, before {self._rebooted}", pytrace=False)
        self._rebooted = test
        warnings.warn(f"booted again before {test}: {causes}", stacklevel=2)
        for guest in dead:
            try:
                guest.start()
            except LabError as error:
                pytest.fail(f"{causes}\nIt does not boot again: {error}", pytrace=False)


GUESTS = Watch()
IN_BOOKWORM = (
    "tests/borg/walls/test_walls_lab.py",
    "tests/night/test_local_storage.py",
    "tests/zfs/test_libzfs_lab.py",
)


def _in_lab(item: pytest.Item) -> bool:
    return item.get_closest_marker("lab") is not None


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> object | None:
    """For `-n 2 --dist loadfile`: those files stay on one worker that share a guest no other test uses."""
    if config.getvalue("dist") != "loadfile":
        return None
    from xdist.scheduler import LoadFileScheduling  # type: ignore[import-untyped]  # it has no types

    class ByGuest(LoadFileScheduling):  # type: ignore[misc]  # as above
        def _split_scope(self, nodeid: str) -> str:
            file = super()._split_scope(nodeid)
            return "bookworm" if file in IN_BOOKWORM else file

    return ByGuest(config, log)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    if _in_lab(item):
        GUESTS.revive(item.nodeid)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    report: pytest.TestReport = yield  # type: ignore[assignment]  # what the inner hooks made
    if _in_lab(item) and report.when in ("setup", "call"):
        for death in GUESTS.deaths(ask=report.failed):
            if not report.failed:
                report.outcome = "failed"
                report.longrepr = str(death)
            report.sections.append(("dead guest", str(death)))
    return report  # type: ignore[return-value]  # a wrapper returns the hook's result
