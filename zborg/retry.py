"""Doing again what may succeed a little later."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

T = TypeVar("T")


def retry(
    once: Callable[[], T],
    waits: Iterable[float],
    is_retryable: Callable[[Exception], bool],
    wait: Callable[[float], object],
) -> T:
    """What `once` returns, or its last error.

    It is called again after each of the `waits` (seconds) for as long as its error is retryable. `waits` is
    asked for the next one when it is needed, so a deadline can end it.
    """
    left = iter(waits)
    while True:
        try:
            return once()
        except Exception as error:
            if not is_retryable(error) or (seconds := next(left, None)) is None:
                raise
        wait(seconds)
