"""Why `zfs receive` failed, from what it printed. Pure.

It ends with status 1 whatever the reason, so its message is the only signal (zfs_receive_one() of OpenZFS's
lib/libzfs/libzfs_sendrecv.c, and errors of lib/libzfs/libzfs_util.c). Seen on OpenZFS 2.3.9, but for
"unsupported feature", "suspended" and "requires -L", which are from that source.
"""

from __future__ import annotations

from zborg.model.storage.refusal import Refusal

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


def refusal(stderr: str) -> Refusal | None:
    """None for a message that is not known."""
    return next((kind for message, kind in _MESSAGES if message in stderr), None)
