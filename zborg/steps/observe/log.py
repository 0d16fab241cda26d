"""log: the lines of one run, out of the file or the journal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path

from zborg.config import Config
from zborg.errors import Exit, UsageError, ZborgError
from zborg.model import NOTIFYING, Emit, Outcome, Report, Runner, Status
from zborg.model.results import LogLines
from zborg.model.text import os_errors
from zborg.state.log import FileSink, JournalSink, Log
from zborg.state.runs import Runs, new_run

_JOURNALCTL = ("journalctl", "--quiet", "--no-pager", "--output=short-iso", "SYSLOG_IDENTIFIER=zborg")
_TIMEOUT = 60.0
_JOURNAL = Path("/run/systemd/journal/socket")


def place(config: Config) -> str:
    """Where systemd runs there is a journal; else a file, so that `zborg log` has something to show."""
    if config.log == "auto":
        return "journal" if _JOURNAL.exists() else "file"
    return config.log


def logged(config: Config, shown: Emit) -> Emit:
    """What shows events, and now writes them as well."""
    to = place(config)
    if to == "none":
        return shown
    return Log(JournalSink(_JOURNAL) if to == "journal" else FileSink(config.log_file, shown), shown)


def log_lines(config: Config, runs: Runs, local: Runner, run: str, now: datetime) -> Report:
    """The lines of a run, none named: of the last one; of a whole night with those of its steps.

    Raises UsageError for a run that left nothing, ZborgError when the log cannot be read.
    """
    named = run or _last(runs)
    wanted = [named, *_steps(runs, named)]
    to = place(config)
    if to == "none":
        raise UsageError("nothing is logged here", 'set to = "file" or "journal" under [log]')
    lines = list(_of_journal(local, wanted) if to == "journal" else _of_file(config.log_file, wanted))
    if not lines:
        raise UsageError(f"the log has no line of run {named}", "zborg log")
    outcome = Outcome("log", named, Status.OK, result=LogLines(lines=tuple(lines)))
    return Report("log", new_run(now), config.name, now, now, Status.OK, Exit.OK, (outcome,))


def _last(runs: Runs) -> str:
    changed = {key: at for key, at in runs.changed().items() if key[1] != NOTIFYING}
    if not changed:
        raise UsageError("there was no run yet", "zborg run")
    return max(changed, key=lambda key: changed[key])[0]


def _steps(runs: Runs, run: str) -> Iterator[str]:
    """The runs of a night's steps: they began within it."""
    night = runs.read(run, "run")
    if night is None:
        return
    commands = {one.result.step for one in night.outcomes if one.result.step}
    for other, command in sorted(runs.changed()):
        step = runs.read(other, command) if command in commands else None
        if step and night.started <= step.started and step.finished <= night.finished:
            yield other


def _of_file(path: Path, wanted: Sequence[str]) -> Iterator[str]:
    from zborg.state.log_file import lines_of

    try:
        yield from lines_of(path, set(wanted).__contains__)
    except OSError as error:
        raise ZborgError(*os_errors.describe(error, str(path), "cannot be read")) from error


def _of_journal(local: Runner, wanted: Sequence[str]) -> list[str]:
    """Several values of one field are alternatives."""
    done = local.run([*_JOURNALCTL, *(f"ZBORG_RUN={run}" for run in wanted)], timeout=_TIMEOUT)
    return done.stdout.splitlines()
