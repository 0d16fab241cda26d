"""doctor's probe of drills: hosts that have not read their backups again for too long."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from zborg.config import Config
from zborg.model import Finding
from zborg.state.recorded.moment import Moment
from zborg.state.runs import Runs
from zborg.steps.drill.last import findings


def overdue(config: Config, now: datetime) -> Iterable[Finding]:
    """By the run files; the context's own state directory is a scratch one. None before `zborg init`."""
    if not (directory := config.state_dir / "runs").is_dir():
        return ()
    runs = Moment(Runs(directory))
    return findings(config, runs, now, runs.since())
