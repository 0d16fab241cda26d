"""zborg compact."""

from __future__ import annotations

from typing import Annotated

import typer

from zborg.cli.command.options import Common, shared
from zborg.cli.command.perform import perform


@shared("compact", quiet=True)
def compact(
    common: Common,
    hosts: Annotated[list[str] | None, typer.Argument(help="None means all.", metavar="HOST...")] = None,
    approve: Annotated[
        list[int] | None,
        typer.Option(help="Agree to lose what it deleted, which is no prune.", metavar="TRANSACTION"),
    ] = None,
) -> None:
    """Free what hosts have pruned, where audit found no more. What is freed is held for a while."""
    from zborg.steps.compact.step import Request
    from zborg.steps.compact.step import compact as step

    perform(common, lambda run: step(run, Request(hosts or (), approve or ())))
