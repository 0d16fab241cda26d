"""A relay that makes a connection long: what goes in comes out the same, a fixed time later.

    python -m tests.bench.relay ONE_WAY PORT...

For each PORT of loopback it listens on a port of its own and passes connections on, each way ONE_WAY
seconds late. Not every kernel has netem, and a relay needs no rights. On stdout it prints first the list
of its ports in the order given, then a Connection as each one begins and as it ends, each a line of JSON. It
lives until its stdin ends, so it goes with whoever started it.
"""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import suppress
from dataclasses import asdict, dataclass

_CHUNK = 1 << 16
_CHUNKS = 32  # under way in one direction: 2 MiB, which at 50 ms is 40 MiB/s; then the sender has to wait

Queue = asyncio.Queue[tuple[float, bytes]]  # (when it is due on the loop's clock, bytes); b"" is the end


@dataclass(frozen=True, slots=True)
class Connection:
    """To which of the given ports, and when (time.monotonic) it began and ended; None while it lasts."""

    port: int
    opened: float
    closed: float | None


async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, one_way: float) -> None:
    """Pass on what `reader` gives, `one_way` seconds later, its end too; the way back stays open."""
    queue: Queue = asyncio.Queue(_CHUNKS)
    async with asyncio.TaskGroup() as both:
        both.create_task(_take(reader, queue, one_way))
        both.create_task(_give(queue, writer))


async def _take(reader: asyncio.StreamReader, queue: Queue, one_way: float) -> None:
    clock = asyncio.get_running_loop().time
    data = b"first"
    while data:
        data = await reader.read(_CHUNK)
        await queue.put((clock() + one_way, data))


async def _give(queue: Queue, writer: asyncio.StreamWriter) -> None:
    clock = asyncio.get_running_loop().time
    while True:
        due, data = await queue.get()
        await asyncio.sleep(max(0.0, due - clock()))
        if not data:
            writer.write_eof()
            return
        writer.write(data)
        await writer.drain()


class Relay:
    """Listens for one port. Connections are handed to `told` when they begin and when they have ended."""

    def __init__(self, port: int, one_way: float, told: asyncio.Queue[Connection]) -> None:
        self._port, self._one_way, self._told = port, one_way, told
        # Python 3.11 forgets the task that serves a connection once that is lost, and its loop holds tasks
        # weakly: with bytes still under way it might be collected.
        self._serving: set[asyncio.Task[None]] = set()

    async def listen(self) -> int:
        """The port it listens on."""
        server = await asyncio.start_server(self._begin, "127.0.0.1", 0)
        port: int = server.sockets[0].getsockname()[1]
        return port

    def _begin(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        clock = asyncio.get_running_loop().time
        opened = clock()
        self._told.put_nowait(Connection(self._port, opened, None))
        # The kernel has accepted at once; over a long line TCP's own handshake takes a round trip.
        await asyncio.sleep(2 * self._one_way)
        # Who breaks a connection off breaks both halves; the relay's own end (cancelled) is no error.
        with suppress(OSError, ExceptionGroup, asyncio.CancelledError):
            await self._join(reader, writer)
        writer.close()
        self._told.put_nowait(Connection(self._port, opened, clock()))

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._port)
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(carry(reader, far_writer, self._one_way))
                both.create_task(carry(far_reader, writer, self._one_way))
        finally:
            far_writer.close()


async def _until_stdin_ends() -> None:
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
    )
    await reader.read()


async def _report(told: asyncio.Queue[Connection]) -> None:
    while True:
        print(json.dumps(asdict(await told.get())), flush=True)


async def main(one_way: float, ports: list[int]) -> None:
    told: asyncio.Queue[Connection] = asyncio.Queue()
    print(json.dumps([await Relay(port, one_way, told).listen() for port in ports]), flush=True)
    reporting = asyncio.create_task(_report(told))
    await _until_stdin_ends()
    reporting.cancel()


if __name__ == "__main__":
    asyncio.run(main(float(sys.argv[1]), [int(word) for word in sys.argv[2:]]))
