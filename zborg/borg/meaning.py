"""What something borg, the agent or the storage printed is for a reader."""

from __future__ import annotations

from typing import NamedTuple

from zborg.model import Status


class Meaning(NamedTuple):
    """As an outcome has it."""

    status: Status
    message: str
    remedy: str
