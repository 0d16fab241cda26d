"""zborg verify."""

from __future__ import annotations

from typing import Annotated

import typer

from zborg.cli.command.options import Common, shared
from zborg.cli.command.perform import perform


@shared("verify", quiet=True)
def verify(
    common: Common,
    hosts: Annotated[list[str] | None, typer.Argument(help="None means all.", metavar="HOST...")] = None,
    at: Annotated[
        str,
        typer.Option(
            help="This snapshot of the host; or what a target's own zborg found.",
            metavar="TARGET|SNAPSHOT",
        ),
    ] = "",
) -> None:
    """Read whole repositories and compare them with the ledger."""
    from zborg.steps.verify.step import Request
    from zborg.steps.verify.step import verify as step

    perform(common, lambda run: step(run, Request(hosts or (), at)))
