"""What doctor found, in short."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from zborg.model import Finding, Outcome, Report, Status


def bad(report: Report) -> list[Outcome]:
    return [one for one in report.outcomes if one.status is not Status.OK]


def said(found: Sequence[Finding]) -> str:
    return "\n".join(f"{one.level}: {one.message} -> {one.remedy}" for one in found)


def tree(*tops: Path) -> dict[str, tuple[int, int, int, int, str]]:
    """Every path with mode, owner, size, time and where it points to; the sshd's own log grows."""
    found = {}
    for top in tops:
        for path in (top, *sorted(top.rglob("*"))):
            facts = path.lstat()
            link = str(path.readlink()) if path.is_symlink() else ""
            if path.name != "log":
                found[str(path)] = (facts.st_mode, facts.st_uid, facts.st_size, facts.st_mtime_ns, link)
    return found


LINE = "zfs allow -u zborg-sink receive:append,create,mount,userprop vault/zborg"
