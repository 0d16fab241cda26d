"""zborg drill."""

from __future__ import annotations

from typing import Annotated

import typer

from zborg.cli.command.options import Common, shared
from zborg.cli.command.perform import perform
from zborg.cli.restore import From, Identity


@shared("drill", quiet=True)
def drill(
    common: Common,
    hosts: Annotated[list[str] | None, typer.Argument(help="None means all.", metavar="HOST...")] = None,
    target: From = "",
    identity: Identity = "",
) -> None:
    """Let hosts read a sample of their backups again and compare."""
    from zborg.steps.drill.step import Request
    from zborg.steps.drill.step import drill as step
    from zborg.steps.restore.source import Source

    perform(common, lambda run: step(run, Request(hosts or (), Source(target, identity))))
