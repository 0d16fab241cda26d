"""zborg status."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from zborg.cli.command.options import Common, shared
from zborg.cli.command.perform import finish
from zborg.errors import ZborgError
from zborg.model.text.units import printable

if TYPE_CHECKING:
    from datetime import datetime

    from zborg.config import Config
    from zborg.model import Report


@shared("status")
def status(
    common: Common,
    live: Annotated[bool, typer.Option("--live", help="Ask the pools now.")] = False,
    nagios: Annotated[
        bool, typer.Option("--nagios", help="One line for a monitor, exit code 0, 1, 2 or 3; asks the pools.")
    ] = False,
) -> None:
    """One screen: hosts and the last run of each step. Saved facts with their age, unless --live."""
    from zborg.reporting.status import screen

    if nagios:
        _to_monitor(common)
    finish(_live(common) if live and not common.dry_run else _saved(common), common, screen)


def _to_monitor(common: Common) -> NoReturn:
    """Whatever happens is one line; what keeps zborg from looking is UNKNOWN."""
    from zborg.reporting.status import one_line

    try:
        line, code = one_line(_live(replace(common, json=True)))  # stderr is not read, and stdout is the line
    except Exception as error:
        words = error.message if isinstance(error, ZborgError) else f"{type(error).__name__}: {error}"
        line, code = f"ZBORG UNKNOWN - {printable(words)}", 3
    print(line)
    raise typer.Exit(code)


def _live(common: Common) -> Report:
    from zborg.cli.command.compose import compose
    from zborg.steps.observe.status import live

    with compose(common) as context:
        return live(context)


def _saved(common: Common) -> Report:
    """No connection, no adapter: status answers before borg has printed its version."""
    from zborg.config import find, load
    from zborg.model import utc_now

    return saved_of(load(find(common.config or None)), utc_now())


def saved_of(config: Config, now: datetime) -> Report:
    """Raises ConfigError for a state directory that is not there."""
    from zborg.state.directory import prepare_state
    from zborg.state.frozen import Frozen
    from zborg.state.history import History
    from zborg.state.locks import Locks
    from zborg.state.runs import Runs
    from zborg.steps.observe.status import saved

    state = prepare_state(config.state_dir, make=False)
    locks, frozen = Locks(state / "locks", "zborg status"), Frozen(state / "frozen").now()
    runs = Runs(state / "runs", history=History(state / "history.db"))
    return saved(config, runs, locks, now, frozen)
