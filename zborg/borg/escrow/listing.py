"""A repository of one object, the manifest: enough for `borg list` (tried: borg 1.2.4 and 1.4.5)."""

from __future__ import annotations

import json
import struct
import zlib
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from zborg.borg.log import BorgLog

_HEADER, _REST = struct.Struct("<IIB"), struct.Struct("<IB")
_PUT, _COMMIT = 0, 2
_MANIFEST = bytes(32)
_CONFIG = """[repository]
version = 1
segments_per_dir = 1000
max_segment_size = 524288000
append_only = 0
storage_quota = 0
additional_free_space = 0
id = {id}
"""
_ARCHIVE_ID = 32  # bytes


class Reason(StrEnum):
    """Why borg did not open a manifest."""

    PASSPHRASE = "passphrase"  # noqa: S105  # it does not open the key
    KEY = "key"  # it is none that borg can read
    OTHER = "other"  # of which borg's own words say more


def build(place: Path, repository: str, manifest: bytes) -> Path:
    """Make it below `place`, with a configuration of our own: the host's may hold anything.

    Raises ValueError for a manifest that is no entry of a segment.
    """
    rest = manifest[_HEADER.size :]
    if len(rest) < len(_MANIFEST):
        raise ValueError("its manifest is cut off")
    crc, size, tag = _HEADER.unpack_from(manifest)
    if size != len(manifest) or tag != _PUT or rest[: len(_MANIFEST)] != _MANIFEST:
        raise ValueError("its manifest is none")
    if zlib.crc32(manifest[4:]) != crc:
        raise ValueError("its manifest was changed on the way")
    home = place / "repository"
    (home / "data" / "0").mkdir(parents=True)
    (home / "README").write_text("This is a Borg Backup repository.\n", encoding="ascii")
    (home / "config").write_text(_CONFIG.format(id=repository), encoding="ascii")
    commit = _REST.pack(_HEADER.size, _COMMIT)
    segment = b"BORG_SEG" + manifest + struct.pack("<I", zlib.crc32(commit)) + commit
    (home / "data" / "0" / "0").write_bytes(segment)
    return home


def argv(home: Path) -> list[str]:
    """What lists its archives."""
    return ["borg", "--log-json", "list", "--json", str(home)]


def environment(place: Path, key: str, passphrase: str) -> dict[str, str]:
    """For that: all that borg writes goes below `place`; key and passphrase are read from these paths."""
    return {
        "BORG_BASE_DIR": str(place / "base"),
        "BORG_KEY_FILE": key,
        "BORG_PASSCOMMAND": f"cat {passphrase}",
        "BORG_SHOW_SYSINFO": "no",
        "BORG_DISPLAY_PASSPHRASE": "no",
        "BORG_RELOCATED_REPO_ACCESS_IS_OK": "no",
        "BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK": "no",
    }


@dataclass(frozen=True, slots=True)
class Listed:
    """What the manifest says. `newest_id` is the id of the newest archive."""

    archives: int
    newest: datetime
    newest_id: bytes


def listed(stdout: str) -> Listed | None:
    """None for a repository without an archive. Raises ValueError for what borg does not print."""
    try:
        table = json.loads(stdout)
        found = [_archive(one) for one in table["archives"]]
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError("borg printed no list of archives") from error
    if not found:
        return None
    newest, newest_id = max(found)
    return Listed(len(found), newest, newest_id)


def _archive(table: dict[str, Any]) -> tuple[datetime, bytes]:
    at, key = datetime.fromisoformat(table["time"]), bytes.fromhex(table["id"])
    if len(key) != _ARCHIVE_ID:
        raise ValueError("borg printed an archive without its id")
    return at if at.tzinfo else at.replace(tzinfo=UTC), key  # it runs with TZ=UTC


_REASONS = {
    "PassphraseWrong": Reason.PASSPHRASE,
    "KeyfileInvalidError": Reason.KEY,
    "KeyfileMismatchError": Reason.KEY,
}


def failed(stderr: str) -> tuple[Reason, str]:
    """Why it was not opened, and borg's last words."""
    log = BorgLog()
    log.feed_lines(stderr.splitlines())
    msgid, text = log.errors[-1] if log.errors else ("", stderr)
    words = [line for line in text.strip().splitlines() if line.strip()]
    return _REASONS.get(msgid, Reason.OTHER), words[-1].strip() if words else ""
