"""zborg scrub."""

from __future__ import annotations

from typing import Annotated

import typer

from zborg.cli.command.options import Common, ConfigFile, DryRun, Json, Quiet, Verbose
from zborg.cli.command.perform import perform


def scrub(
    start: Annotated[bool, typer.Option("--start", help="Start a scrub of the storage's pool.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until the running scrub has ended.")] = False,
    config: ConfigFile = "",
    as_json: Json = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
    dry_run: DryRun = False,
) -> None:
    """Verify every pool's last scrub: age and errors. Starts one only when told to."""
    from zborg.steps.scrub import scrub as step

    perform(
        Common("scrub", config, as_json, verbose, dry_run, quiet),
        lambda context: step(context, start=start, wait=wait, dry_run=dry_run),
    )
