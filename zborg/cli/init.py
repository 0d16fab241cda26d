"""zborg init."""

from __future__ import annotations

from typing import Annotated

import typer

from zborg.cli.command.options import Common, ConfigFile, DryRun, Json, Verbose
from zborg.cli.command.perform import perform


def init(
    hosts: Annotated[
        list[str] | None,
        typer.Argument(help="Hosts to make datasets for; none means all.", metavar="HOST..."),
    ] = None,
    config: ConfigFile = "",
    as_json: Json = False,
    verbose: Verbose = False,
    dry_run: DryRun = False,
) -> None:
    """Make what is missing: state directory, key, datasets. What is there is left as it is."""
    from zborg.steps.init import init as step

    perform(
        Common("init", config, as_json, verbose, dry_run),
        lambda context: step(context, hosts or (), dry_run=dry_run),
        make_state=True,
    )
