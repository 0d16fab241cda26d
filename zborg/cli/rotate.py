"""zborg rotate."""

from __future__ import annotations

from typing import Annotated

import typer

from zborg.cli.command.options import Common, ConfigFile, DryRun, Json, Quiet, Verbose
from zborg.cli.command.perform import perform
from zborg.errors import UsageError


def rotate(
    freeze: Annotated[
        list[str] | None, typer.Option("--freeze", help="Rotate this host no more.", metavar="HOST")
    ] = None,
    release: Annotated[
        list[str] | None,
        typer.Option("--release", help="Rotate it again: the alarm is clear.", metavar="HOST"),
    ] = None,
    config: ConfigFile = "",
    as_json: Json = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
    dry_run: DryRun = False,
) -> None:
    """Destroy the snapshots that no rule keeps. --dry-run shows each verdict with its reasons."""
    from zborg.steps.rotate import freeze as freezing
    from zborg.steps.rotate.step import rotate as step

    common = Common("rotate", config, as_json, verbose, dry_run, quiet)
    if (freeze or release) and (dry_run or (freeze and release)):
        raise UsageError("--freeze and --release stand alone, without --dry-run", "zborg status")
    if freeze:
        perform(common, lambda context: freezing.freeze(context, freeze), told=False)
    if release:
        perform(common, lambda context: freezing.release(context, release), told=False)
    perform(common, lambda context: step(context, dry_run=dry_run))
