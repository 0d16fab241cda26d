"""zborg run."""

from __future__ import annotations

from typing import Annotated

import typer

from zborg.cli.command.options import Common, shared
from zborg.cli.command.perform import perform


@shared("run", quiet=True)
def night(
    common: Common,
    allow_partial: Annotated[
        bool, typer.Option("--allow-partial", help="Exit 0 although some hosts failed.")
    ] = False,
) -> None:
    """The whole night, from backup to scrub. The worst exit code stands."""
    from zborg.steps.night import night as step

    perform(common, lambda run: step(run, allow_partial=allow_partial))
