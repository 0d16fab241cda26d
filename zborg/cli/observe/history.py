"""zborg history."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from zborg.cli.command.options import Common, shared
from zborg.cli.command.perform import finish

if TYPE_CHECKING:
    from zborg.model import Report


@shared("history")
def history(
    common: Common,
    host: Annotated[str, typer.Argument(help="One host's backups; none means nights.", metavar="HOST")] = "",
    days: Annotated[int, typer.Option("--days", min=1, max=36500, help="Days back.", metavar="N")] = 30,
    rebuild: Annotated[
        bool, typer.Option("--rebuild", help="Make it anew of run files and snapshots.")
    ] = False,
) -> None:
    """What the nights came to, or the backups of one host."""
    if rebuild:
        finish(_rebuilt(common), common)

    from zborg.config import find, load
    from zborg.model import utc_now
    from zborg.reporting.history import table
    from zborg.state.directory import prepare_state
    from zborg.state.history import History
    from zborg.steps.observe.history import history as step

    loaded = load(find(common.config or None))
    past = History(prepare_state(loaded.state_dir, make=False) / "history.db")
    finish(step(past, loaded, host, days, utc_now()), common, table)


def _rebuilt(common: Common) -> Report:
    from zborg.cli.command.compose import compose
    from zborg.steps.observe.history import rebuild, recorder

    with compose(common) as context:
        again = recorder(context.config, context.config.state_dir, context.storage.zfs, context.emit)
        return rebuild(again, context.config, context.clock(), dry_run=common.dry_run)
