"""zborg snapshot."""

from __future__ import annotations

from typing import Annotated

import typer

from zborg.cli.command.options import Common, shared
from zborg.cli.command.perform import perform


@shared("snapshot", quiet=True)
def snapshot(
    common: Common,
    label: Annotated[
        str | None,
        typer.Option("--label", help="Take one also without news, and call it so.", metavar="WORD"),
    ] = None,
) -> None:
    """Snapshot all repositories at one instant, unless nothing is new. Marks what each backup came to."""
    from zborg.steps.snapshot import snapshot as step

    perform(common, lambda run: step(run, label))
