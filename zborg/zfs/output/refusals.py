"""Why `zfs receive` failed, from what it printed. Pure.

It ends with status 1 whatever the reason, so its message is the only signal (zfs_receive_one() of OpenZFS's
lib/libzfs/libzfs_sendrecv.c, and errors of lib/libzfs/libzfs_util.c). Seen on OpenZFS 2.3.9, but for
"unsupported feature", "suspended" and "requires -L", which are from that source.
"""

from __future__ import annotations

from zborg.errors import CommandFailed, SinkRefused, TimedOut, Unreachable
from zborg.model.storage.refusal import Refusal, StreamRefused

# The first that is found. One message may mean several things: EDQUOT is also what a snapshot_limit and a
# filesystem_limit answer.
_MESSAGES = (
    ("pool must be upgraded", Refusal.FEATURES),
    ("unsupported feature", Refusal.TOO_OLD),
    ("kernel modules must be upgraded", Refusal.TOO_OLD),
    ("inherited key must be loaded", Refusal.ENCRYPTED_PARENT),
    ("embedded data stream feature with encrypted receive", Refusal.ENCRYPTED_PARENT),
    ("raw receive on top of existing unencrypted", Refusal.PLAIN_COPY),
    ("requires -L", Refusal.OTHER_BLOCKS),
    ("quota exceeded", Refusal.QUOTA),
    ("out of space", Refusal.SPACE),
    ("pool is read-only", Refusal.READ_ONLY),
    ("currently suspended", Refusal.SUSPENDED),
    ("ermission denied", Refusal.FORBIDDEN),
    ("nsufficient privileges", Refusal.FORBIDDEN),
    ("mounted by root", Refusal.FORBIDDEN),
    ("only root can mount", Refusal.FORBIDDEN),
    ("dataset is busy", Refusal.UNFINISHED),
    ("has been modified", Refusal.MODIFIED),
    ("partially-complete state", Refusal.UNFINISHED),
    ("incomplete stream", Refusal.CUT),
    ("failed to read from stream", Refusal.CUT),
    ("unable to restore to destination", Refusal.NO_PARENT),
    ("must specify -F", Refusal.EXISTS),
)


def is_cut(line: str) -> bool:
    """Whether a receiver says there that its stream ended too early: then it does not know why."""
    return any(message in line for message, kind in _MESSAGES if kind is Refusal.CUT)


def of_receiver(error: CommandFailed) -> CommandFailed:
    """The same failure of `zfs receive` as a StreamRefused, where its ZFS gave a reason that is known."""
    if isinstance(error, SinkRefused | TimedOut | Unreachable):
        return error
    found = refusal(error.stderr)
    return StreamRefused(error, found) if found else error


def refusal(stderr: str) -> Refusal | None:
    """None for a message that is not known."""
    return next((kind for message, kind in _MESSAGES if message in stderr), None)
