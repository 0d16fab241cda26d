"""The streams and children of FakeZfs: threads that look like processes, tokens like ZFS's own."""

from __future__ import annotations

import io
import itertools
import json
import os
import select
import struct
import tarfile
import threading
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zborg.model import ConnectionLog
from zborg.zfs.begin import FILESYSTEM, SIZE

_BEGIN, _MAGIC, _LZ4 = "<IIQQQIIQQ256s", 0x2F5BACBAC, 17  # as in zborg/zfs/begin.py
CHUNK = 4096  # PIPE_BUF: a write of this size into a writable pipe does not block
SIGPIPE_STATUS = -13
# Beyond the largest pid Linux gives, so that nobody can end a stranger's process with it.
_pids = itertools.count((1 << 22) + 1)


class Stopped(Exception):
    """stop() was called while the child was at work."""


class FakeChild:
    """A model.Child whose process is a thread. `work` returns its exit status."""

    def __init__(self, argv: tuple[str, ...], work: Callable[[FakeChild], int]) -> None:
        self.argv, self.connection = argv, ConnectionLog()
        self.pid = next(_pids)
        self.stderr, self._writing = os.pipe()
        self._status: int | None = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(work,), daemon=True)
        self._thread.start()

    def poll(self) -> int | None:
        return self._status

    def stop(self, grace: float = 5.0) -> int:
        if self._status is None:
            self._stopping.set()
            self._thread.join(grace + 5)
        assert self._status is not None, "a fake child did not stop"
        return self._status

    def wait(self, timeout: float = 120) -> int:
        self._thread.join(timeout)
        assert self._status is not None, f"{self.argv} did not end"
        return self._status

    def say(self, text: str) -> None:
        os.write(self._writing, f"{text}\n".encode())

    def _run(self, work: Callable[[FakeChild], int]) -> None:
        status = 1
        try:
            status = work(self)
        except BrokenPipeError:
            status = SIGPIPE_STATUS
        except Stopped:
            status = -15
        finally:
            os.close(self._writing)
            self._status = status

    def write(self, target: int, data: bytes) -> None:
        """All of it, unless the child is stopped or the other end goes."""
        view = memoryview(data)
        while view:
            self._check()
            if select.select([], [target], [], 0.05)[1]:
                view = view[os.write(target, view[:CHUNK]) :]

    def read(self, source: int, size: int) -> bytes:
        """Up to `size` bytes; b"" at the end."""
        while True:
            self._check()
            if select.select([source], [], [], 0.05)[0]:
                return os.read(source, size)

    def pause(self, seconds: float) -> None:
        """Do nothing for so long, unless the child is stopped."""
        if self._stopping.wait(seconds):
            raise Stopped

    def _check(self) -> None:
        if self._stopping.is_set():
            raise Stopped

    def close(self) -> None:
        if self.stderr >= 0:
            os.close(self.stderr)
            self.stderr = -1

    __del__ = close


@dataclass(frozen=True)
class Header:
    """What a stream begins with: the record that a real one begins with, and a line of our own.

    `size` is the whole body's, `offset` where this stream begins in it.
    """

    dataset: str
    raw: str
    to_guid: str
    from_guid: str | None
    created: float
    size: int
    offset: int = 0
    locked: bool = False  # a raw stream: whoever has it needs no key, and sees nothing

    def data(self) -> bytes:
        name = f"{self.dataset}@{self.raw}".encode()
        guids = int(self.to_guid), int(self.from_guid or 0)
        version = 1 | 1 << 2 + _LZ4
        record = struct.pack(_BEGIN, 0, 0, _MAGIC, version, int(self.created), FILESYSTEM, 0, *guids, name)
        return record + json.dumps({"fake-zfs": 1, **vars(self)}).encode() + b"\n"

    @classmethod
    def parse(cls, data: bytes) -> Header | None:
        try:
            table = json.loads(data[SIZE:])
            return cls(**table) if table.pop("fake-zfs") == 1 else None
        except (ValueError, KeyError, TypeError, AttributeError):
            return None


def read_header(child: FakeChild, source: int) -> bytes:
    """All of it, or what came before the end."""
    found = bytearray()
    while (len(found) < SIZE or not found.endswith(b"\n")) and len(found) < 65536:
        byte = child.read(source, 1)
        if not byte:
            break
        found += byte
    return bytes(found)


def pack_tree(tree: Path) -> bytes:
    """The same bytes for the same tree, so that a stream can go on where it was cut."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for path in sorted(tree.rglob("*")):
            tar.add(path, str(path.relative_to(tree)), recursive=False)
    return buffer.getvalue()


def unpack_tree(data: bytes, tree: Path) -> None:
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        # Python 3.11.2, which is Debian 12's, has no filters yet.
        options: dict[str, Any] = {"filter": "tar"} if hasattr(tarfile, "tar_filter") else {}
        tar.extractall(tree, **options)


def pack_token(facts: Mapping[str, int | str | None]) -> str:
    """A resume token as OpenZFS writes it; None is a flag without a value."""
    body = b"".join(_pair(name, value) for name, value in facts.items())
    data = b"\0\1\0\0" + struct.pack("<iI", 0, 1) + body + bytes(4)
    packed = zlib.compress(data)
    words = struct.unpack(f"<{len(packed) // 4}I", packed[: len(packed) // 4 * 4])
    return f"1-{sum(words):x}-{len(data):x}-{packed.hex()}"


def _pair(name: str, value: int | str | None) -> bytes:
    kind = 1 if value is None else 9 if isinstance(value, str) else 8
    raw = (
        b""
        if value is None
        else value.encode() + b"\0"
        if isinstance(value, str)
        else struct.pack("<Q", value)
    )
    label = name.encode() + b"\0"
    head = label + bytes(-(16 + len(label)) % 8)
    body = head + raw + bytes(-len(raw) % 8)
    return struct.pack("<ihhii", 16 + len(body), len(label), 0, 0 if value is None else 1, kind) + body
