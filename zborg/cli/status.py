"""zborg status."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from zborg.cli.options import Common, ConfigFile, DryRun, Json, Verbose
from zborg.cli.perform import finish, perform

if TYPE_CHECKING:
    from zborg.model import Report


def status(
    live: Annotated[bool, typer.Option("--live", help="Ask the pools now.")] = False,
    config: ConfigFile = "",
    as_json: Json = False,
    verbose: Verbose = False,
    dry_run: DryRun = False,
) -> None:
    """One screen: hosts and the last run of each step. Saved facts with their age, unless --live."""
    common = Common("status", config, as_json, verbose, dry_run)
    if live and not dry_run:
        from zborg.steps.status import live as ask

        perform(common, ask)
    finish(_saved(common), common)


def _saved(common: Common) -> Report:
    """No connection, no adapter: status answers before borg has printed its version."""
    from zborg.config import find, load
    from zborg.model import utc_now
    from zborg.state.directory import prepare_state
    from zborg.state.frozen import Frozen
    from zborg.state.locks import Locks
    from zborg.state.runs import Runs
    from zborg.steps.status import saved

    config = load(find(common.config or None))
    state = prepare_state(config.state_dir, make=False)
    locks, frozen = Locks(state / "locks", "zborg status"), Frozen(state / "frozen").now()
    return saved(config, Runs(state / "runs"), locks, utc_now(), frozen)
