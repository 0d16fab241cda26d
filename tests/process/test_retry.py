"""What is tried again, how often, and after which waits."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from zborg.retry import retry

pytestmark = pytest.mark.unit


class Flaky:
    """Fails `failures` times, then returns its number of calls."""

    def __init__(self, failures: int, error: Exception | None = None) -> None:
        self.failures, self.error, self.calls = failures, error or TimeoutError("busy"), 0
        self.waited: list[float] = []

    def __call__(self) -> int:
        self.calls += 1
        if self.calls <= self.failures:
            raise self.error
        return self.calls

    def tried(self, waits: Iterator[float] | tuple[float, ...] = (1, 2, 4)) -> int:
        return retry(self, waits, lambda error: isinstance(error, TimeoutError), self.waited.append)


@pytest.mark.parametrize("failures", range(4))
def test_it_is_called_until_it_succeeds(failures: int) -> None:
    flaky = Flaky(failures)
    assert flaky.tried() == failures + 1
    assert flaky.waited == [1, 2, 4][:failures]


def test_the_last_error_is_raised_without_another_wait() -> None:
    flaky = Flaky(99)
    with pytest.raises(TimeoutError):
        flaky.tried()
    assert (flaky.calls, flaky.waited) == (4, [1, 2, 4])


def test_another_error_is_raised_at_once() -> None:
    flaky = Flaky(99, ValueError("wrong"))
    with pytest.raises(ValueError, match="wrong"):
        flaky.tried()
    assert (flaky.calls, flaky.waited) == (1, [])


def test_a_wait_is_asked_for_when_it_is_needed() -> None:
    """So that one that depends on the time left is decided after the failure."""
    flaky = Flaky(99)
    asked: list[int] = []

    def waits() -> Iterator[float]:
        while len(asked) < 2:
            asked.append(flaky.calls)
            yield 1

    with pytest.raises(TimeoutError):
        flaky.tried(waits())
    assert asked == [1, 2] and flaky.calls == 3
