"""A TCP relay on loopback that passes bytes as they come until it is told to drip."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from types import TracebackType
from typing import Self


class Drip:
    """Relays connections to `port`; after `begin()` one byte each `interval` seconds towards the client."""

    def __init__(self, port: int, interval: float = 0.3) -> None:
        self._target, self._interval = port, interval
        self._slow = threading.Event()
        self._closed = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = [self._listener]
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def begin(self) -> None:
        self._slow.set()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._target))
                self._open += [client, server]
                threading.Thread(target=self._pass, args=(client, server, False), daemon=True).start()
                threading.Thread(target=self._pass, args=(server, client, True), daemon=True).start()

    def _pass(self, source: socket.socket, target: socket.socket, drips: bool) -> None:
        with suppress(OSError):
            while data := source.recv(1 if drips and self._slow.is_set() else 65536):
                if drips and self._slow.is_set():
                    for one in data:
                        target.sendall(bytes([one]))
                        if self._closed.wait(self._interval):
                            return
                else:
                    target.sendall(data)
        with suppress(OSError):
            target.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        self._closed.set()
        for one in self._open:
            one.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
