"""The relay of scripts/bench: bytes unchanged and late, on a clock that only moves when everybody waits."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tests.bench.relay import Connection, Relay, carry

ONE_WAY = 0.05


class _Hurry(selectors.SelectSelector):
    """Waits for nothing: the time it was to wait is added to `now`."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self.now += timeout or 0.0
        return super().select(0)


def at_once(work: Coroutine[Any, Any, None]) -> None:
    """Run `work` on a loop whose clock shows only the time that was waited for."""
    selector = _Hurry()
    loop = asyncio.SelectorEventLoop(selector)
    loop.time = lambda: selector.now  # type: ignore[method-assign]  # the loop's own clock
    try:
        loop.run_until_complete(work)
    finally:
        loop.close()


class _Page:
    """A writer that notes what came, and when; `slow` seconds pass with each piece."""

    def __init__(self, slow: float = 0.0) -> None:
        self.pieces: list[tuple[float, bytes]] = []
        self.ended = -1.0
        self._slow = slow

    def write(self, data: bytes) -> None:
        self.pieces.append((asyncio.get_running_loop().time(), data))

    async def drain(self) -> None:
        if self._slow:
            await asyncio.sleep(self._slow)

    def write_eof(self) -> None:
        self.ended = asyncio.get_running_loop().time()


@given(st.lists(st.tuples(st.floats(0, 0.2), st.binary(min_size=1, max_size=300)), max_size=30))
def test_every_byte_comes_once_in_order_and_exactly_one_way_late(sent: list[tuple[float, bytes]]) -> None:
    page, fed = _Page(), list[tuple[float, bytes]]()

    async def work() -> None:
        clock, reader = asyncio.get_running_loop().time, asyncio.StreamReader()
        carrying = asyncio.create_task(carry(reader, page, ONE_WAY))  # type: ignore[arg-type]  # a stand-in
        for pause, data in sent:
            await asyncio.sleep(pause)
            reader.feed_data(data)
            fed.append((clock(), data))
        reader.feed_eof()
        ended = clock()
        await carrying
        assert abs(page.ended - ended - ONE_WAY) < 1e-6

    at_once(work())
    assert b"".join(data for _, data in page.pieces) == b"".join(data for _, data in sent)
    # What was fed within one turn of the loop is one piece: compare where each byte stands.
    for (came, _), at in zip(page.pieces, _starts(page.pieces), strict=True):
        (began,) = [
            when
            for (when, data), start in zip(fed, _starts(fed), strict=True)
            if start <= at < start + len(data)
        ]
        assert abs(came - began - ONE_WAY) < 1e-6


def _starts(pieces: list[tuple[float, bytes]]) -> list[int]:
    return [sum(len(data) for _, data in pieces[:number]) for number in range(len(pieces))]


def test_a_slow_taker_makes_the_sender_wait() -> None:
    """What is under way is bounded: the reader is not read on, and so its sender's TCP window closes."""
    page, reads = _Page(slow=1000.0), 0

    class Endless(asyncio.StreamReader):
        async def read(self, n: int = -1) -> bytes:
            nonlocal reads
            reads += 1
            await asyncio.sleep(0.001)
            return bytes(n)

    async def work() -> None:
        carrying = asyncio.create_task(carry(Endless(), page, ONE_WAY))  # type: ignore[arg-type]  # a stand-in
        await asyncio.sleep(10)
        carrying.cancel()
        await asyncio.wait([carrying])

    at_once(work())
    assert reads == 1 + 32 + 1  # being written, in the queue, and one that waits for room


def test_a_half_closed_connection_still_answers_and_both_ends_are_reported() -> None:
    """Over real sockets: the far side hears the end of the question before it answers."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write((await reader.read())[::-1])
        await writer.drain()
        writer.close()

    async def work() -> None:
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        told: asyncio.Queue[Connection] = asyncio.Queue()
        near = await Relay(port, 0.001, told).listen()
        reader, writer = await asyncio.open_connection("127.0.0.1", near)
        question = bytes(range(256)) * 5000
        writer.write(question)
        writer.write_eof()
        assert await reader.read() == question[::-1]
        began, ended = await told.get(), await told.get()
        assert began == Connection(port, ended.opened, None)
        assert ended.closed
        assert ended.closed - ended.opened >= 0.004  # the handshake, there and back
        writer.close()
        server.close()

    asyncio.run(asyncio.wait_for(work(), 20))


def test_a_broken_connection_is_broken_on_the_other_side_too() -> None:
    async def work() -> None:
        heard: asyncio.Queue[bytes] = asyncio.Queue()

        async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await heard.put(await reader.readline())
            await heard.put(await reader.read())
            writer.close()

        server = await asyncio.start_server(listen, "127.0.0.1", 0)
        told: asyncio.Queue[Connection] = asyncio.Queue()
        near = await Relay(server.sockets[0].getsockname()[1], 0.001, told).listen()
        _, writer = await asyncio.open_connection("127.0.0.1", near)
        writer.write(b"hello\n")
        assert await heard.get() == b"hello\n"
        writer.transport.abort()
        assert await heard.get() == b""
        assert [bool((await told.get()).closed) for _ in range(2)] == [False, True]
        server.close()

    asyncio.run(asyncio.wait_for(work(), 20))
