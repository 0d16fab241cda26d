"""What the marker `unit` promises: no process and no socket. Held by an audit hook while such a test runs.

Python raises an audit event for each way to start a process or make a socket, below whatever a test has
patched. Files below tmp_path are allowed: they are fast, and a test's own.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

_FORBIDDEN = frozenset(
    (
        "subprocess.Popen",
        "os.exec",
        "os.fork",
        "os.forkpty",
        "os.posix_spawn",
        "os.spawn",
        "os.system",
        "socket.__new__",
    )
)


class _Guard:
    """`on` while a unit test is set up, called and torn down; `seen` is what it tried, in order."""

    def __init__(self) -> None:
        self.on = False
        self.seen: list[str] = []
        sys.addaudithook(self._audit)

    def _audit(self, event: str, arguments: tuple[object, ...]) -> None:
        if self.on and event in _FORBIDDEN:
            self.seen.append(event)
            raise RuntimeError(f"a test marked unit starts no process and makes no socket: {event}")


_guard = _Guard()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """On for the fixtures too, whatever their scope."""
    _guard.seen.clear()
    _guard.on = item.get_closest_marker("unit") is not None
    try:
        return (yield)
    finally:
        _guard.on = False


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(nextitem: pytest.Item | None) -> Iterator[None]:
    """Behind a worker's last test what other tests share ends as well: a browser, for instance."""
    if nextitem is None:
        _guard.on = False
    return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """Code that caught the refusal and went on would pass."""
    result = yield
    if _guard.seen:
        pytest.fail(f"marked unit, and tried {', '.join(_guard.seen)}", pytrace=False)
    return result
