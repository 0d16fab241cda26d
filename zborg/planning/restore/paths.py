"""Which paths a host can be asked to restore: the rule of its agent (is_path), on this side."""

from __future__ import annotations

import posixpath
from collections.abc import Sequence

from zborg.errors import UsageError
from zborg.model.text import remedy

# The agent takes 200 words and 16384 bytes of a command; the words before the paths need some of both.
MOST_PATHS = 190
MOST_BYTES = 15_000
_PLAIN = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._/=@+-")


def is_restorable(path: str) -> bool:
    """Absolute, below /, and literally as `find /` prints it. Any bytes but a line feed."""
    # A path that ends in a slash means the directory without it.
    inner = f"{path}/"
    odd = any(part in inner for part in ("/./", "/../")) or "//" in path or "\n" in path
    return path.startswith("/") and path != "/" and not odd


def restorable(host: str, paths: Sequence[str]) -> list[str]:
    """`paths` as the agent of `host` takes them: no slash at the end, each once and none below another.

    (borg extracts what is below another one by the outer and then misses the inner.) Raises UsageError with a
    command that asks for the same in an accepted form, where there is one; and for more than its agent takes.
    """
    if wrong := [path for path in paths if not is_restorable(path)]:
        raise UsageError(
            f"not a path that {host} can be asked to restore: {remedy.command(*wrong)}", _instead(host, paths)
        )
    plain = list(dict.fromkeys(path.rstrip("/") for path in paths))
    outer = [one for one in plain if not any(one.startswith(f"{other}/") for other in plain)]
    _check_length(host, outer)
    return outer


def encoded(paths: Sequence[str]) -> int:
    """How many bytes they take in a command for the agent (hosts/tunnel.py, quote)."""
    return sum(
        1 + sum(1 if byte in _PLAIN else 5 for byte in path.encode("utf-8", "surrogateescape"))
        for path in paths
    )


def _check_length(host: str, paths: Sequence[str]) -> None:
    if len(paths) > MOST_PATHS or encoded(paths) > MOST_BYTES:
        raise UsageError(
            f"too much for one command of {host}'s agent: {len(paths)} paths, {encoded(paths)} bytes"
            f" (at most {MOST_PATHS} and {MOST_BYTES})",
            "restore their directories, or in several restores",
        )


def _instead(host: str, paths: Sequence[str]) -> str:
    accepted = [_nearest(path) for path in paths]
    if not all(map(is_restorable, accepted)):
        return f"name files as {host} calls them, absolute; all of them are in what zborg restore serve lends"
    again = remedy.command("zborg", "restore", "files", host, *dict.fromkeys(accepted))
    return remedy.remedy(again, first="without //, /./ and /../; a name with a line feed by its directory:")


def _nearest(path: str) -> str:
    """Normalized; of a name with a line feed the directory."""
    plain = posixpath.normpath(path) if path.startswith("/") else path
    while "\n" in plain:
        plain = posixpath.dirname(plain)
    return "/" + plain.lstrip("/") if plain.startswith("/") else plain
