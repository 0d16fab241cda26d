"""zborg replicate."""

from __future__ import annotations

from typing import Annotated

import typer

from zborg.cli.command.options import Common, shared
from zborg.cli.command.perform import perform


@shared("replicate", quiet=True)
def replicate(
    common: Common,
    targets: Annotated[
        list[str] | None, typer.Argument(help="Targets to send to; none means all.", metavar="TARGET...")
    ] = None,
    check: Annotated[
        bool, typer.Option("--verify", help="Send nothing: compare all guids of both sides.")
    ] = False,
) -> None:
    """Send the snapshots that a target does not have. A cut stream is resumed, nothing is ever forced."""
    from zborg.steps.replicate.step import replicate as step
    from zborg.steps.replicate.verify import verify

    if check:
        perform(common.named("replicate --verify"), lambda run: verify(run, targets or ()))
    perform(common, lambda run: step(run, targets or ()))
