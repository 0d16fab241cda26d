"""status: the wall that stood around each host's last `borg serve`, as its backup reported it."""

from __future__ import annotations

from zborg.config import Config
from zborg.model import Outcome
from zborg.planning.backup.walls import walls
from zborg.state.recorded.moment import Moment
from zborg.steps.run_queries import last_walls

UNKNOWN = "unknown"
"""In place of `Wall.words`: the storage's zborg-serve is older than this zborg."""


def standing(config: Config, runs: Moment) -> list[Outcome]:
    """One outcome for all hosts; none where no backup of this version was made yet."""
    return walls(last_walls(config, runs))
