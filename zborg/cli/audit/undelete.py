"""zborg undelete."""

from __future__ import annotations

from typing import Annotated

import typer

from zborg.cli.command.options import Common, shared
from zborg.cli.command.perform import perform


@shared("undelete")
def undelete(
    common: Common,
    host: Annotated[str, typer.Argument(help="Whose repository.", metavar="HOST")],
    at: Annotated[
        str, typer.Option(help="An audited snapshot; default: the last clean one.", metavar="SNAPSHOT")
    ] = "",
) -> None:
    """Make a repository what it was at its last clean point. What it is now stays held."""
    from zborg.steps.undelete.step import Request
    from zborg.steps.undelete.step import undelete as step

    perform(common, lambda run: step(run, Request(host, at)))
