"""borg's RPC without borg's manners: what a host can say to `borg serve` when its borg is its own.

The protocol is that of borg 1.1 to 1.4 (RemoteRepository in borg's remote.py): each call is one
msgpack map {"i": number, "m": method, "a": arguments}, each answer one with "r" or "exception_class".
"""

from __future__ import annotations

import os
from types import TracebackType
from typing import Any, Self

import msgpack

from zborg.hosts.tunnel import Serve

_VERSION = (1, 4, 0)  # what this client says it is
_ANSWER = 1 << 16


class Refused(Exception):
    """borg's answer was an exception: its class, and all that it said."""

    def __init__(self, kind: str, said: str) -> None:
        super().__init__(f"{kind}: {said}")
        self.kind = kind


class Rpc:
    """One session with the `borg serve` that `serve` starts for `command`."""

    def __init__(self, serve: Serve, command: str) -> None:
        down, self._write = os.pipe()
        self._read, up = os.pipe()
        self._child = serve(command, down, up)
        os.close(down)
        os.close(up)
        self._unpacker = msgpack.Unpacker(raw=True, strict_map_key=False)
        self._calls = 0
        self.call("negotiate", client_data={b"client_version": _VERSION})

    def call(self, method: str, **arguments: object) -> Any:
        """What the method returned. Raises Refused, or EOFError when nobody answers any more."""
        self._calls += 1
        named = {key.encode(): value for key, value in arguments.items()}
        message = msgpack.packb({b"i": self._calls, b"m": method.encode(), b"a": named}, use_bin_type=False)
        while message:
            message = message[os.write(self._write, message) :]
        answer = self._answer()
        if b"exception_class" in answer:
            said = b"".join(answer[b"exception_full"]).decode(errors="replace")
            raise Refused(answer[b"exception_class"].decode(), said)
        return answer[b"r"]

    def _answer(self) -> dict[bytes, Any]:
        while True:
            for answer in self._unpacker:  # between them lines of the log may stand
                if isinstance(answer, dict) and answer.get(b"i") == self._calls:
                    return answer
            data = os.read(self._read, _ANSWER)
            if not data:
                raise EOFError("nobody answers")
            self._unpacker.feed(data)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """As a host that ends its session: borg commits nothing that was not committed."""
        os.close(self._write)
        while os.read(self._read, _ANSWER):
            pass
        os.close(self._read)
        self._child.stop()
        self._child.close()
