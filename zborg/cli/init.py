"""zborg init."""

from __future__ import annotations

from typing import Annotated

import typer

from zborg.cli.command.options import Common, shared
from zborg.cli.command.perform import perform


@shared("init")
def init(
    common: Common,
    hosts: Annotated[
        list[str] | None,
        typer.Argument(help="Hosts to make datasets for; none means all.", metavar="HOST..."),
    ] = None,
) -> None:
    """Make what is missing: state directory, key, datasets. What is there is left as it is."""
    from zborg.steps.init import init as step

    perform(
        common,
        lambda run: step(run, hosts or ()),
        make_state=True,
    )
