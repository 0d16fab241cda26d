"""zborg scrub."""

from __future__ import annotations

from typing import Annotated

import typer

from zborg.cli.command.options import Common, shared
from zborg.cli.command.perform import perform


@shared("scrub", quiet=True)
def scrub(
    common: Common,
    start: Annotated[bool, typer.Option("--start", help="Start a scrub of the storage's pool.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until the running scrub has ended.")] = False,
) -> None:
    """Verify every pool's last scrub: age and errors. Starts one only when told to."""
    from zborg.steps.scrub import Request
    from zborg.steps.scrub import scrub as step

    perform(common, lambda run: step(run, Request(start, wait)))
