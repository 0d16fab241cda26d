"""zborg run."""

from __future__ import annotations

from typing import Annotated

import typer

from zborg.cli.command.options import Common, ConfigFile, DryRun, Json, Quiet, Verbose
from zborg.cli.command.perform import perform


def night(
    allow_partial: Annotated[
        bool, typer.Option("--allow-partial", help="Exit 0 although some hosts failed.")
    ] = False,
    config: ConfigFile = "",
    as_json: Json = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
    dry_run: DryRun = False,
) -> None:
    """The whole night: backup, snapshot, rotate, replicate, scrub. The worst exit code stands."""
    from zborg.steps.night import night as step

    perform(
        Common("run", config, as_json, verbose, dry_run, quiet),
        lambda context: step(context, allow_partial=allow_partial, dry_run=dry_run),
    )
