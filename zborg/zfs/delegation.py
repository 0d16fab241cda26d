"""What the accounts of an off-site host are allowed in ZFS, and the lines that allow it. Pure.

Three accounts, three rights: `zborg-sink` takes streams in, `zborg-read` sends what is there out, root
alone destroys. The lines are for root's shell there. They were tried on Linux with OpenZFS 2.3.9; on
FreeBSD they were not run: its zfs-allow(8) names the same permissions, and account management is pw(8)'s.
`receive:append` is younger than OpenZFS 2.3.0 (openzfs/zfs #17015); `zfs allow` refuses a word it does
not know.
"""

from __future__ import annotations

import shlex

from zborg.zfs import names

READER = "zborg-read"
FREEBSD = "FreeBSD"

# `mount` and `create` are what `receive` itself asks for. On Linux nobody but root can mount all the
# same; on FreeBSD only with vfs.usermount=1, on a directory of one's own. The parent's mountpoint=none
# is not theirs to change. `userprop` is for zborg:arrived and the marks.
_SINK = ("create", "mount", "userprop")
_READER = ("send",)


def sink_permissions(*, append: bool) -> tuple[str, ...]:
    """`append`: whether `zfs allow` there knows receive:append. Without it the sink is the only wall."""
    return ("receive:append" if append else "receive", *_SINK)


def lines(root: str, user: str, system: str, *, append: bool = True) -> tuple[str, ...]:
    """For the account of the sink; `system` is what uname(1) says there. ZborgError for bad names."""
    return _account(user, system), _allow(user, sink_permissions(append=append), root)


def reading_lines(root: str, user: str, system: str) -> tuple[str, ...]:
    """For the account that only reads; listing needs no right at all."""
    return _account(user, system), _allow(user, _READER, root)


def _account(user: str, system: str) -> str:
    """Its home is not made here: it is to be root's, so that the account cannot let itself in."""
    name, home = shlex.quote(user), shlex.quote(f"/home/{user}")
    if system == FREEBSD:
        return f"pw useradd {name} -d {home} -s /bin/sh"
    return f"useradd --system --home-dir {home} --shell /bin/sh {name}"


def _allow(user: str, permissions: tuple[str, ...], root: str) -> str:
    return shlex.join(("zfs", "allow", "-u", user, ",".join(permissions), names.dataset(root)))
