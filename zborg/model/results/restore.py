"""What comes back, and what was lent for it."""

from __future__ import annotations

from zborg.model.results.base import Result


class RestoredFiles(Result):
    """Files on their host."""

    snapshot: str  # what it was restored from
    archive: str  # what it was restored from
    restored: str  # the directory
    files: int  # extracted
    original_bytes: int  # extracted


class LeftFiles(Result):
    """A restore that was stopped, and what of it could not be removed."""

    left: str  # the directory
    left_files: int  # in it
    left_bytes: int  # in it


class CopiedRepository(Result):
    """A repository on the server's own disk."""

    snapshot: str  # what was copied
    restored: str  # the directory
    copied_files: int  # how many
    skipped: int = 0  # neither files nor directories


class LentSnapshot(Result):
    """A snapshot that was lent to its host."""

    snapshot: str  # what was lent
    commands_served: int  # how many
