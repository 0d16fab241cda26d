"""One command on a channel of paramiko's: its output, its stderr and its status."""

from __future__ import annotations

import select
import time
from typing import TYPE_CHECKING

from zborg.errors import CommandFailed, Interrupted, TimedOut
from zborg.interrupt import cancelled
from zborg.model import Completed
from zborg.model.text.units import size

if TYPE_CHECKING:
    import paramiko

_TICK = 0.5  # how often a wait looks at `cancelled`


def feed(channel: paramiko.Channel, data: bytes) -> None:
    """Give a command its input, and end it. One may end without reading it: its status says what that means.

    Raises TimeoutError when it takes nothing, OSError when the connection broke.
    """
    try:
        channel.sendall(data)
        channel.shutdown_write()
    except TimeoutError:
        raise
    except OSError:
        if not channel.closed or channel.transport is None or not channel.transport.is_active():
            raise


def collect(
    channel: paramiko.Channel, machine: str, command: str, timeout: float, max_bytes: int
) -> Completed:
    """Read both streams until the command has ended, or has printed more than `max_bytes`."""
    deadline = time.monotonic() + timeout
    out, err = bytearray(), bytearray()
    while True:
        if channel.eof_received and not _pending(channel):
            channel.status_event.wait(_TICK)  # a channel at its end is always readable
        else:
            select.select([channel], [], [], _TICK)
        while channel.recv_ready() and len(out) <= max_bytes:
            out += channel.recv(1 << 16)
        while channel.recv_stderr_ready() and len(err) <= max_bytes:
            err += channel.recv_stderr(1 << 16)
        if max(len(out), len(err)) > max_bytes:
            message = f"the other side printed more than {size(max_bytes)}"
            raise CommandFailed((command,), -1, "", message, "look at who answers there")
        if channel.exit_status_ready() and channel.eof_received and not _pending(channel):
            status = channel.recv_exit_status()
            return Completed(status, out.decode("utf-8", "replace"), err.decode("utf-8", "replace"))
        if cancelled.is_set():
            raise Interrupted("interrupted")
        if time.monotonic() > deadline:
            who = next((word for word in command.split() if word != "env" and "=" not in word), "")
            words = f"{machine}, {who}: no answer within {timeout:g} s"
            raise TimedOut((command,), -1, err.decode("utf-8", "replace"), words)
        if channel.transport is None or not channel.transport.is_active():
            raise EOFError("the connection broke")


def _pending(channel: paramiko.Channel) -> bool:
    return channel.recv_ready() or channel.recv_stderr_ready()
