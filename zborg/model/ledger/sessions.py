"""When a repository was served, and for what: between these times nothing can have written to it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class Purpose(StrEnum):
    """What a host may do in its repository meanwhile."""

    INIT = "init"  # make a new one, where there was none or the old one was set aside
    BACKUP = "backup"  # add
    PRUNE = "prune"  # remove archives as well
    SIGN = "sign"  # replace the metadata of archives, one by one


@dataclass(frozen=True, slots=True)
class Session:
    """The last transaction before it and the last one in it; None while it lasts, or when it was killed."""

    purpose: Purpose
    run: str
    since: datetime
    first: int
    last: int | None = None

    def covers(self, transaction: int) -> bool:
        """Whether it can be of this session."""
        return self.first < transaction and (self.last is None or transaction <= self.last)
