"""A stream that hangs (zettarepl's pull request 40): `zfs send` reports the same bytes for ever."""

from __future__ import annotations

import time

import pytest

from zborg.errors import TimedOut
from zborg.model import Event
from zborg.steps.replicate.stream import Meter


def feed(meter: Meter, sent: int) -> None:
    assert meter.feed(f"12:00:00\t{sent}\ttank/borg/web1@zborg_2026-02-12T000000Z")


def test_a_stream_that_moves_no_data_is_ended_and_named() -> None:
    events: list[Event] = []
    meter = Meter(events.append, "offsite:vault/zborg/web1", longest=0.2)
    began = time.monotonic()
    with pytest.raises(TimedOut) as caught:
        while time.monotonic() - began < 20:
            feed(meter, 4096)
            time.sleep(0.02)
    assert caught.value.message.startswith("offsite:vault/zborg/web1: no data moved for ")
    assert "zborg replicate" in caught.value.remedy


def test_a_slow_stream_goes_on() -> None:
    meter = Meter(lambda _: None, "offsite:vault/zborg/web1", longest=0.2)
    for step in range(30):
        feed(meter, step * 4096)
        time.sleep(0.02)
    assert meter.sent == 29 * 4096
