"""What file managers and file systems leave in a directory, and nobody misses.

borg makes a repository in an empty directory only (Repository.check_can_create_repository), and `.zfs`, which
snapdir=visible shows in every dataset, counts.
"""

from __future__ import annotations

from collections.abc import Sequence

from zborg.model import Runner

SNAPDIR = ".zfs"

# macOS (.DS_Store and AppleDouble), Windows (Explorer), KDE; NFS's names for files that are open and removed.
_FILES = (".DS_Store", "._*", "Thumbs.db", "desktop.ini", ".directory", ".nfs*")
# fsck's, and what macOS and freedesktop.org's trash make on every volume. Only while they are empty.
_DIRECTORIES = ("lost+found", ".Trashes", ".Trash-*", ".fseventsd", ".Spotlight-V100", ".TemporaryItems")
_LARGEST = "+128"  # blocks of 512 bytes: a larger one is somebody's file


def clear_litter(runner: Runner, home: str) -> None:
    """Remove what is litter by name and kind, and no link: small files, empty directories. One command."""
    files = ["-type", "f", "!", "-size", _LARGEST, *_named(_FILES)]
    directories = ["-type", "d", "-empty", *_named(_DIRECTORIES)]
    runner.run(
        ["find", home, "-mindepth", "1", "-maxdepth", "1", "(", *files, "-o", *directories, ")", "-delete"]
    )


def _named(patterns: Sequence[str]) -> list[str]:
    first, *rest = patterns
    return ["(", "-name", first, *(word for one in rest for word in ("-o", "-name", one)), ")"]


def looks_like_a_repository(names: Sequence[str]) -> bool:
    """By the two names that every borg repository has."""
    return {"config", "data"} <= set(names)
