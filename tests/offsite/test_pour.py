"""zborg.streams.pour: every byte, from whatever sshd gives a forced command, on whatever kernel."""

from __future__ import annotations

import errno
import os
import select
import socket
import subprocess
import threading
from pathlib import Path

import pytest

from zborg.streams import pipe, pour


def _poured(source: int, size: int) -> bytes:
    """`size` bytes of what comes out of a pipe that `source` is poured into."""
    with pipe() as (reading, writing):
        thread = threading.Thread(target=pour, args=(source, writing))
        thread.start()
        found = bytearray()
        while len(found) < size:
            assert select.select([reading], [], [], 10)[0], "nothing comes any more"
            found += os.read(reading, 1 << 16)
        thread.join(10)
        assert not thread.is_alive()
    return bytes(found)


def _refuse(*_: object) -> int:
    raise OSError(errno.EINVAL, "Invalid argument")


@pytest.mark.parametrize("how", ["splice", "refused", "missing"])
@pytest.mark.parametrize("kind", ["socket", "pipe", "file"])
def test_pour_moves_every_byte(kind: str, how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if how == "refused":
        monkeypatch.setattr(os, "splice", _refuse)
    elif how == "missing":
        monkeypatch.delattr(os, "splice")
    data = os.urandom(3_000_000)
    path = tmp_path / "data"
    path.write_bytes(data)
    with path.open("rb") as file:
        if kind == "file":
            assert _poured(file.fileno(), len(data)) == data
            return
        ends = os.pipe() if kind == "pipe" else tuple(end.detach() for end in socket.socketpair())
        with subprocess.Popen(["cat"], stdin=file, stdout=ends[1]) as child:
            os.close(ends[1])
            try:
                assert _poured(ends[0], len(data)) == data
                assert child.wait(10) == 0
            finally:
                child.kill()
                os.close(ends[0])


def test_pour_copies_nothing_where_the_kernel_can_do_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zborg.streams._copy", _refuse)
    one, other = socket.socketpair()
    with one, other:
        other.sendall(b"x" * 1000)
        other.shutdown(socket.SHUT_WR)
        assert _poured(one.fileno(), 1000) == b"x" * 1000


@pytest.mark.parametrize("how", ["splice", "missing"])
def test_pour_ends_when_nobody_reads(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if how == "missing":
        monkeypatch.delattr(os, "splice")
    reading, writing = os.pipe()
    os.close(reading)
    with pipe() as (source, full):
        os.write(full, b"x" * 1000)
        pour(source, writing)
    os.close(writing)


def test_pour_tells_other_errors() -> None:
    with pipe() as (source, full):
        os.write(full, b"x")
        with pytest.raises(OSError, match="Bad file descriptor"):
            pour(source, 9999)
