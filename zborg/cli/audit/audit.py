"""zborg audit."""

from __future__ import annotations

from typing import Annotated

import typer

from zborg.cli.command.options import Common, shared
from zborg.cli.command.perform import perform


@shared("audit", quiet=True)
def audit(
    common: Common,
    hosts: Annotated[list[str] | None, typer.Argument(help="None means all.", metavar="HOST...")] = None,
) -> None:
    """Judge what is new in the repositories, without a key. What it finds is in the ledger."""
    from zborg.steps.audit.step import audit as step

    perform(common, lambda run: step(run, hosts or ()))
