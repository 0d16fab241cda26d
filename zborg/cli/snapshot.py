"""zborg snapshot."""

from __future__ import annotations

from typing import Annotated

import typer

from zborg.cli.command.options import Common, ConfigFile, DryRun, Json, Quiet, Verbose
from zborg.cli.command.perform import perform


def snapshot(
    label: Annotated[
        str | None,
        typer.Option("--label", help="Take one also without news, and call it so.", metavar="WORD"),
    ] = None,
    config: ConfigFile = "",
    as_json: Json = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
    dry_run: DryRun = False,
) -> None:
    """Snapshot all repositories at one instant, unless nothing is new. Marks what each backup came to."""
    from zborg.steps.snapshot import snapshot as step

    perform(
        Common("snapshot", config, as_json, verbose, dry_run, quiet),
        lambda context: step(context, label=label, dry_run=dry_run),
    )
