"""Which names may reach a zfs command line.

Every name is checked before it becomes an argument: `%` would turn a destroy into a range, `,` into a
list, `@` and `#` into another kind of thing, a leading `-` into an option. Spaces are legal in ZFS.
All functions return their argument or raise ZborgError; none asks ZFS whether the thing exists.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from zborg.errors import ZborgError

SCRATCH = "zborg-scratch"
_LONGEST = 255  # ZFS_MAX_DATASET_NAME_LEN - 1, for the full name
_LONGEST_VALUE = 8191  # ZFS_MAXPROPLEN - 1, bytes
_COMPONENT = re.compile(r"[A-Za-z0-9_.: -]+")
_POOL = re.compile(r"[A-Za-z][A-Za-z0-9_.: -]*")
_TAG = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:@-]*")
_PROPERTY = re.compile(r"[a-z0-9][a-z0-9:+._@-]*")
_VALUE = re.compile(r"[^\x00-\x1f\x7f]*")


def component(text: str) -> str:
    """What stands between slashes, after @ or after #."""
    if not _COMPONENT.fullmatch(text) or text in (".", "..") or len(text) > _LONGEST:
        raise ZborgError(f"not a name ZFS allows: {text!r}", "letters, digits, space and _ . : - only")
    return text


def pool(text: str) -> str:
    """`text`, if it is a pool's name. Raises ZborgError."""
    if not _POOL.fullmatch(text) or len(text) > _LONGEST:
        raise ZborgError(f"not a pool's name: {text!r}")
    return text


def dataset(text: str) -> str:
    """POOL or POOL/A/B."""
    first, *rest = text.split("/")
    pool(first)
    for part in rest:
        component(part)
    if len(text) > _LONGEST:
        raise ZborgError(f"longer than ZFS allows: {text!r}")
    return text


def snapshot(text: str) -> str:
    """DATASET@NAME."""
    return _marked(text, "@")


def bookmark(text: str) -> str:
    """DATASET#NAME."""
    return _marked(text, "#")


def base(text: str) -> str:
    """What an increment may start from: a snapshot or a bookmark."""
    return bookmark(text) if "#" in text else snapshot(text)


def subject(text: str) -> str:
    """What may carry user properties: a dataset or a snapshot."""
    return snapshot(text) if "@" in text else dataset(text)


def _marked(text: str, mark: str) -> str:
    parent, found, name = text.partition(mark)
    if not found:
        raise ZborgError(f"no {mark} in {text!r}")
    dataset(parent)
    component(name)
    if len(text) > _LONGEST:
        raise ZborgError(f"longer than ZFS allows: {text!r}")
    return text


def tag(text: str) -> str:
    """A hold's tag."""
    if not _TAG.fullmatch(text) or len(text) > _LONGEST:
        raise ZborgError(f"not a tag for a hold: {text!r}")
    return text


def properties(table: Mapping[str, str], *, user_only: bool = True) -> list[str]:
    """`name=value` words. `user_only` refuses ZFS's own properties (those without a colon)."""
    for name, value in table.items():
        if not _PROPERTY.fullmatch(name) or (user_only and ":" not in name):
            raise ZborgError(f"not a {'user ' if user_only else ''}property: {name!r}")
        # A newline in a value would forge rows in every listing that prints it.
        if not _VALUE.fullmatch(value) or len(value.encode()) > _LONGEST_VALUE:
            raise ZborgError(f"not a value for the property {name}: {value[:80]!r}")
    return [f"{name}={value}" for name, value in table.items()]


def scratch(text: str) -> str:
    """The RUN parent of a clone POOL/.../zborg-scratch/RUN/HOST; any other name is refused."""
    parts = dataset(text).split("/")
    if len(parts) < 4 or parts[-3] != SCRATCH:
        raise ZborgError(
            f"refused to destroy {text}: it is not a clone below {SCRATCH}",
            "zborg destroys datasets only as POOL/zborg-scratch/RUN/HOST",
        )
    return "/".join(parts[:-1])
