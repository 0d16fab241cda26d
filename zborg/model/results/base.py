"""What any outcome may know besides its message."""

from __future__ import annotations

from typing import Any, ClassVar, dataclass_transform

from zborg.model.record import Record


@dataclass_transform(kw_only_default=True, frozen_default=True)
class _Fields(Record):
    """Type checkers read the fields of what is below it."""


class Result(_Fields):
    """What any outcome may have."""

    _by_name: ClassVar[str] = ""  # the field whose keys are those of the table: a name for each

    step: str = ""  # the night's step that it comes from
    dry_run: bool = False  # it says what would be, and belongs to the plan
    commands: tuple[str, ...] = ()  # what the reader may type
    log: tuple[str, ...] = ()  # the last lines of a failed command, the newest last
    traceback: str = ""  # of a bug

    def shared(self) -> dict[str, Any]:
        """What it knows that any result may."""
        return {name: value for name, value in vars(self).items() if name in Result._fields}


NOTHING = Result()
