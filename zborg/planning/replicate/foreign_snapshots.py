"""Snapshots that other tools take, by their names. Pure.

Many of them snapshot every dataset of a pool unless they are configured not to, and no increment fits on a
copy that got a snapshot of its own (sanoid issues 899 and 1036).
"""

from __future__ import annotations

import re
from collections.abc import Iterable

_DAY, _TIME = r"\d{4}-\d\d-\d\d", r"\d\d:\d\d:\d\d"

# Each as the tool's own documentation or source has it, with its default naming; the first that fits counts.
_TOOLS = tuple(
    (tool, re.compile(pattern, re.ASCII))
    for tool, pattern in (
        # sanoid: autosnap_%Y-%m-%d_%H:%M:%S_TYPE
        ("sanoid", rf"autosnap_{_DAY}_{_TIME}_(frequently|hourly|daily|weekly|monthly|yearly)"),
        # syncoid: syncoid_[IDENTIFIER_]HOST_%Y-%m-%d:%H:%M:%S-GMT+HH:MM
        ("syncoid", rf"syncoid_.+_{_DAY}:{_TIME}(-GMT[+-]?\d\d:\d\d)?"),
        # zrepl: `prefix` zrepl_ in its samples, then UTC with milliseconds; iso-8601 and unix-seconds as well
        ("zrepl", r"zrepl_.+"),
        # zfs-auto-snapshot: zfs-auto-snap_LABEL-%Y-%m-%d-%H%M; zfstools of FreeBSD the same with U or a zone
        ("zfs-auto-snapshot", r"zfs-auto-snap_.+"),
        # pyznap: pyznap_%Y-%m-%d_%H:%M:%S_TYPE
        ("pyznap", rf"pyznap_{_DAY}_{_TIME}_\w+"),
        # bzfs: bzfs_%Y-%m-%d_%H:%M:%S_SUFFIX
        ("bzfs", rf"bzfs_{_DAY}_{_TIME}.*"),
        # znapzend: tsformat %Y-%m-%d-%H%M%S
        ("znapzend", r"\d{4}-\d\d-\d\d-\d{6}"),
        # zfsnap: %Y-%m-%d_%H.%M.%S--TTL, perhaps with a prefix
        ("zfsnap", rf".*{_DAY}_\d\d\.\d\d\.\d\d--\w+"),
        # TrueNAS, periodic snapshot tasks: auto-%Y-%m-%d_%H-%M
        ("TrueNAS", rf"auto-{_DAY}_\d\d-\d\d"),
        # Proxmox VE, replication: __replicate_GUEST-JOB_SECONDS__
        ("Proxmox VE", r"__replicate_\d+-\d+_\d+__"),
        # zfs-autobackup: NAME-%Y%m%d%H%M%S
        ("zfs-autobackup", r"[A-Za-z0-9_.-]+-\d{14}"),
    )
)


def tool_of(snapname: str) -> str:
    """The tool that names snapshots so (what follows the @); "" for any other name."""
    return next((tool for tool, pattern in _TOOLS if pattern.fullmatch(snapname)), "")


def tools_of(snapnames: Iterable[str]) -> tuple[str, ...]:
    """All of them, each once, in the order of the snapshots."""
    return tuple(dict.fromkeys(tool for name in snapnames if (tool := tool_of(name))))
